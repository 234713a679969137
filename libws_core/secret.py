"""Values that never print."""

from __future__ import annotations

from urllib.parse import urlsplit


class Secret:
    """A string that shows itself only when asked: `str`, `repr`, logs and tracebacks give stars.

    An option annotated `Secret` accepts a plain string and holds it as one of these.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret) -> None:
        self._value: str = value.reveal() if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """The value itself. Hand it to the wire, never to a text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)


def public_url(url: str) -> str:
    """The part of a URL that may be shown: scheme, host, port and path, without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "<unreadable URL>"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    more = "?..." if parts.query else ""
    return f"{parts.scheme}://{host}{port}{parts.path}{more}" if parts.netloc else f"{parts.scheme}:{parts.path}{more}"
