"""How much the exchange has counted, and until when it wants to hear nothing."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakValueDictionary

from .errors import RateLimited

__all__ = ["Counts", "Hold", "RateLimit", "next_minute", "shared_hold", "told"]

INTERVALS = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86_400.0}
KEPT = 16
"""Limits that are remembered; there are four."""


class RateLimit(NamedTuple):
    """One of the exchange's limits, and how much of it is used up."""

    kind: str
    """What is counted: "REQUEST_WEIGHT" (of the address), "ORDERS" (of the account)."""
    per: float
    """Seconds; such an interval begins at each multiple of itself, by the exchange's clock."""
    limit: int
    used: int


class Counts:
    """The newest word of each limit."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, float], tuple[int, int, float]] = {}

    def read(self, limits: Any, now: float) -> None:
        """Remember the `rateLimits` of an answer.

        Args:
            now: the exchange's time, seconds since the epoch.
        """
        for each in limits if isinstance(limits, list) else ():
            if not isinstance(each, Mapping):
                continue
            kind, unit, times = each.get("rateLimitType"), each.get("interval"), each.get("intervalNum")
            limit, count = each.get("limit"), each.get("count")
            if not isinstance(kind, str) or unit not in INTERVALS or type(times) is not int or times < 1:
                continue
            key = kind, INTERVALS[unit] * times
            if type(limit) is int and type(count) is int and (key in self._told or len(self._told) < KEPT):
                self._told[key] = limit, count, now

    def now(self, now: float) -> tuple[RateLimit, ...]:
        """The limits as they are now: what is used up is so until its interval ends."""
        return tuple(
            RateLimit(kind, per, limit, count if now // per == told // per else 0)
            for (kind, per), (limit, count, told) in sorted(self._told.items())
        )


class Hold:
    """Until when nothing may be sent, because the exchange said so."""

    def __init__(self) -> None:
        self.refusal: RateLimited | None = None
        """What it said, None if nothing is held."""
        self._until = 0.0

    def set(self, refusal: RateLimited) -> None:
        """Hold until then, unless it is held for longer."""
        until = asyncio.get_running_loop().time() + (refusal.retry_after or 0.0)
        if self.left() <= 0 or until > self._until:
            self.refusal, self._until = refusal, until

    def left(self) -> float:
        """Seconds that are left of it."""
        left = self._until - asyncio.get_running_loop().time() if self.refusal is not None else 0.0
        if left <= 0:
            self.refusal = None
        return left

    def check(self, what: str, method: str) -> None:
        """Refuse what would be sent too early.

        Args:
            what: what has not been done, for the text.

        Raises:
            RateLimited: it is held.
        """
        left, said = self.left(), self.refusal
        if said is not None:
            raise RateLimited(
                f"{what}: the exchange wants nothing until {told(said.until)} ({said.status}: {said.msg})",
                until=said.until,
                sent=False,
                retry_after=left,
                method=method,
                status=said.status,
                code=said.code,
                msg=said.msg,
                data=said.data,
            )


_holds: WeakKeyDictionary[AbstractEventLoop, WeakValueDictionary[str, Hold]] = WeakKeyDictionary()
"""What all clients of a loop share: weight is counted by address, over all its connections."""


def shared_hold(url: str) -> Hold:
    """The hold of a URL's host, as long as a client has it."""
    host = urlsplit(url).hostname or url.partition("?")[0]
    holds = _holds.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    hold = holds.get(host)
    if hold is None:
        hold = holds[host] = Hold()
    return hold


def next_minute(now: float) -> float:
    """Seconds until the count of weight begins anew, where the exchange does not say when it listens again."""
    return 60.0 - now % 60.0


def told(wall: float) -> str:
    """A time for people."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
