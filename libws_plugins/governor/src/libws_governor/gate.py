"""One host as all clients of a loop see it: who may connect when, and whether anybody may."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from libws_core import CircuitOpen

__all__ = ["Gate", "Turn"]

MINUTE = 60.0
EXACT = 0.001
"""Seconds by which a clock may differ from what was computed: who comes so much too early is not sent away for that."""


class Turn:
    """One attempt at a host: it waits, goes through, and ends well or not."""

    __slots__ = ("breaker", "budget", "connects", "entered", "granted", "half_open", "per", "place", "retry")

    def __init__(
        self, connects: int, per: float, budget: int | None, breaker: int | None, half_open: float, retry: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connects = connects
        self.per = per
        self.budget = budget
        """Retries a minute, None = any number."""
        self.breaker = breaker
        self.half_open = half_open
        self.retry = retry
        """It follows a failure."""
        self.entered = loop.time()
        self.place = 0
        """When it came, counted from the first."""
        self.granted: asyncio.Future[None] = loop.create_future()


class Gate:
    """Lets attempts at one host through: evenly spaced, within the budget of retries, and none while they cannot help.

    Those that wait stand in two lines, since the budget holds back only those that follow a failure. The circuit is
    closed (`open_until` is None), open until then, or half open from then on: one attempt, the probe, goes through, and
    the others wait for what becomes of it.

    Args:
        host: for texts.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.failures = 0
        """Failed attempts since the last connection that was READY."""
        self.open_until: float | None = None
        self.held_until = -math.inf
        """The server asked everybody to wait until then."""
        self._loop = asyncio.get_running_loop()
        self._lines: tuple[dict[Turn, None], dict[Turn, None]] = ({}, {})
        """First attempts, and retries; in order."""
        self._places = 0
        self._probe: Turn | None = None
        self._latest: Turn | None = None
        """Who was let through last."""
        self._due = self._due_before = -math.inf
        """When the last one was to go through; spacing counts from there."""
        self._connects: deque[float] = deque()
        self._retries: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Attempts that wait for their turn."""
        return sum(map(len, self._lines))

    # What an attempt does

    async def enter(self, turn: Turn) -> None:
        """Wait for one's turn, for as long as it takes.

        Raises:
            CircuitOpen: no attempt is made for now; `retry_after` says when the next one may be.
        """
        now = self._loop.time()
        if self._is_open(now) and turn.breaker is not None:
            raise self._refusal(now)
        self._places += 1
        turn.place = self._places
        line = self._lines[turn.retry]
        line[turn] = None
        self._advance()
        try:
            await turn.granted
        except asyncio.CancelledError:
            self._take_back(turn)
            raise
        finally:
            line.pop(turn, None)

    def fail(self, turn: Turn) -> None:
        """Its attempt failed, and that may be the host's doing."""
        now = self._loop.time()
        self.failures += 1
        probing = turn is self._probe
        if probing or (self.open_until is None and turn.breaker is not None and self.failures >= turn.breaker):
            self.open_until = now + turn.half_open
        if probing:
            self._probe = None
        self._advance()

    def ready(self) -> None:
        """A connection is READY: the host is well."""
        self.failures = 0
        if self.open_until is not None:
            self.open_until = self._probe = None
            self.hold(0)  # those that waited for the probe are spaced from now on
            self._advance()

    def leave(self, turn: Turn) -> None:
        """Its attempt ended and tells nothing of the host; if it was the probe, the next one takes its place."""
        if turn is self._probe:
            self._probe = None
            self.hold(0)
            self._advance()

    def hold(self, seconds: float) -> None:
        """The server asked to be left alone for so long."""
        self.held_until = max(self.held_until, self._loop.time() + seconds)

    # Who goes next

    def _advance(self) -> None:
        """Let through whoever may go now, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        if self._is_open(now):
            self._refuse_all(now)
        while (turn := self._next()) is not None:
            at, now = self._earliest(turn), self._loop.time()
            if at > now:
                self._timer = self._loop.call_at(at, self._advance)
                return
            self._let_through(turn, at, now)

    def _next(self) -> Turn | None:
        """Who is first: of both lines the one that may go sooner."""
        heads = [head for line in self._lines if (head := self._head(line)) is not None]
        now = self._loop.time()
        return min(heads, key=lambda head: (max(self._earliest(head), now), head.place), default=None)

    def _head(self, line: dict[Turn, None]) -> Turn | None:
        """The first of a line; while a probe is under way, the first that does not heed the circuit."""
        for turn in line:
            if not turn.granted.done() and (self._probe is None or turn.breaker is None):
                return turn
        return None

    def _earliest(self, turn: Turn) -> float:
        """When a turn may come, as things are now."""
        at = max(self._due + turn.per / turn.connects, self.held_until)
        if len(self._connects) >= turn.connects:
            at = max(at, self._connects[-turn.connects] + turn.per)
        if turn.retry and turn.budget is not None and len(self._retries) >= turn.budget:
            at = max(at, self._retries[-turn.budget] + MINUTE)
        return at

    def _let_through(self, turn: Turn, at: float, now: float) -> None:
        # A timer that comes late must not slow everybody behind it, nor may many go at once to make up for it: the
        # next distance is shorter, by half of it at most.
        due = max(at, turn.entered, now - turn.per / turn.connects / 2)
        self._due_before, self._due = self._due, min(due, now)
        self._latest = turn
        self._connects.append(now)
        while len(self._connects) > turn.connects and self._connects[0] + turn.per < now:
            self._connects.popleft()
        if turn.retry:
            self._retries.append(now)
            while self._retries[0] + MINUTE < now:
                self._retries.popleft()
        if self.open_until is not None and turn.breaker is not None:
            self._probe = turn
        del self._lines[turn.retry][turn]
        turn.granted.set_result(None)

    def _take_back(self, turn: Turn) -> None:
        """It was cancelled while it waited, or just when it was let through: then its place is the next one's."""
        self._lines[turn.retry].pop(turn, None)
        if turn is self._latest and turn.granted.done() and not turn.granted.cancelled():
            self._latest = None
            self._due = self._due_before
            self._connects.pop()
            if turn.retry:
                self._retries.pop()
        if turn is self._probe:
            self._probe = None
        self._advance()

    # The circuit

    def _is_open(self, now: float) -> bool:
        return self.open_until is not None and self.open_until - now > EXACT

    def _refuse_all(self, now: float) -> None:
        for line in self._lines:
            for turn in [turn for turn in line if turn.breaker is not None and not turn.granted.done()]:
                del line[turn]
                turn.granted.set_exception(self._refusal(now))
                turn.granted.exception()  # whoever waits gets it; it may be cancelled before it wakes

    def _refusal(self, now: float) -> CircuitOpen:
        assert self.open_until is not None
        left = self.open_until - now
        text = f"{self.host}: {self.failures} attempts in a row have failed, the next one may be in {left:.3g} s"
        return CircuitOpen(text, retry_after=left)
