"""Trace and measure a client with OpenTelemetry."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from opentelemetry import propagate as propagators
from opentelemetry.trace import get_tracer_provider
from opentelemetry.util.types import AttributeValue

from libws_core import (
    AttemptFailed,
    Client,
    Closed,
    Connected,
    Connecting,
    Disconnected,
    Dropped,
    Event,
    Gap,
    LibwsError,
    Reconnected,
    Reopened,
    Request,
    Retrying,
    Session,
    __version__,
    clock,
    hookimpl,
)

from .attributes import checked
from .instruments import Tally, instruments_of
from .life import Life, Moment

__all__ = ["Otel"]

logger = logging.getLogger("libws")

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class Otel:
    """Trace and measure a client with OpenTelemetry: spans of attempts, phases and connections, and metrics.

    An attempt's trace goes on in the server, by the header that the application's propagator writes (traceparent).
    Without an SDK it costs next to nothing, and nothing that it does can fail the client.
    """

    propagate: bool = True
    """Send the trace's context in the handshake's headers, as the application's propagator writes it."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """More attributes for each span and metric, such as {"client": "prices"} where there are several clients."""
    tracer_provider: Any = None
    """An OpenTelemetry TracerProvider; None = the one that the application has set."""
    meter_provider: Any = None
    """An OpenTelemetry MeterProvider; None = the one that the application has set."""

    _told: dict[str, AttributeValue] = field(default_factory=dict, init=False, repr=False)
    _client: weakref.ref[Client] | None = field(default=None, init=False, repr=False)
    _life: Life | None = field(default=None, init=False, repr=False)
    _tally: Tally | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for option, method in (("tracer_provider", "get_tracer"), ("meter_provider", "get_meter")):
            provider = getattr(self, option)
            if provider is not None and not callable(getattr(provider, method, None)):
                raise ValueError(
                    f"option {option!r}: expected a provider with {method}(), got {type(provider).__name__}"
                )
        self._told = checked(self.attributes)

    @hookimpl
    def deliver(self, client: Client) -> None:
        """Know the client, whose counts are read when somebody collects; no stage."""
        self._client = weakref.ref(client)

    @hookimpl(trylast=True)
    def authenticate(self, request: Request) -> Request | None:
        """Add the headers by which the server goes on with the attempt's trace; one that stands there stays."""
        return _harmless(self._authenticate, request)

    @hookimpl(tryfirst=True)
    def adapt_error(self, error: LibwsError, request: Request) -> None:
        """Learn what was dialed, if it came to that; no opinion."""
        _harmless(self._dialing, request)

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Follow a connection to its end, also one that no event tells of: the old one of a move."""
        _harmless(self._follow, session)

    @hookimpl
    def observe(self, event: Event) -> None:
        """Follow attempts and connections."""
        life = self._followed()
        now = Moment(event.monotonic, event.wall)
        number, generation = event.attempt, event.generation
        match event:
            case Connecting(phase=phase):
                life.phase(number, generation, phase, now)
            case AttemptFailed(phase=phase, error=error):
                life.failed(number, phase, error, now)
            case Connected() | Reconnected():
                life.ready(number, generation, now)
            case Disconnected(error=error, unconfirmed=unconfirmed):
                life.lost(number, error, unconfirmed, now)
                life.instruments.unconfirmed.add(unconfirmed, life.server)
            case Retrying(delay=delay):
                life.retrying(delay)
            case Reopened(overlap=overlap, unconfirmed=unconfirmed):
                life.ready(number, generation, now)
                life.note(number, "libws.reopened", {"libws.overlap": overlap}, now)
                life.instruments.moves.add(1, life.server)
                life.instruments.unconfirmed.add(unconfirmed, life.server)
            case Gap(why=why):
                life.note(number, "libws.gap", {"libws.why": why}, now)
                life.instruments.gaps.add(1, {**life.server, "libws.why": why})
            case Dropped(count=count, why=why):
                life.note(number, "libws.dropped", {"libws.count": count, "libws.why": why}, now)
                life.instruments.dropped.add(count, {**life.server, "libws.why": why})
            case Closed(error=error, unconfirmed=unconfirmed):
                life.finish(error, now)
                life.instruments.unconfirmed.add(unconfirmed, life.server)
                if self._tally is not None:
                    life.instruments.forget(self._tally)

    def _followed(self) -> Life:
        """Made with the first attempt, since applications set their providers after they have made their clients."""
        if self._life is None:
            provider = self.tracer_provider or get_tracer_provider()
            instruments = instruments_of(self.meter_provider)
            self._life = Life(provider.get_tracer("libws", __version__), instruments, self._told)
            client = self._client() if self._client is not None else None
            if client is not None:
                self._tally = instruments.watch(client)
        return self._life

    def _dialing(self, request: Request) -> Any:
        life = self._followed()
        context = life.dialing(request)
        if self._tally is not None and context is not None:
            self._tally.place(life.server)
        return context

    def _authenticate(self, request: Request) -> Request | None:
        context = self._dialing(request)
        if not self.propagate or context is None:
            return None
        carrier: dict[str, str] = {}
        propagators.inject(carrier, context)
        added = {name: value for name, value in carrier.items() if name not in request.headers}
        return replace(request, headers=request.headers | added) if added else None

    def _follow(self, session: Session) -> None:
        attempt, life = session.request.attempt, self._followed()
        life.ready(attempt.number, attempt.generation, _now())
        life.describe(session)
        soon = asyncio.get_running_loop().call_soon  # behind Disconnected, which tells more
        session.on_end(lambda _: soon(life.over, attempt.number, _now()))


def _now() -> Moment:
    return Moment(asyncio.get_running_loop().time(), clock.wall())


def _harmless(function: Callable[..., T], *arguments: Any) -> T | None:
    """Call what reports to OpenTelemetry. Providers and propagators are the application's: none may fail a client."""
    try:
        return function(*arguments)
    except Exception:
        logger.exception("plugin 'otel' failed; the client goes on without it")
        return None
