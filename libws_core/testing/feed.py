"""A numbered feed from the server to the user: what became of each message, and whether that was told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..events import AttemptFailed, Connected, Disconnected, Dropped, Event, Gap, Reconnected, Reopened
from ..types import Kind, Message
from .connection import End
from .memory import MemoryPeer
from .peer import Gone

__all__ = ["Feed"]

RECENT = 10_000
"""Arrivals that are remembered until the fate of their connection is known."""


class Feed:
    """Texts with the numbers 1, 2, 3... Every connection gets what is published while it is open.

    `check` demands that nothing is lost unless it is told: a hole in the numbers that the user gets needs a Gap marker
    in its place; and what has arrived on a READY connection reaches the user, unless Dropped has told of it.

    Args:
        doubled: numbers may come twice, as after a move from one connection to another without the plugin `dedupe`.
        write: gives the text of a number.
        read: gives the number of a text, None if it has none.
    """

    def __init__(
        self,
        *,
        doubled: bool = False,
        write: Callable[[int], str] = str,
        read: Callable[[Message], int | None] | None = None,
    ) -> None:
        self.published = 0
        """The last number."""
        self.delivered = 0
        """How many messages the user got."""
        self.faults: list[str] = []
        """What came twice or out of order."""
        self._doubled = doubled
        self._write = write
        self._read = read or _number
        self._peers: list[MemoryPeer] = []
        self._arrived: dict[int, deque[tuple[float, int]]] = {}
        """What came to the client by attempt, until its end is known."""
        self._ready: set[int] = set()
        self._due: set[int] = set()
        """Numbers that must reach the user."""
        self._holes: set[int] = set()
        """Numbers that are missing where no Gap stands."""
        self._dropped = 0
        self._got: set[int] = set()
        self._last = self._highest = 0
        self._gap = True  # before the first message anything may have been published

    def add(self, peer: MemoryPeer) -> None:
        """From now on this connection gets what is published."""
        arrived = self._arrived.setdefault(peer.request.attempt.number, deque(maxlen=RECENT))
        connection = peer.connection
        take = connection._inbound._take

        def noted(item: Message | End) -> None:
            if isinstance(item, Message) and item.kind is Kind.TEXT and connection._got_close is None:
                number = self._read(item)
                if number is not None and not connection._done and not connection._aborted:
                    arrived.append((connection._loop.time(), number))
            take(item)

        connection._inbound._take = noted
        self._peers.append(peer)

    def publish(self) -> None:
        """Send the next number on every connection that is open."""
        self.published += 1
        text = self._write(self.published)
        for peer in tuple(self._peers):
            try:
                if peer._said_close:
                    raise Gone("it is closing")
                peer.send(text)
            except Gone:
                self._peers.remove(peer)

    def got(self, item: Message | Gap) -> None:
        """The user got this from `client.stream(markers=True)`."""
        if isinstance(item, Gap):
            self._gap = True
            return
        number = self._read(item)
        if number is None:
            return
        self.delivered += 1
        if number != self._last + 1:
            self._look(number)
        self._last, self._gap = number, False
        self._highest = max(self._highest, number)
        self._got.add(number)

    def hear(self, event: Event) -> None:
        """Be told each event of the client."""
        match event:
            case Connected() | Reconnected() | Reopened():
                self._ready.add(event.attempt)
            case Disconnected() | AttemptFailed():
                arrived = self._arrived.pop(event.attempt, ())
                if event.attempt in self._ready or event.error.phase == "ready":
                    self._due.update(number for time, number in arrived if time < event.monotonic)
            case Dropped():
                self._dropped += event.count

    def check(self) -> list[str]:
        """What was not told, after the client has ended and the user has read everything."""
        for attempt, arrived in self._arrived.items():
            if attempt in self._ready:  # the old one of a move, of whose end no event tells
                self._due.update(number for _, number in arrived)
        missing = {
            "lost without a Gap": self._holes - self._got,
            "arrived on a READY connection and never got to the user": self._due - self._got,
        }
        found = list(self.faults)
        for what, numbers in missing.items():
            if len(numbers) > self._dropped:
                told = f", {self._dropped} were dropped and told" if self._dropped else ""
                found.append(f"{what}: {_list(sorted(numbers))}{told}")
        return found

    def _look(self, number: int) -> None:
        """It does not follow the one before."""
        if number in self._got and not self._doubled:
            self.faults.append(f"{number} comes after {self._last}, and for the second time")
        elif number <= self._highest and not self._doubled and not self._gap:
            self.faults.append(f"{number} comes after {self._last}: out of order")
        elif number > self._highest + 1 and not self._gap:
            self._holes.update(range(self._highest + 1, number))
        elif self._doubled and self._last + 1 < number <= self._highest and not self._gap:
            self.faults.append(f"{number} comes after {self._last}: out of order")


def _number(message: Message) -> int | None:
    return int(message.data) if str(message.data).isdecimal() else None


def _list(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
