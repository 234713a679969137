"""Spans and metrics of a client's life, on a virtual clock."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from libws_core import (
    AuthenticationError,
    Client,
    ConnectError,
    Dropped,
    Gap,
    HandshakeRejected,
    LibwsError,
    OptionError,
    ProxyError,
    Request,
    Secret,
    Session,
    hookimpl,
)
from libws_core.client import Stats
from libws_core.testing import START, MemoryDialer, by_hand, greet, hang, leaks, refuse, virtual
from libws_otel import Otel
from libws_otel.attributes import of_error, of_server, of_url
from libws_otel.instruments import OVERFLOW, SERIES, Instruments, instruments_of

from .telemetry import Telemetry, seconds, told

S3CRET = "s3cr3t-value"
PHASES = ["resolve", "admit", "authenticate", "dial", "establish"]
SERVER = {"url.scheme": "ws", "network.protocol.name": "websocket", "server.address": "test", "server.port": 80}


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def client_with(*plugins: object, url: str = "ws://test/", **arguments: Any) -> Client:
    return Client(url, plugins=["-standard", *plugins], **arguments)


class Waits:
    """Reconnects after these delays, then every second; READY two seconds after the connection is open."""

    def __init__(self, *delays: float, establish: float = 0) -> None:
        self.delays = list(delays)
        self.needs = establish

    @hookimpl
    def reconnect(self) -> float:
        return self.delays.pop(0) if self.delays else 1.0

    @hookimpl
    async def establish(self) -> None:
        await asyncio.sleep(self.needs)


class Mover:
    """Moves when the test says so."""

    def __init__(self) -> None:
        self.session: Session | None = None

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.session = session

    async def move(self, **arguments: Any) -> Any:
        assert self.session is not None
        return await self.session.reopen("test", **arguments)


def links(span: ReadableSpan, *among: ReadableSpan) -> list[tuple[str, ReadableSpan]]:
    """What a span is linked to."""
    by_context = {other.context.span_id: other for other in among if other.context is not None}
    return [(str((link.attributes or {})["libws.link"]), by_context[link.context.span_id]) for link in span.links]


def parent_of(span: ReadableSpan, *among: ReadableSpan) -> ReadableSpan | None:
    parent = span.parent
    if parent is None:
        return None
    return next(other for other in among if other.context is not None and other.context.span_id == parent.span_id)


# Spans


@virtual
async def test_an_attempt_is_a_span_with_a_child_for_each_phase() -> None:
    telemetry = Telemetry()
    async with MemoryDialer(latency=0.25) as dialer, client_with(telemetry.plugin(), Waits(establish=2), dialer):
        (attempt,) = telemetry.spans("attempt")
        phases = telemetry.spans(*PHASES)
        assert sorted(span.name for span in phases) == sorted(f"libws.{phase}" for phase in PHASES)
        assert {parent_of(span, attempt) for span in phases} == {attempt}
        assert {span.name: seconds(span) for span in phases if seconds(span)} == {
            "libws.dial": 0.5,
            "libws.establish": 2.0,
        }
        assert seconds(attempt) == 2.5
        assert attempt.start_time == int(START * 1e9)
        assert (attempt.kind, phases[0].kind) == (SpanKind.CLIENT, SpanKind.INTERNAL)
        assert attempt.parent is None
        assert attempt.status.status_code is StatusCode.UNSET
        assert told(attempt) == {
            **SERVER,
            "url.full": "ws://test/",
            "libws.attempt": 1,
            "libws.generation": 1,
            "libws.attempt.why": "open",
            "libws.outcome": "ready",
        }
        assert telemetry.open == ["libws.connection"]


@virtual
async def test_a_connection_is_the_root_of_a_trace_linked_to_its_attempt() -> None:
    telemetry = Telemetry()
    async with MemoryDialer(subprotocols=["v2"]) as dialer:
        async with client_with(telemetry.plugin(), dialer, subprotocols=["v1", "v2"]):
            await asyncio.sleep(86400)
        (attempt,), (connection,) = telemetry.spans("attempt"), telemetry.spans("connection")
        assert connection.parent is None
        assert connection.context is not None
        assert attempt.context is not None
        assert connection.context.trace_id != attempt.context.trace_id
        assert links(connection, attempt) == [("attempt", attempt)]
        assert seconds(connection) == 86400
        assert connection.status.status_code is StatusCode.UNSET
        assert told(connection) == {
            **SERVER,
            "url.full": "ws://test/",
            "libws.attempt": 1,
            "libws.generation": 1,
            "libws.subprotocol": "v2",
            "libws.unconfirmed": 0,
            "libws.close.code": 1000,
        }
        assert telemetry.open == []


@virtual
async def test_a_failure_ends_its_phase_and_attempt_with_an_error() -> None:
    telemetry = Telemetry()
    dialer = MemoryDialer(refuse(503, {"Retry-After": "2"}), greet())
    async with dialer, client_with(telemetry.plugin(), Waits(2.0), dialer):
        pass
    failed, ready = telemetry.spans("attempt")
    (phase, _) = telemetry.spans("dial")
    for span in (failed, phase):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "the server refused the handshake with 503"
        (event,) = span.events
        assert event.name == "exception"
        assert dict(event.attributes or {}) == {
            "error.type": "HandshakeRejected",
            "exception.type": "HandshakeRejected",
            "exception.message": "the server refused the handshake with 503",
            "http.response.status_code": 503,
            "libws.verdict": "retry",
            "libws.retry_after": 2.0,
        }
        assert told(span)["error.type"] == "HandshakeRejected"
        assert told(span)["http.response.status_code"] == 503
    assert told(failed)["libws.outcome"] == "failed"
    assert not [span for span in telemetry.spans("resolve", "admit", "authenticate") if not span.status.is_unset]
    assert links(ready, failed) == [("attempt", failed)]
    assert told(ready)["libws.reconnect.delay"] == 2.0
    assert told(ready)["libws.attempt"] == 2
    assert ready.status.is_unset


@virtual
async def test_a_loss_ends_the_connection_with_an_error_and_the_next_attempt_is_linked_to_it() -> None:
    telemetry = Telemetry()
    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), Waits(), dialer):
        (await dialer.accept()).close(1012, "bye")
        await dialer.accept()
        await asyncio.sleep(10)
    first, second = telemetry.spans("attempt")
    lost, closed = telemetry.spans("connection")
    assert (lost.status.status_code, closed.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert told(lost)["error.type"] == "ConnectionClosed"
    assert told(lost)["libws.close.code"] == 1012
    assert links(second, first, lost) == [("attempt", first), ("connection", lost)]
    assert told(second)["libws.attempt.why"] == "reconnect"
    assert told(closed)["libws.generation"] == 2
    assert [event.name for event in closed.events] == []
    assert telemetry.total("gaps") == 1


@virtual
async def test_attempts_of_the_opening_belong_to_who_opens_and_later_ones_to_nobody() -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("test")
    async with MemoryDialer(refuse(503), greet(), by_hand()) as dialer:
        with tracer.start_as_current_span("request") as request:
            client = client_with(telemetry.plugin(), Waits(), dialer)
            await client.open()
            assert trace.get_current_span() is request
            asyncio.get_running_loop().call_later(5, (await dialer.accept()).drop)  # in this context, as sockets do
        await dialer.accept()
        await asyncio.sleep(0)
        await client.close()
    (mine,) = [span for span in telemetry.exporter.get_finished_spans() if span.name == "request"]
    first, second, third = telemetry.spans("attempt")
    assert parent_of(first, mine) is mine
    assert parent_of(second, mine) is mine
    assert third.parent is None


@virtual
async def test_no_context_is_attached_anywhere() -> None:
    """What runs between and beside sees no span of ours, and a context of its own."""
    telemetry = Telemetry()
    seen: list[Any] = []

    class Looks:
        @hookimpl
        async def resolve(self) -> None:
            seen.append(trace.get_current_span())

        @hookimpl
        async def establish(self) -> None:
            seen.append(trace.get_current_span())

        @hookimpl
        async def keep_alive(self) -> None:
            seen.append(trace.get_current_span())

    before = context.get_current()
    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), Looks(), dialer):
        await asyncio.sleep(1)
        assert context.get_current() == before
    assert len(seen) == 3
    assert {*seen} == {trace.INVALID_SPAN}


@pytest.mark.parametrize("phase", ["resolve", "admit", "authenticate", "dial", "establish"])
def test_a_client_that_is_closed_while_it_opens_leaves_no_span_open(phase: str) -> None:
    telemetry = Telemetry()

    async def stall(self: Any) -> None:
        await asyncio.sleep(5)

    @virtual
    async def main() -> None:
        stalls = type("Stalls", (), {phase: hookimpl(stall)})() if phase != "dial" else Waits()
        async with leaks(), MemoryDialer(hang() if phase == "dial" else by_hand()) as dialer:
            client = client_with(telemetry.plugin(), stalls, dialer)
            opening = asyncio.create_task(client.open())
            await asyncio.sleep(1)
            assert telemetry.open == sorted(["libws.attempt", f"libws.{phase}"])
            await client.close()
            with pytest.raises(LibwsError):
                await opening

    main()
    assert telemetry.open == []
    (attempt,) = telemetry.spans("attempt")
    assert told(attempt)["libws.outcome"] == "abandoned"
    assert attempt.status.is_unset
    assert seconds(attempt) == 1


@virtual
async def test_a_client_whose_task_is_cancelled_leaves_no_span_open() -> None:
    telemetry = Telemetry()
    async with leaks(), MemoryDialer() as dialer:

        async def use() -> None:
            async with client_with(telemetry.plugin(), dialer):
                await asyncio.sleep(3600)

        using = asyncio.create_task(use())
        await dialer.accept()
        await asyncio.sleep(1)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        assert telemetry.open == []
        assert telemetry.total("connections") == 0
        opening = asyncio.create_task(client_with(telemetry.plugin(), Waits(establish=9), dialer).open())
        await dialer.accept()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert telemetry.open == []


@virtual
async def test_an_end_by_a_fatal_error_leaves_no_span_open() -> None:
    telemetry = Telemetry()
    async with MemoryDialer(refuse(404)) as dialer:
        with pytest.raises(HandshakeRejected):
            await client_with(telemetry.plugin(), dialer).open()
    assert telemetry.open == []
    assert {dict(point)["http.response.status_code"] for point in telemetry.metric("failures")} == {404}
    assert telemetry.total("attempts") == 1


# Moves


@virtual
async def test_in_a_move_both_connections_have_their_own_time() -> None:
    telemetry, mover = Telemetry(), Mover()
    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), mover, dialer):
        await asyncio.sleep(100)
        assert await mover.move(overlap=10, settle=5) is True
        assert telemetry.total("connections") == 1
        assert telemetry.open == ["libws.connection"]
        await asyncio.sleep(200)
    first, second = telemetry.spans("attempt")
    old, new = telemetry.spans("connection")
    assert told(second)["libws.attempt.why"] == "move"
    assert (seconds(old), seconds(new)) == (115, 215)
    assert [old.status.is_unset, new.status.is_unset] == [True, True]
    assert links(new, second) == [("attempt", second)]
    assert links(second, first) == [("attempt", first)]
    assert [event.name for event in new.events] == ["libws.reopened"]
    assert telemetry.total("moves") == 1
    assert telemetry.total("attempts", libws_attempt_why="move", libws_outcome="ready") == 1
    assert telemetry.total("connections") == 0
    assert telemetry.total("failures") == 0


@virtual
async def test_a_move_that_breaks_first_ends_the_old_connection_when_it_ends() -> None:
    telemetry, mover = Telemetry(), Mover()
    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), mover, Waits(establish=3), dialer):
        await asyncio.sleep(100)
        assert await mover.move(order="break-first") is True
        await asyncio.sleep(50)
    old, new = telemetry.spans("connection")
    assert (seconds(old), seconds(new)) == (100, 50)
    assert [event.name for event in new.events] == ["libws.reopened"]


@virtual
async def test_a_new_connection_that_is_lost_before_it_carries_is_a_failed_attempt() -> None:
    telemetry, mover = Telemetry(), Mover()
    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), mover, dialer):
        await dialer.accept()
        moving = asyncio.create_task(mover.move(overlap=10))
        peer = await dialer.accept()
        await asyncio.sleep(4)
        assert telemetry.open == ["libws.connection"] * 2
        peer.drop()
        assert isinstance(await moving, LibwsError)
        await asyncio.sleep(1)
        assert telemetry.open == ["libws.connection"]
    old, new = telemetry.spans("connection")
    assert (old.status.status_code, new.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert seconds(new) == 4
    assert telemetry.total("failures", libws_phase="ready") == 1
    assert telemetry.total("attempts", libws_outcome="ready") == 2
    assert telemetry.total("connections") == 0


@virtual
async def test_the_old_connection_that_carries_again_keeps_its_span() -> None:
    telemetry, mover = Telemetry(), Mover()
    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), mover, dialer):
        await dialer.accept()
        moving = asyncio.create_task(mover.move(overlap=1, settle=30))
        peer = await dialer.accept()
        await asyncio.sleep(10)
        peer.drop()
        assert isinstance(await moving, LibwsError)
        await asyncio.sleep(10)
        assert telemetry.open == ["libws.connection"]
    old, new = telemetry.spans("connection")
    assert (seconds(old), seconds(new)) == (20, 10)
    assert new.status.status_code is StatusCode.ERROR
    assert [event.name for event in old.events] == ["libws.gap"]


# The trace goes on in the server


@virtual
async def test_the_server_gets_the_attempts_context() -> None:
    telemetry = Telemetry()
    async with MemoryDialer(refuse(503), by_hand()) as dialer:
        async with client_with(telemetry.plugin(), Waits(), dialer, headers={"X-Own": "1"}):
            peer = await dialer.accept()
            assert peer.headers["X-Own"] == "1"
        for dial, attempt in zip(dialer.dials, telemetry.spans("attempt"), strict=True):
            assert attempt.context is not None
            carried = trace.get_current_span(propagate.extract(dict(dial.request.headers))).get_span_context()
            assert (carried.trace_id, carried.span_id) == (attempt.context.trace_id, attempt.context.span_id)


@virtual
async def test_baggage_goes_with_the_opening_and_not_with_what_follows() -> None:
    telemetry = Telemetry()
    async with MemoryDialer() as dialer:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        client = client_with(telemetry.plugin(), Waits(), dialer)
        await client.open()
        peer = await dialer.accept()
        assert peer.headers["baggage"] == "tenant=acme"
        asyncio.get_running_loop().call_later(5, peer.drop)  # in this context, as sockets do
        context.detach(token)
        peer = await dialer.accept()
        assert "baggage" not in peer.headers
        assert "traceparent" in peer.headers
        await client.close()


@pytest.mark.parametrize(
    "plugin",
    [
        lambda telemetry: telemetry.plugin(propagate=False),
        lambda telemetry: Otel(),
        lambda telemetry: Otel(tracer_provider=NoOpTracerProvider()),
    ],
    ids=["turned off", "no SDK", "no-op"],
)
def test_nothing_is_added_where_there_is_nothing_to_say(plugin: Callable[[Telemetry], Otel]) -> None:
    @virtual
    async def main() -> None:
        async with MemoryDialer() as dialer, client_with(plugin(Telemetry()), dialer):
            assert [*(await dialer.accept()).headers] == ["User-Agent"]

    main()


@virtual
async def test_what_is_not_sampled_is_told_to_the_server() -> None:
    plugin = Otel(tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    async with MemoryDialer() as dialer, client_with(plugin, dialer):
        flags = (await dialer.accept()).headers["traceparent"].rpartition("-")[2]
        assert int(flags, 16) & 1 == 0  # the sampled flag, W3C Trace Context


@virtual
async def test_a_header_that_stands_there_already_stays() -> None:
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with MemoryDialer() as dialer, client_with(Telemetry().plugin(), dialer, headers={"Traceparent": theirs}):
        assert (await dialer.accept()).headers.get_all("traceparent") == [theirs]


# Metrics


@virtual
async def test_what_went_wrong_is_counted_by_phase_and_kind() -> None:
    telemetry = Telemetry()

    class Refuses:
        @hookimpl
        async def establish(self, session: Session) -> None:
            if session.request.attempt.number == 3:
                raise AuthenticationError("no", verdict="retry")

    dialer = MemoryDialer(refuse(503), refuse(503), greet(then=lambda peer: None), by_hand())
    async with dialer, client_with(telemetry.plugin(), Refuses(), Waits(0.5, 1.5, 3), dialer):
        (await dialer.accept()).drop()
        await dialer.accept()
        await asyncio.sleep(10)
    failures = {
        (known["libws.phase"], known["error.type"], known.get("http.response.status_code")): count
        for known, count in ((dict(point), count) for point, count in telemetry.metric("failures").items())
    }
    assert failures == {
        ("dial", "HandshakeRejected", 503): 2,
        ("establish", "AuthenticationError", None): 1,
        ("ready", "ConnectionClosed", None): 1,
    }
    assert telemetry.total("attempts", libws_outcome="failed") == 3
    assert telemetry.total("attempts", libws_outcome="ready") == 2
    assert telemetry.total("attempt.duration") == 5
    assert telemetry.metric("reconnect.delay") == {frozenset(SERVER.items()): (4, 6.0)}
    assert telemetry.metric("connection.uptime") == {
        frozenset(SERVER.items()): (1, 10.0),
        frozenset({**SERVER, "error.type": "ConnectionClosed"}.items()): (1, 0.0),
    }
    assert telemetry.metric("connections") == {frozenset(SERVER.items()): 0}


@virtual
async def test_messages_are_read_from_the_client_when_somebody_collects() -> None:
    telemetry = Telemetry()
    async with MemoryDialer() as dialer:
        client = client_with(telemetry.plugin(), "ping", dialer, options={"ping": {"interval": 1, "when": "always"}})
        async with client:
            peer = await dialer.accept()
            peer.latency = 0.125
            assert telemetry.total("messages.sent") == 0
            assert telemetry.metric("latency") == {}
            for _ in range(5):
                await client.send("x")
            peer.send("a")
            peer.send("b")
            await asyncio.sleep(3)
            assert telemetry.metric("messages.sent") == {frozenset(SERVER.items()): 5}
            assert telemetry.metric("messages.received") == {frozenset(SERVER.items()): 2}
            assert telemetry.metric("latency") == {frozenset(SERVER.items()): 0.25}
            await client.send("x")
        assert telemetry.metric("messages.sent") == {frozenset(SERVER.items()): 6}
        assert telemetry.metric("latency") == {}


@virtual
async def test_clients_of_one_server_are_added_up_and_a_sum_never_falls() -> None:
    telemetry = Telemetry()
    sums = []
    async with MemoryDialer() as dialer:
        clients = [client_with(telemetry.plugin(), dialer) for _ in range(3)]
        for client in clients:
            await client.open()
            await client.send("x")
            await client.send("x")
        other = client_with(telemetry.plugin(attributes={"client": "other"}), dialer)
        await other.open()
        await other.send("x")
        for client in (*clients, other):
            sums.append(telemetry.metric("messages.sent"))
            await client.close()
        sums.append(telemetry.metric("messages.sent"))
    assert sums == [{frozenset(SERVER.items()): 6, frozenset({**SERVER, "client": "other"}.items()): 1}] * 5
    assert instruments_of(telemetry.meters).observed == 0


@virtual
async def test_what_was_counted_for_one_server_stays_there_when_another_is_dialed() -> None:
    telemetry = Telemetry()

    class Fails:
        @hookimpl
        async def resolve(self, request: Request) -> Request:
            return replace(request, url=f"ws://host-{request.attempt.number}/")

    async with MemoryDialer() as dialer:
        async with client_with(telemetry.plugin(), Fails(), Waits(), dialer) as client:
            await client.send("x")
            (await dialer.accept()).drop()
            await dialer.accept()
            await asyncio.sleep(1)
            await client.send("x")
            await client.send("x")
            first, second = ({**SERVER, "server.address": f"host-{number}"} for number in (1, 2))
            sent = {frozenset(first.items()): 1, frozenset(second.items()): 2}
            assert telemetry.metric("messages.sent") == sent
        assert telemetry.metric("messages.sent") == sent


@virtual
async def test_a_client_is_not_kept_alive() -> None:
    telemetry = Telemetry()
    async with MemoryDialer() as dialer:
        client = client_with(telemetry.plugin(), dialer)
        await client.open()
        await client.send("x")
        assert telemetry.total("messages.sent") == 1
        await client.close()
        gone = weakref.ref(client)
        gc.disable()
        try:
            del client
            await asyncio.sleep(1)
            dialer.dials.clear()
            gc.collect()
            assert gone() is None
        finally:
            gc.enable()
        assert telemetry.total("messages.sent") == 1


def test_a_client_that_is_thrown_away_is_observed_no_more_and_its_counts_stay() -> None:
    telemetry = Telemetry()
    shared = instruments_of(telemetry.meters)

    class Thrown:
        latency = 0.5
        stats = Stats(3, 4, 0, 0)

    thrown: Any = Thrown()
    tally = shared.watch(thrown)
    tally.place({"server.address": "test"})
    assert telemetry.total("messages.sent") == 3
    assert telemetry.metric("latency") == {frozenset({("server.address", "test")}): 0.5}
    del thrown
    gc.collect()
    assert shared.observed == 0
    assert telemetry.total("messages.received") == 4
    assert telemetry.metric("latency") == {}


def test_the_counts_that_are_kept_are_bounded() -> None:
    telemetry = Telemetry()
    shared = instruments_of(telemetry.meters)

    class Busy:
        latency = None
        stats = Stats(0, 0, 0, 0)

    busy: Any = Busy()
    tally = shared.watch(busy)
    for number in range(SERIES + 500):
        tally.place({"server.address": f"host-{number}"})
        busy.stats = Stats(number + 1, 0, 0, 0)
    tally.place({})
    sent = telemetry.metric("messages.sent")
    assert sum(sent.values()) == SERIES + 500
    assert sent[frozenset(OVERFLOW.items())] == 500


@virtual
async def test_gaps_drops_and_unproven_messages_are_counted() -> None:
    telemetry = Telemetry()

    class Tells:
        @hookimpl
        def keep_alive(self, session: Session) -> None:
            if session.request.attempt.generation == 1:
                session.emit(Dropped(7, "too old"))
                session.emit(Dropped(2, "too old"))
                session.emit(Gap("loss", 1, 0, 1, topic="BTC"))

    async with MemoryDialer() as dialer, client_with(telemetry.plugin(), Tells(), Waits(), dialer) as client:
        await client.send("x")
        await client.send("x")
        (await dialer.accept()).drop()
        await dialer.accept()
        await asyncio.sleep(1)
    assert telemetry.metric("messages.dropped") == {frozenset({**SERVER, "libws.why": "too old"}.items()): 9}
    assert telemetry.metric("gaps") == {
        frozenset({**SERVER, "libws.why": why}.items()): 1 for why in ("loss", "reconnect")
    }
    assert telemetry.total("messages.unconfirmed") == 2
    lost, _ = telemetry.spans("connection")
    assert [event.name for event in lost.events] == ["libws.dropped", "libws.dropped", "libws.gap", "exception"]
    assert told(lost)["libws.unconfirmed"] == 2


# What is told, and what never is


@virtual
async def test_more_attributes_stand_on_every_span_and_point() -> None:
    telemetry = Telemetry()
    plugin = telemetry.plugin(attributes={"client": "prices", "tags": ["a", "b"]})
    async with MemoryDialer(refuse(503), by_hand()) as dialer, client_with(plugin, Waits(), dialer) as client:
        await client.send("x")
    assert {told(span)["client"] for span in telemetry.exporter.get_finished_spans()} == {"prices"}
    assert {told(span)["tags"] for span in telemetry.exporter.get_finished_spans()} == {("a", "b")}
    for name in ("attempts", "failures", "connections", "reconnect.delay", "messages.sent"):
        assert {dict(point)["client"] for point in telemetry.metric(name)} == {"prices"}


def everything(telemetry: Telemetry) -> str:
    spans = [span.to_json() for span in telemetry.exporter.get_finished_spans()]
    data = telemetry.reader.get_metrics_data()
    return "\n".join([*spans, data.to_json() if data is not None else ""])


@virtual
async def test_no_secret_is_told() -> None:
    telemetry = Telemetry()

    class Login:
        @hookimpl
        async def establish(self) -> None:
            try:
                raise RuntimeError(S3CRET)
            except RuntimeError as error:
                raise ConnectError("the log-in broke") from error

    async with MemoryDialer() as dialer:
        client = client_with(
            *(telemetry.plugin(), "auth", Login(), dialer),
            url=f"wss://user:{S3CRET}@test:8443/stream?token={S3CRET}",
            headers={"X-Key": S3CRET},
            options={"auth": {"bearer": S3CRET, "query": {"key": Secret(S3CRET)}}},
        )
        with pytest.raises(ConnectError):
            await client.open()
    assert "wss://test:8443/stream" in everything(telemetry)
    assert "the log-in broke" in everything(telemetry)
    assert S3CRET not in everything(telemetry)


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("ws://test/a?b", SERVER),
        ("wss://[::1]:99/", {**SERVER, "url.scheme": "wss", "server.address": "::1", "server.port": 99}),
        (
            "ws+unix:///run/x.sock:/path",
            {
                "url.scheme": "ws+unix",
                "network.protocol.name": "websocket",
                "network.transport": "unix",
                "server.address": "/run/x.sock",
            },
        ),
        ("replay:/some/file", {"url.scheme": "replay"}),
        ("tcp://host", {"url.scheme": "tcp", "server.address": "host"}),
        ("ws://host:port/", {}),
    ],
)
def test_a_server_is_told_by_the_names_of_the_conventions(url: str, known: dict[str, Any]) -> None:
    assert of_server(url) == known
    assert S3CRET not in repr(of_url(f"ws://u:{S3CRET}@test/?{S3CRET}"))


def test_an_error_is_told_by_what_it_knows() -> None:
    assert of_error(ProxyError("no", status=407)) == {
        "error.type": "ProxyError",
        "libws.verdict": "fatal",
        "http.response.status_code": 407,
    }


@virtual
async def test_a_failure_before_anything_was_resolved_is_still_told() -> None:
    telemetry = Telemetry()

    class Fails:
        @hookimpl
        async def resolve(self) -> None:
            raise ConnectError("no ticket", verdict="fatal")

    async with MemoryDialer() as dialer:
        with pytest.raises(ConnectError):
            await client_with(telemetry.plugin(), Fails(), dialer).open()
    (attempt,) = telemetry.spans("attempt")
    assert told(attempt)["server.address"] == "test"
    assert telemetry.total("failures", libws_phase="resolve") == 1


# It harms nobody


class Broken:
    """A provider whose tracer raises whatever it is asked."""

    def get_tracer(self, *arguments: Any) -> Any:
        return self

    def start_span(self, *arguments: Any, **more: Any) -> Any:
        raise RuntimeError("the exporter is broken")


@virtual
async def test_what_an_sdk_raises_is_logged_and_the_client_lives(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryDialer() as dialer, client_with(Otel(tracer_provider=Broken()), dialer) as client:
        await client.send("x")
        assert (await (await dialer.accept()).recv()).data == "x"
    assert "'otel' failed in observe" in caplog.text


@virtual
async def test_a_propagator_that_raises_does_not_fail_the_attempt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def inject(*arguments: Any) -> None:
        raise RuntimeError("the propagator is broken")

    monkeypatch.setattr(propagate, "inject", inject)
    async with MemoryDialer() as dialer, client_with(Telemetry().plugin(), dialer):
        assert "traceparent" not in (await dialer.accept()).headers
    assert "plugin 'otel' failed" in caplog.text


@virtual
async def test_each_client_of_one_object_has_its_own_life() -> None:
    telemetry = Telemetry()
    plugin = telemetry.plugin()
    async with MemoryDialer() as dialer, client_with(plugin, dialer), client_with(plugin, dialer):
        assert telemetry.open == ["libws.connection"] * 2
        assert telemetry.metric("connections") == {frozenset(SERVER.items()): 2}
    assert telemetry.open == []


LATER = """
import asyncio
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from libws_core import Client
from libws_core.testing import MemoryDialer, run

