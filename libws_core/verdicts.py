"""What a failure means for the next attempt: the tables, as data.

HTTP statuses follow RFC 9110 section 15, close codes RFC 6455 section 7.4 and the IANA WebSocket Close Code registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Verdict(StrEnum):
    """What a failure means for the next attempt."""

    RETRY = "retry"
    """Try again when `reconnect` says so."""
    REFRESH = "refresh"
    """Try again once with renewed credentials; a second time before `healthy_after` is FATAL."""
    FATAL = "fatal"
    """Trying again unchanged cannot help: the client fails with this error."""


RETRY, REFRESH, FATAL = Verdict.RETRY, Verdict.REFRESH, Verdict.FATAL

STATUSES: dict[int, Verdict] = {
    401: REFRESH,
    408: RETRY,
    425: RETRY,
    429: RETRY,
    501: FATAL,  # Not Implemented: no WebSocket here
    505: FATAL,  # HTTP Version Not Supported
}
"""Verdicts of single HTTP statuses; `status_verdict` has the rule for the others."""

CODES: dict[int, Verdict] = {
    1002: FATAL,  # protocol error
    1003: FATAL,  # unsupported data
    1007: FATAL,  # invalid payload data
    1009: FATAL,  # message too big
    1010: FATAL,  # mandatory extension
    4401: REFRESH,  # the custom of many servers: unauthorized
}
"""Verdicts of single close codes; every other one, 1000 and 1008 among them, is RETRY."""

LEAST_DELAYS: dict[int, float] = {1013: 1.0}
"""Seconds a client waits at least after this close code. 1013 is "Try Again Later"."""


def status_verdict(status: int) -> Verdict:
    """The verdict of an HTTP status that answered the handshake instead of 101."""
    verdict = STATUSES.get(status)
    if verdict is not None:
        return verdict
    return RETRY if 500 <= status <= 599 else FATAL


def code_verdict(code: int) -> Verdict:
    """The verdict of a close code."""
    return CODES.get(code, RETRY)


def verdict_table(entries: Mapping[str, Verdict]) -> dict[int, Verdict]:
    """Spread a table written by a person: keys are "429" or "4000-4099"; a single number beats a range.

    Raises:
        ValueError: a key is neither a number nor a rising range of numbers.
    """
    ranges: dict[int, Verdict] = {}
    singles: dict[int, Verdict] = {}
    for key, verdict in entries.items():
        first, dash, last = str(key).partition("-")
        if not (first.strip().isdecimal() and (last.strip().isdecimal() if dash else True)):
            raise ValueError(f"{key!r} is neither a number nor a range such as '4000-4099'")
        low, high = int(first), int(last) if dash else int(first)
        if not 0 <= low <= high <= 65535:
            raise ValueError(f"{key!r} is not a rising range within 0-65535")
        (ranges if dash else singles).update(dict.fromkeys(range(low, high + 1), Verdict(verdict)))
    return {**ranges, **singles}


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds from `now` (wall time) that a Retry-After header asks for: delay-seconds or an HTTP date.

    None if there is none or it makes no sense. A date in the past is 0. RFC 9110 section 10.2.3.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    import email.utils  # late: it takes as long to load as all of this package, and few servers send dates
    from datetime import UTC

    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:  # the form of asctime; every HTTP date is UTC, RFC 9110 section 5.6.7
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
