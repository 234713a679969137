"""What happens to a client, as values: for `client.on(EventClass, handler)` and the hook `observe`.

Every event has `generation` (which connection of the client, from 1), `attempt` (its number, from 1), `monotonic` (the
loop's time) and `wall` (seconds since the epoch). All are frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import LibwsError

__all__ = [
    "AttemptFailed",
    "Closed",
    "Connected",
    "Connecting",
    "Disconnected",
    "Dropped",
    "Event",
    "Gap",
    "Reconnected",
    "Reopened",
    "Retrying",
]


class Event:
    """The base of all events; `client.on(Event, handler)` hears every one."""

    generation: int
    attempt: int
    monotonic: float
    wall: float


@dataclass(frozen=True, kw_only=True)
class _Stamped(Event):
    generation: int = 0
    attempt: int = 0
    monotonic: float = 0.0
    wall: float = 0.0


@dataclass(frozen=True)
class Connecting(_Stamped):
    """A phase of an attempt begins: resolve, admit, authenticate, dial or establish."""

    phase: str


@dataclass(frozen=True)
class AttemptFailed(_Stamped):
    """An attempt failed before it was READY."""

    phase: str
    error: LibwsError


@dataclass(frozen=True)
class Connected(_Stamped):
    """The client is READY for the first time."""


@dataclass(frozen=True)
class Disconnected(_Stamped):
    """A READY connection was lost, or closed by us (`error.initiator` is then "local")."""

    error: LibwsError
    uptime: float
    """Seconds that it was READY."""
    unconfirmed: int
    """Users' messages written since the last proof that the peer had read everything before; also those that an old
    connection has left since, where no `Reopened` told of them."""


@dataclass(frozen=True)
class Retrying(_Stamped):
    """The next attempt begins in `delay` seconds."""

    delay: float
    error: LibwsError


@dataclass(frozen=True)
class Reconnected(_Stamped):
    """The client is READY again after a loss."""


@dataclass(frozen=True)
class Reopened(_Stamped):
    """A move is done: the new connection carries everything."""

    overlap: float
    """Seconds that both were open, 0 if the old one was closed first."""
    unconfirmed: int = 0
    """Messages written on the old connection that the peer is not known to have read; 0 as far as is known, if it is
    not closed yet."""


@dataclass(frozen=True)
class Gap(Event):
    """Messages may be missing here: an event, and in the stream a marker for those who ask (`stream(markers=True)`)."""

    why: str
    generation: int
    """The connection after the gap."""
    since: float
    """When the gap began, wall time."""
    until: float
    """When it ended, wall time."""
    topic: str | None = None
    """What it concerns, None = everything."""
    first: Any = None
    """The first missing position, where positions are known."""
    last: Any = None
    """The last missing position, where positions are known."""
    attempt: int = field(default=0, kw_only=True)
    monotonic: float = field(default=0.0, kw_only=True)
    wall: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class Dropped(_Stamped):
    """Messages were thrown away on purpose."""

    count: int
    why: str


@dataclass(frozen=True)
class Closed(_Stamped):
    """The client has ended: None after our own close, else the error that ended it."""

    error: LibwsError | None
    unconfirmed: int = 0
    """Messages that the old connection of a move left unproven, where no other event has told of them."""
