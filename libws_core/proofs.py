"""What one connection's pongs prove.

A WebSocket is ordered, so the pong to a ping shows that the peer has read everything written before that ping. Messages
that are sent with `confirm=True` share such pings; those of `Session.ping` count as well.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from . import chance
from .errors import LibwsError
from .outbound import SWEEP
from .types import Message, Sending


class _Ping:
    """A ping on its way."""

    __slots__ = ("future", "mark", "sent_at")

    def __init__(self, future: asyncio.Future[float] | None, sent_at: float) -> None:
        self.future = future
        self.sent_at = sent_at
        self.mark = -1
        """Users' messages written before it; -1 while it is not written itself."""


class Proofs:
    """Pings under way, and users' messages that are written and not proven.

    Args:
        put: queues a ping to be written.
    """

    __slots__ = ("_loop", "_pings", "_proven", "_proving", "_put", "_sweep_at", "_unproven", "written")

    def __init__(self, put: Callable[[Message], object]) -> None:
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._pings: dict[bytes, _Ping] = {}
        self._unproven: deque[tuple[int, Sending]] | None = None  # made for the first one: an empty deque is 760 bytes
        self._sweep_at = SWEEP
        self._proven = 0
        self._proving = False
        self.written = 0
        """Users' messages written."""

    @property
    def unconfirmed(self) -> int:
        """Users' messages written since the last proof."""
        return self.written - self._proven

    def ping(self, future: asyncio.Future[float] | None) -> bytes:
        """Send a ping; the future, if there is one, gets the round trip in seconds. Gives what `forget` takes."""
        payload = chance.token(8)
        self._pings[payload] = _Ping(future, self._loop.time())
        self._put(Message.ping(payload))
        return payload

    def forget(self, payload: bytes) -> None:
        """Nobody waits for this ping any more."""
        self._pings.pop(payload, None)

    def wrote_ping(self, payload: bytes) -> None:
        """A ping was written: its pong will prove what was written until now."""
        ping = self._pings.get(payload)
        if ping is not None:
            ping.mark = self.written

    def wrote(self, sending: Sending) -> None:
        """A user's message was written."""
        self.written += 1
        sending.place = sending.expires = None
        if not sending.confirm:
            return
        if sending.proof is None or sending.proof.done():
            sending.proof = self._loop.create_future()
        if self._unproven is None:
            self._unproven = deque()
        while self._unproven and _done(self._unproven[0][1]):  # whoever waited has gone
            self._unproven.popleft()
        if len(self._unproven) >= self._sweep_at:
            self._unproven = deque(each for each in self._unproven if not _done(each[1]))
            self._sweep_at = max(SWEEP, 2 * len(self._unproven))
        self._unproven.append((self.written, sending))
        self._prove_soon()

    def pong(self, payload: bytes) -> float | None:
        """A pong arrived; gives the round trip in seconds, None if it answers no ping of ours."""
        ping = self._pings.get(payload)
        if ping is None:
            return None
        now = self._loop.time()
        for key in list(self._pings):  # a peer may answer the latest ping only: RFC 6455 section 5.5.3
            earlier = self._pings.pop(key)
            if earlier.future is None:
                self._proving = False
            elif not earlier.future.done():
                earlier.future.set_result(now - earlier.sent_at)
            if earlier is ping:
                break
        self.prove(ping.mark)
        if self._unproven and not self._proving:
            self._prove_soon()
        return now - ping.sent_at

    def prove(self, mark: int) -> None:
        """The peer has read the first `mark` of the users' messages."""
        self._proven = max(self._proven, mark)
        while self._unproven and self._unproven[0][0] <= self._proven:
            proof = self._unproven.popleft()[1].proof
            if proof is not None and not proof.done():
                proof.set_result(True)

    def end(self, error: LibwsError) -> None:
        """No pong will come any more."""
        for ping in self._pings.values():
            if ping.future is not None and not ping.future.done():
                ping.future.set_exception(error)
                ping.future.exception()  # whoever waits gets it; nobody may be there
        self._pings.clear()
        self._proving = True  # no more pings either

    def take_unproven(self) -> list[Sending]:
        """The messages whose proof somebody waits for in vain, in the order of writing."""
        waited_for = [sending for _, sending in self._unproven or () if not _done(sending)]
        self._unproven = None
        return waited_for

    def _prove_soon(self) -> None:
        """One ping behind all confirmed messages of this loop turn; the next when its pong is back."""
        if not self._proving:
            self._proving = True
            self._loop.call_soon(self._prove)

    def _prove(self) -> None:
        if self._unproven:
            self.ping(None)
        else:
            self._proving = False


def _done(sending: Sending) -> bool:
    return sending.proof is None or sending.proof.done()
