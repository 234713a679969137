"""Which message is meant, and what to say to it: matches, keys and templates.

They are options of plugins and arguments of `Session.recv`, written by people and compiled once:

    matcher("ping")                            text or binary that is "ping", with or without a line end
    matcher({"op": "ping", "id": "$x"})        a JSON object that holds these items; `$x` takes what stands there
    key("data.u")                              what stands under "u" in the object under "data"
    template({"op": "pong", "id": "$x"}, {"x": 7})    the Message of the text {"op":"pong","id":7}

Pings, pongs and closes match only a callable. What is not JSON matches no dict and has no key; that is no error.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .secret import Secret
from .types import Kind, Message

__all__ = ["Matcher", "call", "check_template", "key", "matcher", "names", "template"]

Matcher = Callable[[Message], "dict[str, Any] | None"]
"""Gives what the names of the match stand for, {} if it has none, or None: the message does not match."""

_NAME = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_MISSING = object()


class _Name(NamedTuple):
    """`"$x"` in a dict match."""

    name: str


def matcher(match: Any) -> Matcher:
    """Compile a match.

    Args:
        match: a str or bytes: the whole message, whichever kind, line ends at its end left out of account. A dict: a
            JSON object that holds these items (it may hold others), dicts within likewise, lists item by item; a value
            `"$x"` takes whatever stands there, the same name twice the same value. A callable: called with the Message,
            true = match; a dict that it gives holds the values of names.

    Raises:
        ValueError: it is something else, or holds what JSON cannot.
    """
    if isinstance(match, (str, bytes, bytearray, memoryview)):
        return _whole(match)
    if isinstance(match, Mapping):
        return _items(_compile(match))
    if inspect.iscoroutinefunction(match):
        raise ValueError("a match must be a plain function, not an async one")
    if callable(match):
        return _asked(match)
    raise ValueError(f"a match is a str, bytes, a dict or a callable, not {type(match).__name__}")


def key(path: str | Callable[[Message], Any]) -> Callable[[Message], Any]:
    """Compile a key: what a message is filed under.

    Args:
        path: names joined by dots, such as "data.u"; a number is an index where it meets a list. Or a callable, which
            is given back as it is.

    Returns:
        A function of the Message that gives what stands there, None if nothing does.

    Raises:
        ValueError: it is neither, or a name in it is empty.
    """
    if callable(path):
        return path
    if not isinstance(path, str):
        raise ValueError(f"a key is a path such as 'data.u' or a callable, not {type(path).__name__}")
    steps = path.split(".")
    if not all(steps):
        raise ValueError(f"{path!r} is not a path: names joined by single dots, such as 'data.u'")

    def find(message: Message) -> Any:
        value = _json(message)
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isascii() and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return find


def template(value: Any, bindings: Mapping[str, Any] = _NOTHING, *arguments: Any) -> Message | None:
    """Make the message that a template stands for.

    Args:
        value: a str gives a text message, bytes a binary one, a dict or list the text of its JSON; a Message stays as
            it is. In a str, also within dicts and lists, `$x` is replaced if `bindings` knows x: a str that is nothing
            but `$x` becomes the value itself, else its text is put in. Other dollar signs stay. A `Secret` counts as
            the str in it. A callable gives any of these, in which nothing is replaced; it is called as `call` does.

    Returns:
        The message; None if a callable gave None, which means that nothing is to be sent.

    Raises:
        ValueError: it is something else, or JSON cannot hold it.
    """
    if isinstance(value, Message):
        return value
    if isinstance(value, (str, Secret)):
        return Message.text(_text(_fill(value, bindings)))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Message.binary(bytes(value))
    if isinstance(value, (Mapping, list, tuple)):
        return Message.text(_encode(_fill(value, bindings)))
    if not callable(value):
        raise ValueError(
            f"a message is made of a str, bytes, a dict, a Message or a callable, not {type(value).__name__}"
        )
    made = call(value, *arguments)
    if made is None:
        return None
    if callable(made) or inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        raise ValueError(f"a callable that makes a message must give the message itself, not {type(made).__name__}")
    return template(made)


def check_template(value: Any) -> None:
    """Refuse at once what `template` would refuse later, as far as it can be told without calling a callable.

    Raises:
        ValueError: no message can be made of it.
    """
    if inspect.iscoroutinefunction(value):
        raise ValueError("a callable that makes a message must be a plain function, not an async one")
    if isinstance(value, Message) or not callable(value):
        template(value)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a user's function, which need not take the arguments: without any if that is possible, else with all."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):  # the second: a builtin that does not tell
        return function(*arguments)
    return function()


def seconds(option: str, given: Any, *arguments: Any) -> float | None:
    """The value of an option that is seconds, or a function of the session that gives them; None = none.

    Args:
        option: its name, for the error.
        given: what the option holds.
        arguments: for the function.

    Raises:
        ValueError: what the function gave is no time.
    """
    value = call(given, *arguments) if callable(given) else given
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"{option} gave {value!r}, not seconds")
    return float(value)


def names(value: Any) -> frozenset[str]:
    """The names `$x` that stand in a match or a template; none in bytes, a Message or a callable."""
    return frozenset(found for text in _strings(value) for found in _NAME.findall(text))


def _whole(match: str | bytes | bytearray | memoryview) -> Matcher:
    """Compare with the whole message."""
    text: str | None
    if isinstance(match, str):
        text = match.rstrip("\r\n")
        raw = text.encode()
    else:
        raw = bytes(match).rstrip(b"\r\n")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = None

    def compare(message: Message) -> dict[str, Any] | None:
        data = message.data
        if message.kind is Kind.TEXT:
            equal = text is not None and data.startswith(text) and data.rstrip("\r\n") == text
        elif message.kind is Kind.BINARY:
            equal = data.startswith(raw) and data.rstrip(b"\r\n") == raw
        else:
            return None
        return {} if equal else None

    return compare


def _items(pattern: dict[str, Any]) -> Matcher:
    """Compare with the items of a JSON object."""
    # What does not even hold a wanted name is not parsed: the name stands in the text as it is, or behind a backslash.
    needle = f'"{max(pattern, key=len)}"' if pattern else "{"
    raw = needle.encode()

    def compare(message: Message) -> dict[str, Any] | None:
        data = message.data
        if message.kind is Kind.TEXT:
            possible = needle in data or "\\" in data
        else:
            possible = message.kind is Kind.BINARY and (raw in data or b"\\" in data)
        if not possible:
            return None
        bound: dict[str, Any] = {}
        return bound if _holds(pattern, _json(message), bound) else None

    return compare


def _asked(match: Callable[[Message], Any]) -> Matcher:
    """Ask a callable."""

    def compare(message: Message) -> dict[str, Any] | None:
        answer = match(message)
        if not answer:
            return None
        return answer if isinstance(answer, dict) else {}

    return compare


def _json(message: Message) -> Any:
    """The JSON of a data message, `_MISSING` if it is none."""
    if message.kind is not Kind.TEXT and message.kind is not Kind.BINARY:
        return _MISSING
    try:
        return message.json
    except (ValueError, RecursionError):  # the second: brackets nested by the thousand
        return _MISSING


def _compile(pattern: Any) -> Any:
    """A copy of a pattern, checked, with its names marked."""
    if isinstance(pattern, str):
        named = _NAME.fullmatch(pattern)
        return _Name(named[1]) if named else pattern
    if pattern is None or isinstance(pattern, (bool, int, float)):
        return pattern
    if isinstance(pattern, Mapping):
        for name in pattern:
            if not isinstance(name, str):
                raise ValueError(f"a match's item has a name that is not a str: {name!r}")
        return {name: _compile(value) for name, value in pattern.items()}
    if isinstance(pattern, (list, tuple)):
        return [_compile(value) for value in pattern]
    raise ValueError(f"a match compares JSON; it cannot hold {type(pattern).__name__}")


def _holds(pattern: Any, value: Any, bound: dict[str, Any]) -> bool:
    if isinstance(pattern, _Name):
        if value is _MISSING:
            return False
        return _same(bound.setdefault(pattern.name, value), value)
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            _holds(wanted, value.get(name, _MISSING), bound) for name, wanted in pattern.items()
        )
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return False
        return all(_holds(wanted, item, bound) for wanted, item in zip(pattern, value, strict=True))
    return _same(pattern, value)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON, where true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _fill(value: Any, bindings: Mapping[str, Any]) -> Any:
    """A copy of a template with its names replaced and its secrets revealed."""
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, str):
        if not bindings:
            return value
        whole = _NAME.fullmatch(value)
        if whole and whole[1] in bindings:
            return _fill(bindings[whole[1]], _NOTHING)
        return _NAME.sub(lambda found: _bound(found, bindings), value)
    if isinstance(value, Mapping):
        return {name: _fill(item, bindings) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fill(item, bindings) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):  # the encoder would make base64 of it, unasked
        raise ValueError("a message's template holds bytes, which JSON cannot")
    return value


def _bound(found: re.Match[str], bindings: Mapping[str, Any]) -> str:
    return _text(_fill(bindings[found[1]], _NOTHING)) if found[1] in bindings else found[0]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value)


def _encode(value: Any) -> str:
    import msgspec  # late: a client that never makes JSON does not pay for it

    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, RecursionError):
        raise ValueError("a message's template holds what JSON cannot") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
