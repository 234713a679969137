"""HTTP headers: an immutable mapping that ignores case and refuses what would break the request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")  # token, RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")  # field-value, RFC 9110 section 5.5: no CR, LF or NUL


class Headers(Mapping[str, str]):
    """Headers of a request or a response.

    Looking up ignores case; a name that stands several times gives its values joined by a comma (`get_all` gives them
    singly). Its repr shows names only, since values may be secrets.

    Raises:
        ValueError: a name or a value that HTTP does not allow. The text names the header, never its value.
    """

    __slots__ = ("_pairs",)

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        if isinstance(headers, Headers):
            self._pairs: tuple[tuple[str, str], ...] = headers._pairs
            return
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self._pairs = tuple((name, value) for name, value in pairs)
        for name, value in self._pairs:
            if not isinstance(name, str) or not _NAME.match(name):
                raise ValueError(f"header name {name!r} is not a token of HTTP")
            if not isinstance(value, str):
                raise ValueError(f"header {name!r}: expected str, got {type(value).__name__}")
            if not _VALUE.match(value):
                raise ValueError(f"header {name!r}: the value has a character that HTTP forbids, such as a line end")

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for name, _ in self._pairs:
            if name.lower() not in seen:
                seen.add(name.lower())
                yield name

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._pairs})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return [(n.lower(), v) for n, v in self._pairs] == [(n.lower(), v) for n, v in other._pairs]
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    def __hash__(self) -> int:
        return hash(tuple((name.lower(), value) for name, value in self._pairs))

    def __or__(self, other: Mapping[str, str]) -> Headers:
        """These headers with those of `other` in the place of their namesakes."""
        replaced = {name.lower() for name in other}
        kept = [pair for pair in self._pairs if pair[0].lower() not in replaced]
        return Headers([*kept, *Headers(other).pairs])

    def __repr__(self) -> str:
        return f"Headers({', '.join(name for name, _ in self._pairs)})"

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each name with its value, in order, names repeated as they came."""
        return self._pairs

    def get_all(self, name: str) -> list[str]:
        """Every value of a name, in order."""
        name = name.lower()
        return [value for own, value in self._pairs if own.lower() == name]
