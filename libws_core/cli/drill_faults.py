"""What a drill does to a client, and what it expects of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..events import AttemptFailed, Disconnected, Event
from ..testing.relay import Relay

RETRY_AFTER = 2
"""Seconds that the refusal with 429 asks for."""
DRIP = 8
"""Bytes a second of the slow drip."""


class Fault(NamedTuple):
    """Something that happens between a client and its server."""

    name: str
    """For the command line and programs."""
    text: str
    """For people."""
    inflict: Callable[[Relay], object]
    """Does it."""
    shows: Callable[[Event], bool]
    """Whether this event is how the client noticed it."""
    lasts: bool = False
    """It goes on for a while and ends by itself, so that a client may just as well bear it."""


def _nothing(relay: Relay) -> None:
    """The fault is in ourselves: we stop reading."""


def _is_loss(event: Event) -> bool:
    return isinstance(event, Disconnected)


def _is_refusal(status: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, AttemptFailed) and event.error.status == status


def _limit(relay: Relay) -> None:
    relay.refuse(429, {"Retry-After": str(RETRY_AFTER)})
    relay.drop()


def _expire(relay: Relay) -> None:
    relay.refuse(401)
    relay.drop()


FAULTS = (
    Fault("reset", "the connection is reset", lambda relay: relay.drop(reset=True), _is_loss),
    Fault("silence", "nothing passes any more, the sockets stay open", Relay.silence, _is_loss),
    Fault("half-open", "the server's side is gone, the client's stays open", Relay.half_open, _is_loss),
    Fault("drip", f"what the server sends drips, {DRIP} bytes a second", lambda r: r.drip(DRIP), _is_loss, lasts=True),
    Fault("429", f"dropped, then refused with 429 and Retry-After: {RETRY_AFTER}", _limit, _is_refusal(429)),
    Fault("1012", "closed with 1012", lambda relay: relay.close(1012, "service restart"), _is_loss),
    Fault("401", "the token expires: dropped, then refused once with 401", _expire, _is_refusal(401)),
    Fault("slow-consumer", "we stop reading for a while", _nothing, _is_loss, lasts=True),
)
"""In order."""
NAMES = tuple(fault.name for fault in FAULTS)
