"""Reconnect after growing, jittered delays, and say what statuses and close codes mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from libws_core import STOP, Failure, LibwsError, Request, Stop, Verdict, chance, hookimpl
from libws_core.errors import ProxyError
from libws_core.secret import public_url
from libws_core.verdicts import verdict_table

__all__ = ["Backoff"]

logger = logging.getLogger("libws.backoff")


@dataclass(eq=False, kw_only=True)
class Backoff:
    """Reconnect after growing, jittered delays.

    Failure n of a row waits d = min(cap, base * factor**(n-1)), jittered. A row ends when a connection was READY for
    the client's `healthy_after`; a connection that is lost after that is failure 1 of the next row. Where the server
    says how long to wait (Retry-After), that takes the delay's place, and up to `base` is added.
    """

    base: Annotated[float, Meta(ge=0)] = 0.5
    """First delay, seconds. 0 = no delays at all."""
    factor: Annotated[float, Meta(ge=1)] = 2.0
    """By how much each delay is longer than the one before."""
    cap: Annotated[float, Meta(ge=0)] = 30.0
    """Longest delay, seconds, jitter included."""
    jitter: Literal["full", "equal", "decorrelated", "none"] = "full"
    """How chance spreads clients that lost the same server: "full" draws from a tenth of d to d, "equal" from half of d
    to d, "decorrelated" from `base` to three times the delay before (at most `cap`; `factor` does not count), "none"
    waits d."""
    max_attempts: Annotated[int, Meta(ge=1)] | None = None
    """Failures in a row after which it gives up: 3 makes at most three attempts to open, and two after a loss, which is
    a failure itself. None = never."""
    deadline: Annotated[float, Meta(gt=0)] | None = None
    """Seconds since the first failure of a row after which no attempt begins: it gives up at once if the delay would
    end later. None = never."""
    retry_after_max: Annotated[float, Meta(ge=0)] = 600.0
    """Longest Retry-After that is obeyed, seconds; a longer one counts as this, and a warning says so."""
    statuses: dict[int | str, Verdict] = field(default_factory=dict)
    """Verdicts of HTTP statuses, over the core's table: {"403": "retry", "500-599": "fatal"}. Not those of a proxy."""
    codes: dict[int | str, Verdict] = field(default_factory=dict)
    """Verdicts of close codes, over the core's table: {"1008": "fatal", "4000-4099": "fatal"}."""

    _statuses: dict[int, Verdict] = field(init=False, repr=False)
    _codes: dict[int, Verdict] = field(init=False, repr=False)
    _count: int = field(default=0, init=False, repr=False)
    _since: float = field(default=0.0, init=False, repr=False)
    _previous: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._statuses = _table("statuses", self.statuses)
        self._codes = _table("codes", self.codes)

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        """Give the verdict of `statuses` and `codes` to an error that they name."""
        verdict = None
        if error.status is not None and not isinstance(error, ProxyError):  # a proxy is not the provider
            verdict = self._statuses.get(error.status)
        if verdict is None and error.code is not None:
            verdict = self._codes.get(error.code)
        return None if verdict is None else error.but(verdict=verdict)

    @hookimpl(trylast=True)
    def reconnect(self, failure: Failure) -> float | Stop:
        """Give the delay, or STOP where `max_attempts` or `deadline` says so."""
        new_row = failure.count <= self._count or self._count == 0
        self._count = failure.count
        if self.max_attempts is not None and failure.count >= self.max_attempts:
            return STOP
        if new_row:
            self._previous = self.base
        delay = self._delay(failure)
        if self.deadline is not None:
            now = asyncio.get_running_loop().time()
            if new_row:
                self._since = now
            if now + delay > self._since + self.deadline:
                return STOP
        return delay

    def _delay(self, failure: Failure) -> float:
        asked = failure.error.retry_after
        if asked is not None:
            if asked > self.retry_after_max:
                asked = self.retry_after_max
                logger.warning(
                    "%s asked for %.12g s with Retry-After, retry_after_max admits %g s",
                    public_url(failure.request.url),
                    failure.error.retry_after,
                    asked,
                )
            return asked + (0.0 if self.jitter == "none" else chance.uniform(0, self.base))
        if self.base == 0:
            return 0.0
        if self.jitter == "decorrelated":
            self._previous = min(self.cap, chance.uniform(self.base, self._previous * 3))
            return self._previous
        longest = self._longest(failure.count)
        if self.jitter == "none":
            return longest
        return chance.uniform(longest / (10 if self.jitter == "full" else 2), longest)

    def _longest(self, count: int) -> float:
        try:
            return min(self.cap, self.base * float(self.factor) ** (count - 1))
        except OverflowError:
            return self.cap


def _table(option: str, entries: Mapping[int | str, Verdict]) -> dict[int, Verdict]:
    try:
        return verdict_table({str(key): verdict for key, verdict in entries.items()})
    except ValueError as error:
        raise ValueError(f"option {option!r}: {error}") from None
