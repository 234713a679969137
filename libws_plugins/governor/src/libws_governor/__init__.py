"""Let the clients of one process share a host politely."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakValueDictionary

from msgspec import Meta

from libws_core import (
    AttemptFailed,
    Closed,
    Connected,
    Disconnected,
    Event,
    LibwsError,
    Reconnected,
    Reopened,
    Request,
    Session,
    hookimpl,
)
from libws_core.verdicts import LEAST_DELAYS

from .gate import Gate, Turn

__all__ = ["Governor"]

PORTS = {"ws": 80, "wss": 443}  # RFC 6455 section 3
HOSTS = 64
"""Hosts that a client remembers, for those that are told another one at each attempt."""
TELLING = ("dial", "establish")
"""Phases whose failures say something about the host."""

_gates: WeakKeyDictionary[AbstractEventLoop, WeakValueDictionary[str, Gate]] = WeakKeyDictionary()
"""What all clients of a loop share: the gate of each host, as long as a client holds it."""


@dataclass(eq=False, kw_only=True)
class Governor:
    """Let the clients of one process share a host politely: whoever dials waits for its turn.

    Attempts at one host and port are spaced evenly, whichever client makes them. What a server asks of one client
    (Retry-After, close code 1013) all of them obey. After `breaker` failed attempts in a row nobody dials for
    `half_open` seconds: attempts fail with CircuitOpen. Then one client tries, and the others wait for what becomes of
    it. Waiting for one's turn is under no deadline.
    """

    connects: Annotated[int, Meta(ge=1)] = 20
    """Connections that may be begun within `per` seconds, evenly spaced."""
    per: Annotated[float, Meta(gt=0)] = 1.0
    """Seconds."""
    budget: Annotated[int, Meta(ge=1)] | None = None
    """Attempts that follow a failure or a loss, in any minute; more of them wait. None = any number."""
    breaker: Annotated[int, Meta(ge=1)] | None = 20
    """Failed attempts in a row, with no connection READY between, after which nobody dials for a while. Connections
    that are lost do not count, nor do failures that are our own. None = never."""
    half_open: Annotated[float, Meta(gt=0)] = 5.0
    """Seconds after which one client tries again."""
    retry_after_max: Annotated[float, Meta(ge=0)] = 600.0
    """Longest Retry-After that the other clients obey, seconds; a longer one counts as this."""

    _hosts: dict[str, Gate] = field(default_factory=dict, init=False, repr=False)
    _turns: dict[int, tuple[Gate, Turn]] = field(default_factory=dict, init=False, repr=False)
    """Attempts that were let through and connections that live, by the attempt's number."""

    @hookimpl
    async def admit(self, request: Request) -> None:
        """Wait for the host's next turn."""
        gate = self._gate(request.url)
        retry = request.attempt.failure is not None
        turn = Turn(self.connects, self.per, self.budget, self.breaker, self.half_open, retry)
        await gate.enter(turn)
        self._turns[request.attempt.number] = gate, turn

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Note that a connection is READY, also one that takes another's place and carries nothing yet."""
        self._ready(session.request.attempt.number)

    @hookimpl
    def observe(self, event: Event) -> None:
        """Learn what became of attempts and connections."""
        match event:
            case AttemptFailed(phase=phase, error=error):
                self._over(event.attempt, error, phase)
            case Disconnected(error=error):
                self._over(event.attempt, error, "ready")
            case Connected() | Reconnected() | Reopened():
                self._ready(event.attempt)
                for earlier in [number for number in self._turns if number < event.attempt]:
                    del self._turns[earlier]
            case Closed():
                for gate, turn in self._turns.values():
                    gate.leave(turn)
                self._turns.clear()
                self._hosts.clear()

    def _ready(self, number: int) -> None:
        if number in self._turns:
            self._turns[number][0].ready()

    def _over(self, number: int, error: LibwsError, phase: str) -> None:
        if number not in self._turns:
            return  # it came to no host
        gate, turn = self._turns.pop(number)
        asked = error.retry_after or 0.0
        if error.initiator != "local":
            asked = max(asked, LEAST_DELAYS.get(error.code or 0, 0.0))
        if asked:
            gate.hold(min(asked, self.retry_after_max))
        if phase in TELLING and error.fault != "local":
            gate.fail(turn)
        else:
            gate.leave(turn)

    def _gate(self, url: str) -> Gate:
        """The gate of a URL's host, which this client holds from now on."""
        host = _host(url)
        gate = self._hosts.pop(host, None)
        if gate is None:
            gates = _gates.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
            gate = gates.get(host)
            if gate is None:
                gate = gates[host] = Gate(host)
        self._hosts[host] = gate
        if len(self._hosts) > HOSTS:
            del self._hosts[next(iter(self._hosts))]
        return gate


def _host(url: str) -> str:
    """Host and port of a URL, or the path of a unix socket: what may be shown."""
    parts = urlsplit(url)
    if parts.hostname is None:
        return f"{parts.scheme}:{parts.path.partition(':')[0]}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or PORTS.get(parts.scheme, parts.scheme)}"