async def main():
    dialer = MemoryDialer()
    early = Client("ws://test", plugins=["-standard", "otel", dialer])
    await early.open()
    await early.send("x")
    assert "traceparent" not in (await dialer.accept()).headers
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    trace.set_tracer_provider(TracerProvider())
    late = Client("ws://test", plugins=["-standard", "otel", dialer])
    await late.open()
    assert "traceparent" in (await dialer.accept()).headers
    await late.send("x")
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    (sent,) = [metric for metric in scope.metrics if metric.name == "libws.messages.sent"]
    print(scope.scope.name, [point.value for point in sent.data.data_points])
    await early.close()
    await late.close()

run(main())
"""


def test_providers_that_are_set_later_are_used_and_observe_the_clients_before() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", LATER], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "libws [2]\n"), done.stderr
    assert done.stderr == ""


def test_clients_of_one_provider_share_its_instruments() -> None:
    telemetry, other = Telemetry(), Telemetry()
    assert instruments_of(telemetry.meters) is instruments_of(telemetry.meters)
    assert instruments_of(telemetry.meters) is not instruments_of(other.meters)
    assert isinstance(instruments_of(None), Instruments)
    assert instruments_of(None) is instruments_of(None)


def test_the_instruments_of_a_provider_go_with_it() -> None:
    telemetry = Telemetry()
    gone = weakref.ref(instruments_of(telemetry.meters))
    telemetry.meters.shutdown()
    del telemetry
    gc.collect()
    assert gone() is None


def test_nothing_but_the_api_is_imported() -> None:
    program = "import libws_otel, sys; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"propagate": "perhaps"}, "option 'propagate'"),
        ({"attributes": {"a": None}}, "option 'attributes.a'"),
        ({"attributes": {"a": [1, "b"]}}, "option 'attributes.a'"),
        ({"attributes": {"a": Secret(S3CRET)}}, "option 'attributes.a'"),
        ({"tracer_provider": 3}, r"option 'tracer_provider': expected a provider with get_tracer\(\), got int"),
        ({"meter_provider": "x"}, r"option 'meter_provider': expected a provider with get_meter\(\), got str"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        client_with("otel", MemoryDialer(), options={"otel": options})
    assert S3CRET not in str(caught.value)


def test_the_readme_tells_every_option_span_and_metric() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for option in fields(Otel):
        assert not option.init or f"| `{option.name}` |" in readme
    names: list[str] = []

    class Meter:
        def __getattr__(self, kind: str) -> Any:
            return lambda name, *_, **__: names.append(name)

        def get_meter(self, *_: Any) -> Any:
            return self

    Instruments(Meter())  # type: ignore[arg-type]
    assert len(names) == 13
    for name in (*names, *(f"libws.{phase}" for phase in PHASES), "libws.attempt", "libws.connection"):
        assert f"`{name}`" in readme
