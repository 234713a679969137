"""The trace of a simulation: lines of virtual time and what happened, the same for the same seed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import fields

from ..errors import LibwsError
from ..events import Event
from ..types import Message
from .connection import End, MemoryConnection
from .expectation import show

__all__ = ["Trace"]

LINES = 20_000
"""Lines that a trace keeps; of a longer one the oldest go."""
STAMPS = ("attempt", "generation", "monotonic", "wall")

What = str | Message | End | Event | BaseException


class Trace:
    """What happened, in order. Lines become text only when somebody reads them.

    They hold neither addresses nor anything whose order depends on hashes: the same seed gives the same bytes.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str, What]] = deque(maxlen=LINES)
        self._count = 0
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def add(self, who: str, what: What) -> None:
        """Add a line: whom it concerns, and what it is."""
        self._count += 1
        self._lines.append((self._loop.time() - self._began, who, what))

    def text(self) -> str:
        """All of it, a line each."""
        left_out = self._count - len(self._lines)
        head = [f"({left_out} earlier lines are left out)"] if left_out else []
        return "\n".join([*head, *(f"{time:12.6f}  {who}  {_told(what)}" for time, who, what in self._lines)])

    def tap(self, name: str, connection: MemoryConnection) -> None:
        """Add a line for everything that comes through a connection, either way."""
        for line, way in ((connection._inbound, "to the client"), (connection._outbound, "to the server")):
            line._take = self._tapped(f"{name} {way}:", line._take)

    def _tapped(self, who: str, take: Callable[[Message | End], None]) -> Callable[[Message | End], None]:
        add = self.add

        def tapped(item: Message | End) -> None:
            add(who, item)
            take(item)

        return tapped


def _told(what: What) -> str:
    match what:
        case str():
            return what
        case Message():
            return show(what)
        case End(reset):
            return "reset" if reset else "end of the stream"
        case Event():
            told = [f"{name} {_value(getattr(what, name))}" for name in _told_fields(what)]
            return f"{type(what).__name__} {what.generation}.{what.attempt} {', '.join(told)}".rstrip()
        case BaseException():
            return _value(what)


def _told_fields(event: Event) -> list[str]:
    return [each.name for each in fields(event) if each.name not in STAMPS]  # type: ignore[arg-type]


def _value(value: object) -> str:
    match value:
        case float():
            return f"{value:.6f}"
        case LibwsError():
            return f"{type(value).__name__}: {value}"
        case BaseException():
            return f"{type(value).__name__}: {value}"
    return str(value)
