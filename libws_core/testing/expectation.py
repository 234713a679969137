"""What a peer expects: compared with what came, and shown in the text of an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..match import matcher
from ..types import Kind, Message

__all__ = ["matches", "show"]

_NAMES = {Kind.TEXT: "a text", Kind.BINARY: "binary", Kind.CLOSE: "a close", Kind.PING: "a ping", Kind.PONG: "a pong"}


def show(what: Any) -> str:
    """A message, or what one was expected to be, for the text of an error."""
    match what:
        case None:
            return "a message"
        case Message(kind=Kind.CLOSE):
            text = f"a close {what.code} {what.reason}".rstrip()
        case Message():
            text = f"{_NAMES[what.kind]} {what.data!r}"
        case Kind():
            text = _NAMES[what]
        case str() | bytes():
            text = repr(what)
        case Mapping():
            text = f"an object with {dict(what)!r}"
        case _:
            text = f"a message for {getattr(what, '__qualname__', repr(what))}"
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"


def matches(what: Any, message: Message) -> bool:
    """Whether a message is what was expected: a Message (equal), a Kind (of that kind), None (any), or a core match.

    Raises:
        ValueError: it is something else.
    """
    match what:
        case None:
            return True
        case Message():
            return message == what
        case Kind():
            return message.kind is what
    return matcher(what)(message) is not None
