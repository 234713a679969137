"""When one connection is to be replaced: by its age, or by the time of day."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable
from typing import Any

from libws_core import chance, clock

LOOK = 60.0
"""Longest time between two looks at the clocks, seconds: wall time may be set, and the host may sleep."""
EXACT = 0.001
"""Shortest wait, seconds."""


class Schedule:
    """The times at which one connection is to be replaced; its age counts from now.

    The age is that of the loop's time or of wall time, whichever is more: the server's clock goes on while our host
    sleeps, and the loop's may stand still.

    Args:
        every: the age, seconds; None = whatever its age.
        times: times of day, each in its own zone or the host's local time.
        jitter: seconds by which the age is up to less, and a time of day up to later.
    """

    def __init__(self, every: float | None, times: tuple[datetime.time, ...], jitter: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._born = self._loop.time(), clock.wall()
        self._age = None if every is None else every - chance.uniform(0.0, min(jitter, every))
        self._times = times
        self._delay = chance.uniform(0.0, jitter) if times else 0.0

    async def due(self) -> str:
        """Wait until it is time; gives why, in words."""
        coming = next_time(self._times, clock.wall())
        moment = float("inf") if coming is None else coming + self._delay
        while True:
            loop_time, wall = self._loop.time(), clock.wall()
            age = max(loop_time - self._born[0], wall - self._born[1])
            left = float("inf") if self._age is None else self._age - age
            if left <= 0:
                return f"it is {age:.0f} s old"
            if wall >= moment:
                return "it is time"
            await asyncio.sleep(min(max(min(left, moment - wall), EXACT), LOOK))


def times_of_day(given: Any) -> tuple[datetime.time, ...]:
    """The times that an option, or a function in its place, says.

    Raises:
        ValueError: something in it is no time of day.
    """
    if given is None:
        return ()
    if isinstance(given, (str, datetime.time)) or not isinstance(given, Iterable):
        given = [given]
    return tuple(_time(each) for each in given)


def next_time(times: tuple[datetime.time, ...], wall: float) -> float | None:
    """The first of these times of day that comes after a moment of wall time; None if there are none.

    A time that a change of the clocks leaves out comes as much later, one that it repeats counts the first time.
    """
    return min((_next(each, wall) for each in times), default=None)


def _time(given: Any) -> datetime.time:
    if isinstance(given, datetime.time):
        return given
    if isinstance(given, str):
        try:
            return datetime.time.fromisoformat(given.strip())
        except ValueError:
            pass
    raise ValueError(f"{given!r} is not a time of day such as '03:30'")


def _next(time: datetime.time, wall: float) -> float:
    today = datetime.datetime.fromtimestamp(wall, time.tzinfo).date()
    day = 0
    while (moment := datetime.datetime.combine(today + datetime.timedelta(day), time).timestamp()) <= wall:
        day += 1
    return moment
