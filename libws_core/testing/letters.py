"""Numbered messages from the user to the server: what became of each, and whether its sender was told the truth."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..client import Client
from ..errors import ClientClosed, DeliveryUnknown, LibwsError, MessageExpired, NotReady, OutboxFull
from ..events import Closed, Disconnected, Event, Reconnected, Reopened
from ..types import Message

__all__ = ["Letters"]

NOT_SENT = (NotReady, MessageExpired, OutboxFull)
"""Errors that say: it was not sent."""


class _Letter(NamedTuple):
    confirm: bool
    idempotent: bool


class Letters:
    """Texts with numbers that the user sends. `check` demands of each that its sender was told what became of it.

    - What was confirmed has been read by the server.
    - What was not sent, says the error, has not been read by the server.
    - What was written without being confirmed has been read, or is among the `unconfirmed` of an event.
    - Nothing is read twice, and all comes in the order in which it was sent, unless it was marked idempotent.
    - No sender waits for ever.
    """

    def __init__(self) -> None:
        self.count = 0
        """The last number."""
        self.told: Counter[str] = Counter()
        """What became of them: "written", "confirmed", or the name of the error."""
        self.read: list[tuple[int, int]] = []
        """What the server has read: the number of its connection, and that of the letter."""
        self._letters: dict[int, _Letter] = {}
        self._outcome: dict[int, str] = {}
        self._denied: set[int] = set()
        self._unconfirmed = 0
        self._lost = 0
        self._fell_back = False

    async def send(
        self, client: Client, *, confirm: bool = False, idempotent: bool = False, timeout: float | None = None
    ) -> str:
        """Send the next letter; gives what its sender was told."""
        self.count = number = self.count + 1
        self._letters[number] = _Letter(confirm, idempotent)
        try:
            await client.send(f"letter {number}", confirm=confirm, idempotent=idempotent, timeout=timeout)
        except LibwsError as error:
            outcome = type(error).__name__
            if isinstance(error, NOT_SENT):
                self._denied.add(number)
            elif not isinstance(error, DeliveryUnknown | ClientClosed):
                raise
        else:
            outcome = "confirmed" if confirm else "written"
        self._outcome[number] = outcome
        self.told[outcome] += 1
        return outcome

    def arrived(self, connection: int, message: Message) -> bool:
        """The server has read this; says whether it is a letter."""
        word, _, number = str(message.data).partition(" ")
        if word != "letter":
            return False
        self.read.append((connection, int(number)))
        return True

    def hear(self, event: Event) -> None:
        """Be told each event of the client."""
        if isinstance(event, (Disconnected, Reopened, Closed)):
            self._unconfirmed += event.unconfirmed
        if isinstance(event, Disconnected):
            self._lost = event.generation
        elif isinstance(event, Reconnected) and event.generation < self._lost:
            self._fell_back = True  # the old connection of a move carries again

    def check(self) -> list[str]:
        """What was not true, after the client has ended."""
        faults = []
        times = Counter(number for _, number in self.read)
        for number, letter in self._letters.items():
            outcome = self._outcome.get(number)
            if outcome is None:
                faults.append(f"letter {number}: its sender was never told")
            elif outcome == "confirmed" and not times[number]:
                faults.append(f"letter {number} was confirmed, and the server never read it")
            elif number in self._denied and times[number]:
                faults.append(f"letter {number}: {outcome}, and the server read it")
            if times[number] > 1 and not letter.idempotent:
                faults.append(f"letter {number} was read {times[number]} times")
        lost = [number for number, outcome in self._outcome.items() if outcome == "written" and not times[number]]
        if len(lost) > self._unconfirmed:
            faults.append(f"written, never read, and not told of: {len(lost)} letters, {self._unconfirmed} unconfirmed")
        return faults + self._order()

    def _order(self) -> list[str]:
        faults = []
        latest: dict[int, int] = {}
        once: dict[int, list[int]] = {}
        for connection, number in self.read:
            if self._letters[number].idempotent:  # it may be written again behind newer ones
                continue
            if number <= latest.get(connection, 0):
                faults.append(f"letter {number} came after {latest[connection]} on connection {connection}")
            latest[connection] = number
            once.setdefault(connection, []).append(number)
        before = 0
        for connection in sorted(once):
            if min(once[connection]) < before and not self._fell_back:
                faults.append(f"connection {connection} got letter {min(once[connection])}, an older one had {before}")
            before = max(before, max(once[connection]))
        return faults
