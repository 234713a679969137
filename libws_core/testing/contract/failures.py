"""A table of failures, for policies that must have an answer to each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ... import errors
from ...errors import LibwsError
from ...types import Attempt, Failure, Request
from ...verdicts import Verdict

__all__ = ["COUNTS", "every_error", "table"]

COUNTS = (1, 2, 3, 5, 8, 13, 40, 64, 100, 1_000, 1_024, 10_000)
"""Failures in a row; 2.0 ** 1024 is beyond a float."""
UPTIMES = (0.0, 0.001, 1.0, 29.9, 30.0, 3_600.0, 86_400.0, 1e7)
"""Seconds that a connection was READY."""
RETRY_AFTERS = (0.0, 0.5, 1.0, 30.0, 3_600.0, 1e9)
"""Seconds that a server asks for."""
STATUSES = (300, 400, 401, 403, 404, 407, 408, 410, 425, 429, 500, 501, 502, 503, 504, 505, 520, 599, 999)
CODES = (1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4401, 4999)
PHASES = ("resolve", "admit", "authenticate", "dial", "establish")


def every_error() -> Iterator[LibwsError]:
    """One of each class of error; of those with a status or a code, one of each."""
    for name in errors.__all__:
        kind = getattr(errors, name)
        if not (isinstance(kind, type) and issubclass(kind, LibwsError)):
            continue
        if kind is errors.HandshakeRejected:
            for status in STATUSES:
                yield kind(f"refused with {status}", status=status)
        elif kind is errors.ConnectionClosed:
            for code in CODES:
                yield kind(f"closed with {code}", code=code)
        elif kind is errors.ProxyError:
            for refused in (None, 407, 503):
                yield kind("the proxy refused", status=refused)
        else:
            yield kind(f"an example of {name}")


def table(url: str) -> Iterator[Failure]:
    """Failures of all kinds: each error with each verdict and Retry-After, and the counts and uptimes in turn."""
    places = itertools.count()
    for error in every_error():
        for verdict in Verdict:
            for retry_after in (None, *RETRY_AFTERS):
                place = next(places)
                count, uptime = COUNTS[place % len(COUNTS)], UPTIMES[place % len(UPTIMES)]
                yield failure(error.but(verdict=verdict, retry_after=retry_after), url, count, uptime)
    for count in COUNTS:
        for uptime in UPTIMES:
            yield failure(errors.ConnectionClosed("closed with 1006", code=1006), url, count, uptime)


def failure(error: LibwsError, url: str, count: int = 1, uptime: float = 0.0) -> Failure:
    """A failure such as the core would tell of it."""
    lost = isinstance(error, errors.ConnectionClosed)
    dialed = isinstance(error, errors.ConnectError) and not isinstance(error, errors.ConnectTimeout)
    phase = "ready" if lost else "dial" if dialed else PHASES[count % len(PHASES)]
    attempt = Attempt(count + 1, 1 + lost, "reconnect" if count > 1 else "open")
    error.phase, error.attempt, error.generation = phase, attempt, attempt.generation
    return Failure(error, Request(url, attempt=attempt), phase, count, uptime if lost else 0.0)
