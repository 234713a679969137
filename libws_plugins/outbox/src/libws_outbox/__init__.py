"""Keep what is sent while there is no connection, in order and bounded, and send it on the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from libws_core import Client, Closed, Dropped, Event, LibwsError, OutboxFull, Sending, Session, State, hookimpl

from .kept import Kept, Line

__all__ = ["Outbox"]

EVERY = 1.0
"""Seconds from one Dropped event of a reason to the next, at least."""
EXACT = 0.001
"""Seconds by which a clock may differ from what was computed."""
ENDED = (State.CLOSING, State.CLOSED, State.FAILED)
"""States in which nothing is kept any more."""


@dataclass(eq=False, kw_only=True)
class Outbox:
    """Keep what is sent while the client is not READY.

    Whoever sends waits until the message is written. It leaves in the order of sending, after log-in and subscriptions
    and before anything newer. One that was sent with `confirm` and `idempotent`, and whose proof was lost with its
    connection, is kept again, before what is newer.
    """

    behind: ClassVar[tuple[str, ...]] = ("subscriptions",)

    size: Annotated[int, Meta(ge=1)] = 1_000
    """Messages that may wait."""
    bytes: Annotated[int, Meta(ge=1)] = 2**20
    """Bytes of payload that may wait, 1 MiB; a message that is larger is always refused."""
    ttl: Annotated[float, Meta(gt=0)] | None = 5.0
    """Seconds after the sending (of one that is kept again: after the loss) in which a message must be written; then
    its sender gets MessageExpired. They count on while it waits behind a rate limit or a slow peer. None = no limit. A
    shorter `timeout` of the sender counts, too."""
    full: Literal["raise", "block", "drop-oldest", "drop-newest"] = "raise"
    """What happens when there is no room: "raise" = the one that sends gets OutboxFull; "block" = it waits in line for
    room, for as long as `ttl` and its own `timeout` allow; "drop-oldest" and "drop-newest" = the sender of the oldest
    or newest message gets OutboxFull. Newest by the order of sending: one that is kept again is older than others."""

    refused: int = field(default=0, init=False)
    """Messages that found no room, with `full` = "raise", or were larger than `bytes`."""
    dropped: int = field(default=0, init=False)
    """Messages that were dropped for others."""
    expired: int = field(default=0, init=False)
    """Messages whose time was over before they were written, by `ttl` or the sender's own `timeout`."""

    _line: Line = field(default_factory=Line, init=False, repr=False)
    _blocked: Line = field(default_factory=Line, init=False, repr=False)
    _client: Client | None = field(default=None, init=False, repr=False)
    _untold: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False, repr=False)
    _told: float = field(default=float("-inf"), init=False, repr=False)

    @property
    def waiting(self) -> int:
        """Messages that wait now: at most `size`."""
        return len(self._line)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of payload that wait now: at most `bytes`."""
        return self._line.bytes

    @property
    def blocked(self) -> int:
        """Senders that wait for room now, with `full` = "block"."""
        return len(self._blocked)

    @hookimpl
    def deliver(self, client: Client) -> None:
        """Take no part in delivery; this is where a plugin meets its client."""
        self._client = client

    @hookimpl
    def hold(self, sending: Sending) -> Awaitable[None]:
        """Keep a message. Raises OutboxFull if there is no room for it."""
        loop = asyncio.get_running_loop()
        kept = Kept(sending, loop.create_future(), self._left)
        if kept.bytes > self.bytes:
            self.refused += 1
            self._announce("a message is larger than the outbox")
            raise OutboxFull(f"{sending.message!r} is larger than the outbox, which takes {self.bytes} bytes")
        if self._blocked and sending.number > self._blocked.first:
            self._blocked.add(kept)
        else:
            self._line.add(kept)
            self._make_room(kept)
        if self.ttl is not None:
            expires = loop.time() + self.ttl
            if sending.expires is None or expires < sending.expires:
                sending.expires = expires
        return kept

    @hookimpl(trylast=True)
    def establish(self, session: Session) -> None:
        """Give everything to the connection, which is READY next."""
        self._give(session)

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Give what was sent since, if another plugin has come behind us in `establish`. READY begins only now."""
        self._give(session)

    @hookimpl
    def observe(self, event: Event) -> None:
        """At the end, tell what is not told yet."""
        if isinstance(event, Closed):
            self._tell()

    def _give(self, session: Session) -> None:
        """Give what waits to a connection, in order; its queue of users' messages is as long as it must be."""
        while self._line:
            kept = self._line.take_first()
            self._fill_up()
            if kept.gone:
                continue
            try:
                kept.give(session.send(kept.sending))
            except LibwsError:  # the connection has ended in the middle of it
                self._line.add(kept)
                self._overflow()
                return

    def _make_room(self, kept: Kept) -> None:
        """Bring the line back within its bounds, after one was added; raises if that one has to go."""
        if self.full == "block":
            self._overflow()
            return
        while self._exceeded:
            if self.full == "raise":
                victim = self._line.remove(kept)
                self.refused += 1
            else:
                victim = self._line.take_first() if self.full == "drop-oldest" else self._line.take_last()
                if victim.gone:
                    continue
                self.dropped += 1
            self._announce("the outbox is full")
            error = OutboxFull(
                f"{victim.sending.message!r} has no place: the outbox takes {self.size} messages, {self.bytes} bytes"
            )
            if victim is kept:
                raise error
            victim.fail(error)

    @property
    def _exceeded(self) -> bool:
        return len(self._line) > self.size or self._line.bytes > self.bytes

    def _overflow(self) -> None:
        """Let the last of the line wait for room."""
        while self._exceeded:
            self._blocked.add(self._line.take_last())

    def _fill_up(self) -> None:
        """Let those who wait for room in, as far as there is some."""
        while self._blocked and len(self._line) < self.size:
            kept = self._blocked.take_first()
            if self._line.bytes + kept.bytes > self.bytes:
                self._blocked.add(kept)
                return
            self._line.add(kept)

    def _left(self, kept: Kept) -> None:
        """Its sender has gone before it was written."""
        if not self._line.discard(kept):
            self._blocked.discard(kept)
        self._fill_up()
        if self._client is not None and self._client.state in ENDED:
            return  # which is what its sender is told
        expires = kept.sending.expires  # None once it is written
        if expires is not None and expires <= asyncio.get_running_loop().time() + EXACT:
            self.expired += 1
            self._announce("the time to live was over")

    def _announce(self, why: str) -> None:
        """Tell observers, soon and not message by message."""
        self._untold[why] = self._untold.get(why, 0) + 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._told + EVERY), self._tell)

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        untold, self._untold = self._untold, {}
        self._told = asyncio.get_running_loop().time()
        for why, count in untold.items():
            if self._client is not None:
                self._client.emit(Dropped(count, why))
