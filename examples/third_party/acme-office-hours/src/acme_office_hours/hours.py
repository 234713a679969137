"""When an office is open, in its own time zone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["Hours"]

LOOK = 8
"""Days ahead in which an office that opens once a week opens."""


class Hours:
    """Opening hours that come again each week.

    Args:
        zone: a name of the IANA time zone database.
        days: days of the week, 0 = Monday.
        opens: local time, such as "09:00".
        closes: local time; of the next day, if it is not after `opens`.

    Raises:
        ValueError: one of them cannot be. The text names the option.
    """

    def __init__(self, zone: str, days: Collection[int], opens: str, closes: str) -> None:
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"option 'zone': there is no time zone {zone!r}; write it as 'Europe/Berlin'") from None
        if not days:
            raise ValueError("option 'days': expected at least one day")
        self._days = frozenset(days)
        self._opens, self._closes = _time("opens", opens), _time("closes", closes)
        self._later = self._closes <= self._opens
        """It closes on the day after."""

    @property
    def length(self) -> float:
        """Seconds that it is open on a day whose clocks are not changed."""
        today = datetime(2000, 1, 3)
        until = datetime.combine(today + timedelta(days=self._later), self._closes)
        return (until - datetime.combine(today, self._opens)).total_seconds()

    def next_open(self, moment: float) -> float:
        """The earliest time at which it is open, not before `moment`; both are seconds since the epoch."""
        for begin, end in self._around(moment):
            if begin < end and moment < end:  # hours that the clocks skip are none
                return max(begin, moment)
        raise AssertionError("an office that opens each week opens within one")

    def _around(self, moment: float) -> Iterator[tuple[float, float]]:
        """The hours of the days around a moment, in order.

        Each is worked out for its own date: from Friday to Monday there are 71 or 73 hours when clocks are changed.
        """
        today = datetime.fromtimestamp(moment, self._zone).date()
        for ahead in range(-2, LOOK + 1):
            day = today + timedelta(days=ahead)
            if day.weekday() in self._days:
                last = day + timedelta(days=self._later)
                begin = datetime.combine(day, self._opens, self._zone)
                end = datetime.combine(last, self._closes, self._zone).replace(fold=1)
                # PEP 495: of a time that comes twice fold 0 is the first and fold 1 the second; one that is skipped
                # lies later with fold 0 and earlier with fold 1. So it is never open when it should not be.
                yield begin.timestamp(), end.timestamp()


def _time(option: str, text: str) -> time:
    try:
        parsed = time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"option {option!r}: expected a time of day such as '09:00'") from None
    if parsed.tzinfo is not None:
        raise ValueError(f"option {option!r}: a time of day has no zone; that is the option 'zone'")
    return parsed
