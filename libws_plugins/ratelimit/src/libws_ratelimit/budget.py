"""What may be written when: a strict sliding window, or a bucket that refills, and whose turn it is.

Nothing here reads a clock or waits: the time is given, and the answer is a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from itertools import chain, takewhile
from typing import NamedTuple, Protocol

__all__ = ["Bucket", "Budget", "Limits", "Window"]

TICK = 0.0001
"""Shortest wait, seconds, so that a clock which counts coarsely is not asked over and over."""
LAPSE = 1.0
"""Seconds after its turn at which one that has not come counts as gone: it took its message back, or is lost."""


class Limits(NamedTuple):
    """What may be written within `per` seconds; None = no limit."""

    messages: int | None
    size: int | None
    """In bytes."""
    per: float
    strict: bool = True
    """A sliding window; False = a bucket that refills."""
    margin: float = 0.0
    """Seconds by which the window is longer than `per`."""


class Meter(Protocol):
    """Knows what was written."""

    limits: Limits

    def plan(self, now: float, sizes: Iterable[int]) -> float:
        """When the last of these messages may be written, if those before it are written as early as they may."""

    def take(self, now: float, size: int) -> None:
        """A message is written."""

    def assume(self, now: float, written: int) -> None:
        """So many messages were written by others, or before we began to count."""

    def restamp(self, now: float, count: int) -> None:
        """The last `count` messages left our hands only now."""


class Window:
    """A strict sliding window: no span of `per` seconds, wherever it begins, its two ends included, holds more."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._written: deque[tuple[float, int]] = deque()
        self._total = 0

    def plan(self, now: float, sizes: Iterable[int]) -> float:
        limits, per = self.limits, self._length()
        while self._written and now - self._written[0][0] >= per:
            self._total -= self._written.popleft()[1]
        planned: list[tuple[float, int]] = []
        oldest = chain(self._written, planned)
        count, total, at = len(self._written), self._total, now
        for size in sizes:
            while count and (
                (limits.messages is not None and count >= limits.messages)
                or (limits.size is not None and total + size > limits.size)
            ):
                when, weight = next(oldest)
                count, total, at = count - 1, total - weight, max(at, _leaves(when, per))
            planned.append((at, size))
            count, total = count + 1, total + size
        return at

    def take(self, now: float, size: int) -> None:
        if size or self.limits.messages is not None:
            self._written.append((now, size))
            self._total += size

    def assume(self, now: float, written: int) -> None:
        self._written.extend((now, 0) for _ in range(written - len(self._written)))

    def restamp(self, now: float, count: int) -> None:
        for place in range(-min(count, len(self._written)), 0):
            self._written[place] = (now, self._written[place][1])

    def _length(self) -> float:
        # The difference of two times is rounded. One that is rounded to more than `per` is more than `per`.
        return max(self.limits.per + self.limits.margin, math.nextafter(self.limits.per, math.inf))


class Bucket:
    """Holds what may be written at once and refills evenly, so a span of `per` seconds may hold up to twice as much."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._at = -math.inf
        self._spent = 0.0
        """Messages, as far as the bucket has not refilled since."""
        self._spent_size = 0.0

    def plan(self, now: float, sizes: Iterable[int]) -> float:
        limits, at = self.limits, now
        spent, spent_size = self._left(now)
        for size in sizes:
            wait = 0.0
            if limits.messages is not None:
                wait = (spent + 1 - limits.messages) * limits.per / limits.messages
            if limits.size is not None:
                wait = max(wait, (spent_size + size - limits.size) * limits.per / limits.size)
            if wait > 1e-9:  # what is left of a sum of fractions
                at += wait
                spent, spent_size = self._refilled(spent, spent_size, wait)
            spent, spent_size = spent + 1, spent_size + size
        return at

    def take(self, now: float, size: int) -> None:
        spent, spent_size = self._left(now)
        self._at, self._spent, self._spent_size = now, spent + 1, spent_size + size

    def assume(self, now: float, written: int) -> None:
        spent, self._spent_size = self._left(now)
        self._at, self._spent = now, max(spent, written)

    def restamp(self, now: float, count: int) -> None:
        self._at = max(self._at, now)

    def _left(self, now: float) -> tuple[float, float]:
        return self._refilled(self._spent, self._spent_size, max(now - self._at, 0.0))

    def _refilled(self, spent: float, spent_size: float, seconds: float) -> tuple[float, float]:
        part = seconds / self.limits.per
        messages, size = self.limits.messages or 0, self.limits.size or 0
        return max(0.0, spent - part * messages), max(0.0, spent_size - part * size)


class Budget:
    """What some connections may write together, and the line of those that wait: first come, first served.

    A connection waits with one message at a time, so one that has a thousand takes every other turn beside one that
    has two.
    """

    def __init__(self, limits: Limits) -> None:
        self.declared = limits
        """The limits that it was made with; a server may have told others since."""
        self._meter: Meter = Window(limits) if limits.strict else Bucket(limits)
        self._line: dict[object, tuple[int, float]] = {}
        """Who waits: the size of its message, and when it is to come again."""
        self._unsettled = 0

    @property
    def limits(self) -> Limits:
        """What counts now."""
        return self._meter.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._meter.limits = limits

    def ask(self, who: object, size: int, now: float) -> float:
        """Ask for a connection's next message, which is no larger than the limit.

        Gives 0 = write it, it is counted; else seconds to wait before asking again.
        """
        for other in [other for other, (_, due) in self._line.items() if due + LAPSE < now and other is not who]:
            del self._line[other]
        ahead = [self._line[other][0] for other in takewhile(lambda other: other is not who, self._line)]
        at = self._meter.plan(now, [*ahead, size])
        if at > now:
            self._line[who] = (size, at)
            return max(at - now, TICK)
        self._line.pop(who, None)
        self.count(size, now)
        return 0.0

    def count(self, size: int, now: float) -> None:
        """A message is written, whether there is room for it or not."""
        self._meter.take(now, size)
        self._unsettled += 1

    @property
    def unsettled(self) -> int:
        """Messages that were counted since `settle`."""
        return self._unsettled

    def settle(self, now: float) -> None:
        """What was counted leaves our hands now."""
        self._meter.restamp(now, self._unsettled)
        self._unsettled = 0

    def assume(self, now: float, written: int) -> None:
        """So many messages count as written now, whoever wrote them."""
        self._meter.assume(now, written)


def _leaves(when: float, per: float) -> float:
    """The first moment at which a message of that time is out of the window."""
    at = when + per
    while at - when < per:
        at = math.nextafter(at, math.inf)
    return at
