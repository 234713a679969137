"""What may go wrong in a simulation, and how it is drawn."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum

from .. import clock

__all__ = ["ATTEMPT", "CONNECTION", "Fault", "Faults"]


class Fault(StrEnum):
    """One kind of fault. Those before `RESET` meet an attempt, the others an open connection."""

    RESOLVE_FAILS = "resolve fails"
    """`resolve` raises a NameResolutionError."""
    RESOLVE_HANGS = "resolve hangs"
    """`resolve` never ends by itself."""
    RESOLVE_SLOW = "resolve slow"
    """`resolve` takes seconds."""
    AUTHENTICATE_FAILS = "authenticate fails"
    """`authenticate` raises an AuthenticationError that may be retried, as when a service for tokens is down."""
    AUTHENTICATE_HANGS = "authenticate hangs"
    """`authenticate` never ends by itself."""
    AUTHENTICATE_SLOW = "authenticate slow"
    """`authenticate` takes seconds."""
    DIAL_REFUSED = "dial refused"
    """Nobody listens."""
    DIAL_CUT = "dial cut"
    """The server ends the connection in the place of an answer."""
    DIAL_REJECTED = "dial rejected"
    """The server answers with one of `Faults.statuses`; some of 429 and 503 with a Retry-After, in either form."""
    DIAL_HANGS = "dial hangs"
    """The handshake is never answered."""
    DIAL_SLOW = "dial slow"
    """The handshake takes seconds."""
    DIAL_LATE = "dial late"
    """The handshake is never answered, but reaches the server, which has a connection that the client gave up."""
    DIAL_TWICE = "dial twice"
    """The server sees two connections for this one dial; one of them is dropped soon."""
    ESTABLISH_FAILS = "establish fails"
    """`establish` raises a ConnectError."""
    ESTABLISH_HANGS = "establish hangs"
    """`establish` waits for a message that never comes."""
    ESTABLISH_SLOW = "establish slow"
    """`establish` takes seconds."""

    RESET = "reset"
    """A TCP reset: what is on the way to the client is lost."""
    FIN = "fin"
    """The server ends the connection in order, without a close frame."""
    CLOSE = "close"
    """The server closes with one of `Faults.codes`."""
    SILENT = "silent"
    """The server answers no ping and no close any more; it goes on reading and sending."""
    SEVERED = "severed"
    """Half-open: nothing passes in either direction any more, and neither end is told."""
    STALLED = "stalled"
    """The server stops reading for some seconds."""
    DRIP = "drip"
    """For some seconds messages come through one by one, with long pauses between."""
    RESTART = "restart"
    """The server goes down: every connection ends, and for some seconds nobody listens."""


ATTEMPT = tuple(Fault)[: tuple(Fault).index(Fault.RESET)]
"""The kinds that meet an attempt."""
CONNECTION = tuple(Fault)[len(ATTEMPT) :]
"""The kinds that meet an open connection."""

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Which faults a simulation draws from, how many and how long. Spans are the least and the most, in seconds."""

    kinds: Collection[Fault | str] = tuple(Fault)
    """The kinds that may happen; `Faults(kinds=["reset", "close"])`. Each is as likely as the others."""
    attempt: float = 0.4
    """Chance that an attempt meets a fault."""
    connection: float = 0.9
    """Chance that an open connection meets a fault."""
    lifetime: Span = (0.0, 15.0)
    """How long a connection lives until its fault; short lives are more likely than long ones."""
    lasting: Span = (0.1, 8.0)
    """How long a fault lasts that passes: slowness, a stall, an outage."""
    reader: float = 0.02
    """Chance that the reader of `Simulation.read` is blocked after a message, for as long as a passing fault."""
    latency: Span = (0.001, 0.1)
    """What a message takes, either way, drawn anew for each; messages stay in order."""
    statuses: Collection[int] = (408, 425, 429, 500, 502, 503, 504)
    """HTTP statuses that reject a handshake."""
    codes: Collection[int] = (1000, 1001, 1005, 1008, 1011, 1012, 1013, 4000)
    """Close codes; 1005 closes with an empty frame."""
    retry_after: Span = (0.0, 10.0)
    """What a Retry-After asks for; in whole seconds, as the header has them."""

    def __post_init__(self) -> None:
        kinds = {Fault(kind) for kind in self.kinds}  # raises for what is no kind
        object.__setattr__(self, "kinds", tuple(kind for kind in Fault if kind in kinds))

    def for_attempt(self, chance: random.Random) -> Fault | None:
        """Draw what an attempt meets."""
        return self._draw(chance, self.attempt, ATTEMPT)

    def for_connection(self, chance: random.Random) -> tuple[Fault, float] | None:
        """Draw what an open connection meets, and after how many seconds."""
        fault = self._draw(chance, self.connection, CONNECTION)
        if fault is None:
            return None
        low, high = self.lifetime
        return fault, low + (high - low) * chance.random() ** 2

    def answer(self, chance: random.Random) -> tuple[int, dict[str, str], float]:
        """Draw the status that rejects a handshake, its headers, and the seconds that these ask us to stay away."""
        status = chance.choice(tuple(self.statuses))
        if status not in (429, 503) or chance.random() < 0.5:  # RFC 6585 section 4, RFC 9110 section 15.6.4
            return status, {}, 0.0
        seconds = round(chance.uniform(*self.retry_after))
        if chance.random() < 0.5:
            return status, {"Retry-After": str(seconds)}, float(seconds)
        now = clock.wall()
        moment = int(now) + seconds
        return status, {"Retry-After": formatdate(moment, usegmt=True)}, max(0.0, moment - now)

    def _draw(self, chance: random.Random, likely: float, kinds: tuple[Fault, ...]) -> Fault | None:
        if chance.random() >= likely:
            return None
        possible = [kind for kind in kinds if kind in self.kinds]
        return chance.choice(possible) if possible else None
