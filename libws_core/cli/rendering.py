"""Events, messages and values as text for people and as plain data for programs."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ..errors import LibwsError
from ..events import (
    AttemptFailed,
    Closed,
    Connected,
    Connecting,
    Disconnected,
    Dropped,
    Event,
    Gap,
    Reconnected,
    Reopened,
    Retrying,
)
from ..history import error_data
from ..secret import Secret, public_url
from ..trace import Call
from ..types import Kind, Message
from ..wording import event_words

SHOWN_BYTES = 64
"""Bytes of a binary message that are shown on a terminal."""
JOINER = "\u200d"
"""The zero width joiner, which holds some emoji together; the only invisible character that is let through."""


class LiteralConsole(Console):
    """A console that takes text literally and wraps nothing.

    Raises:
        BrokenPipeError: nobody reads the output any more.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Leave it to the caller; rich would end the process."""
        raise BrokenPipeError


def print_table(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table on a terminal, else aligned columns that are never cut or wrapped."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if console.is_terminal:
        table = Table(*heads, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*row)
        console.print(table, soft_wrap=False)
        return
    lines = [[*heads], *([cell.replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.out("  ".join(padded).rstrip(), highlight=False)


def printable(text: str) -> str:
    """The text with everything escaped that would act on a terminal; a line end gets an indent behind it."""
    if text.isprintable():
        return text
    shown = (
        char if char.isprintable() or char in ("\n", "\t", JOINER) else char.encode("unicode_escape").decode()
        for char in text.replace("\r\n", "\n")
    )
    return "".join(shown).rstrip("\n").replace("\n", "\n  ")


def message_text(message: Message, limit: int | None = None) -> str:
    """A data message for people: its text as it is, or how many bytes it has and their hexadecimal digits.

    Args:
        limit: bytes to show of a binary one, None = all.
    """
    if message.kind is Kind.TEXT:
        return str(message.data)
    shown = message.data if limit is None else message.data[:limit]
    more = " ..." if len(shown) < len(message.data) else ""
    return f"binary, {len(message.data)} bytes: {shown.hex(' ')}{more}"


def message_data(message: Message) -> dict[str, Any]:
    """A data message for programs."""
    if message.kind is Kind.TEXT:
        return {"type": "message", "kind": "text", "data": message.data}
    return {"type": "message", "kind": "binary", "base64": base64.b64encode(message.data).decode()}


def event_text(event: Event) -> tuple[str, str] | None:
    """An event for people, with a style of rich; None for those that would only be noise."""
    match event:
        case Connecting(phase="dial"):
            return f"connecting, attempt {event.attempt}", "dim"
        case Connecting() | Closed(error=None):
            return None
    return event_words(event), event_style(event)


def event_style(event: Event) -> str:
    """How rich shows an event."""
    match event:
        case Connecting() | Closed(error=None):
            return "dim"
        case Disconnected(error=error) if error.initiator == "local" and error.code == 1000:
            return "dim"
        case AttemptFailed() | Disconnected():
            return "red"
        case Connected() | Reconnected() | Reopened():
            return "green"
        case Retrying() | Dropped():
            return "yellow"
        case Gap():
            return "magenta"
        case Closed():
            return "bold red"
    return ""  # a plugin's own


def event_data(event: Event) -> dict[str, Any]:
    """An event for programs."""
    data: dict[str, Any] = {"type": "event", "event": type(event).__name__}
    if dataclasses.is_dataclass(event):
        for each in dataclasses.fields(event):
            if each.name != "monotonic":  # it means nothing outside this process
                data[each.name] = public(getattr(event, each.name))
    return data


def call_data(call: Call) -> dict[str, Any]:
    """A call of a hook for programs."""
    return {"type": "hook", **call._asdict()}


def public(value: Any, hide: bool = False) -> Any:
    """A value as plain data that JSON takes, without a secret.

    Args:
        hide: texts within it are secrets, since they stand where one is expected.
    """
    match value:
        case None | bool() | int() | float() if not isinstance(value, Enum):
            return value
        case Secret():
            return "***"
        case Enum():
            return public(value.value, hide)
        case str():
            return "***" if hide else public_url(value) if "://" in value else str(value)
        case bytes() | bytearray():
            return "***" if hide else value.hex(" ")
        case LibwsError():
            return error_data(value)
        case Mapping():
            return {str(key): public(item, hide) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [public(item, hide) for item in value]
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return type(value).__name__ if hide else repr(value)


def to_json(data: Any, indent: int | None = None) -> str:
    """Plain data as JSON in ASCII, so that nothing in it acts on a terminal."""
    return json.dumps(data, indent=indent, default=repr)
