"""The life of one client in spans and metrics: attempts with their phases, and connections from READY to their end.

An attempt is a span of its own trace, or of its user's while the client is being opened; each phase is a child of it.
A connection may live for days, so it is the root of another trace, which a link leads to.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from libws_core import ClientClosed, ConnectionClosed, LibwsError, Request, Session

from .attributes import of_error, of_server, of_url
from .instruments import Instruments

__all__ = ["Life", "Moment"]


@dataclass(frozen=True)
class Moment:
    """When something happened: durations are counted by the loop's time, spans are placed by wall time."""

    time: float
    wall: float

    @property
    def nanoseconds(self) -> int:
        return int(self.wall * 1e9)


@dataclass(eq=False)
class _Attempt:
    span: Span
    context: Context
    begun: float
    phase: Span | None = None
    server: dict[str, AttributeValue] | None = None
    why: str | None = None


@dataclass(eq=False)
class _Connection:
    span: Span
    server: dict[str, AttributeValue]
    begun: float


class Life:
    """Follows one client.

    Args:
        attributes: what the user wants on every span and metric.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments, attributes: dict[str, AttributeValue]) -> None:
        self.instruments = instruments
        self.server = attributes
        """What metrics say of the server that was dialed last."""
        self._tracer = tracer
        self._attributes = attributes
        self._attempts: dict[int, _Attempt] = {}
        self._connections: dict[int, _Connection] = {}
        self._opened = False
        self._delay: float | None = None
        """Seconds that the next attempt has been waited for."""
        self._earlier: dict[str, SpanContext] = {}
        """What the next attempt follows: the attempt before it, and the connection that was lost."""

    # Attempts

    def phase(self, number: int, generation: int, phase: str, now: Moment) -> None:
        """A phase of an attempt begins; the first one begins the attempt."""
        attempt = self._attempts.get(number)
        if attempt is None:
            attempt = self._attempts[number] = self._begin(number, generation, now)
        _end(attempt.phase, now)
        attempt.phase = self._tracer.start_span(
            f"libws.{phase}",
            attempt.context,
            attributes={**self._attributes, "libws.phase": phase},
            start_time=now.nanoseconds,
        )

    def _begin(self, number: int, generation: int, now: Moment) -> _Attempt:
        attributes = {**self._attributes, "libws.attempt": number, "libws.generation": generation}
        if self._delay is not None:
            attributes["libws.reconnect.delay"], self._delay = self._delay, None
        # Whoever opens the client waits for these attempts. Later ones run in a copy of that context, which is over.
        parent = Context() if self._opened else None
        span = self._tracer.start_span(
            "libws.attempt",
            parent,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=[Link(context, {"libws.link": what}) for what, context in self._earlier.items()],
            start_time=now.nanoseconds,
        )
        self._earlier = _followed("attempt", span)
        return _Attempt(span, set_span_in_context(span, parent), now.time)

    def dialing(self, request: Request) -> Context | None:
        """What is dialed is known; gives the context that the server shall continue."""
        attempt = self._attempts.get(request.attempt.number)
        if attempt is None:
            return None
        self.server = attempt.server = {**self._attributes, **of_server(request.url)}
        attempt.why = request.attempt.why
        attempt.span.set_attributes({**of_url(request.url), "libws.attempt.why": request.attempt.why})
        return attempt.context

    def failed(self, number: int, phase: str, error: LibwsError, now: Moment) -> None:
        """An attempt failed, or the new connection of a move before it carried anything."""
        attempt, connection = self._attempts.get(number), self._connections.get(number)
        server = (attempt and attempt.server) or (connection and connection.server) or self._attributes
        self.instruments.failures.add(1, {**server, "libws.phase": phase, **of_error(error)})
        if attempt is not None:
            _fail(attempt.phase, error, now)
            _fail(attempt.span, error, now)
            self._attempt_over(number, "failed", now)
        self._connection_over(number, error, now)

    def _attempt_over(self, number: int, outcome: str, now: Moment) -> None:
        attempt = self._attempts.pop(number)
        _end(attempt.phase, now)
        attempt.span.set_attribute("libws.outcome", outcome)
        _end(attempt.span, now)
        told = {**(attempt.server or self._attributes), "libws.outcome": outcome}
        if attempt.why is not None:
            told["libws.attempt.why"] = attempt.why
        self.instruments.attempts.add(1, told)
        self.instruments.attempt_duration.record(now.time - attempt.begun, told)

    # Connections

    def ready(self, number: int, generation: int, now: Moment) -> None:
        """A connection is READY, also the new one of a move that carries nothing yet. Said twice of most."""
        attempt = self._attempts.get(number)
        if attempt is None:
            return
        self._opened = True
        self._attempt_over(number, "ready", now)
        server = attempt.server or self._attributes
        span = self._tracer.start_span(
            "libws.connection",
            Context(),
            kind=SpanKind.CLIENT,
            attributes={**server, "libws.attempt": number, "libws.generation": generation},
            links=[Link(context, {"libws.link": "attempt"}) for context in _followed("attempt", attempt.span).values()],
            start_time=now.nanoseconds,
        )
        self._connections[number] = _Connection(span, server, now.time)
        self.instruments.connections.add(1, server)

    def describe(self, session: Session) -> None:
        """Say what the handshake has brought."""
        connection = self._connections.get(session.request.attempt.number)
        if connection is not None:
            connection.span.set_attributes(of_url(session.request.url))
            if session.subprotocol is not None:
                connection.span.set_attribute("libws.subprotocol", session.subprotocol)

    def lost(self, number: int, error: LibwsError, unconfirmed: int, now: Moment) -> None:
        """A READY connection was lost, or closed by us."""
        connection = self._connections.get(number)
        if connection is None:
            return
        connection.span.set_attribute("libws.unconfirmed", unconfirmed)
        if is_ours(error):
            if error.code is not None:
                connection.span.set_attribute("libws.close.code", error.code)
            self._connection_over(number, None, now)
        else:
            told = {**connection.server, "libws.phase": "ready", **of_error(error)}
            self.instruments.failures.add(1, told)
            self._earlier |= _followed("connection", connection.span)
            self._connection_over(number, error, now)

    def over(self, number: int, now: Moment) -> None:
        """A connection has ended, and nothing else tells of it: the old one of a move."""
        self._connection_over(number, None, now)

    def _connection_over(self, number: int, error: LibwsError | None, now: Moment) -> None:
        connection = self._connections.pop(number, None)
        if connection is None:
            return
        told = connection.server
        if error is not None:
            _fail(connection.span, error, now)
            told = {**told, "error.type": type(error).__name__}
        _end(connection.span, now)
        self.instruments.connections.add(-1, connection.server)
        self.instruments.uptime.record(now.time - connection.begun, told)

    def note(self, number: int, name: str, attributes: dict[str, AttributeValue], now: Moment) -> None:
        """Something happened on a connection, or on the newest one."""
        connection = self._connections.get(number)
        if connection is not None:
            connection.span.add_event(name, attributes, now.nanoseconds)

    # The client

    def retrying(self, delay: float) -> None:
        """The next attempt begins in so many seconds."""
        self._delay = delay
        self.instruments.delay.record(delay, self.server)

    def finish(self, error: LibwsError | None, now: Moment) -> None:
        """The client has ended: nothing stays open."""
        for number in [*self._attempts]:
            self._attempt_over(number, "abandoned", now)
        for number in [*self._connections]:
            self._connection_over(number, error, now)


def is_ours(error: LibwsError) -> bool:
    """A close that our own user asked for; a peer that we gave up is a loss."""
    return error.initiator == "local" and type(error) in (ConnectionClosed, ClientClosed)


def _followed(what: str, span: Span) -> dict[str, SpanContext]:
    context = span.get_span_context()
    return {what: context} if context.is_valid else {}


def _fail(span: Span | None, error: LibwsError, now: Moment) -> None:
    """Say what went wrong. Not `record_exception`, which would show causes that are none of ours."""
    if span is None:
        return
    told = of_error(error)
    more: dict[str, AttributeValue] = {"exception.type": type(error).__qualname__, "exception.message": error.text}
    if error.retry_after is not None:
        more["libws.retry_after"] = error.retry_after
    span.add_event("exception", {**told, **more}, now.nanoseconds)
    span.set_attributes(told)
    span.set_status(Status(StatusCode.ERROR, error.text))


def _end(span: Span | None, now: Moment) -> None:
    if span is not None:
        span.end(now.nanoseconds)
