"""Reconnect in office hours only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from libws_core import Failure, chance, clock, hookimpl

from .hours import Hours

__all__ = ["OfficeHours"]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST = 7 * 86400.0
"""Longest Retry-After that is obeyed, seconds."""


@dataclass(eq=False, kw_only=True)
class OfficeHours:
    """Reconnect in office hours only; what fails outside them, or would be tried again there, waits for the opening.

    Within the hours delays grow as those of `backoff` do, and a Retry-After is obeyed. It answers in the place of
    `backoff`, whose verdicts of statuses and codes go on to count. The first attempt, the user's, is made at any time.
    """

    zone: str = "UTC"
    """The office's time zone, such as "Europe/Berlin"."""
    days: Sequence[Day] = ("mon", "tue", "wed", "thu", "fri")
    """The days on which it opens."""
    opens: str = "09:00"
    """When it opens, in local time. A time that a day has twice is the first of both, one that it skips is later."""
    closes: str = "17:00"
    """When it closes; on the next day, if that is not after `opens`. A time that a day has twice is the second."""
    jitter: Annotated[float, Meta(ge=0)] = 60.0
    """Seconds after the opening over which chance spreads the clients that have waited for it."""
    base: Annotated[float, Meta(gt=0)] = 0.5
    """Longest first delay within the hours, seconds; each is at most twice as long as the one before."""
    cap: Annotated[float, Meta(gt=0)] = 30.0
    """Longest delay within the hours, seconds."""

    _hours: Hours = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._hours = Hours(self.zone, [WEEK.index(day) for day in self.days], self.opens, self.closes)
        if self.jitter > self._hours.length:
            raise ValueError(f"option 'jitter': expected at most the {self._hours.length:g} s that the office is open")

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        """Give the delay within the hours, or the time until they begin again."""
        now = clock.wall()
        delay = self._delay(failure)
        opening = self._hours.next_open(now + delay)
        if opening <= now + delay:
            return delay
        return opening - now + chance.uniform(0, self.jitter)

    def _delay(self, failure: Failure) -> float:
        longest = self.cap
        if failure.count < 64:  # beyond that the power is larger than any cap
            longest = min(self.cap, self.base * 2 ** (failure.count - 1))
        delay = chance.uniform(longest / 10, longest)
        asked = failure.error.retry_after
        return delay if asked is None else min(asked, LONGEST) + delay
