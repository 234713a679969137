"""The trace goes on in a real server, over each dialer; metrics are collected by a thread while messages pass."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.trace import StatusCode

from libws_core import Client
from libws_core.testing import Server, ServerPeer, cut, leaks, refuse

from .telemetry import MeterProvider, Telemetry, told

pytestmark = pytest.mark.usefixtures("each_dialer")

QUICK = {"backoff": {"base": 0.01, "cap": 0.05}}


def client_of(server: Server, *plugins: object, **options: Any) -> Client:
    return Client(server.url, plugins=plugins, options={**QUICK, **options}, proxy=None)


async def test_the_server_goes_on_with_the_attempts_trace(dialer: Any) -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("the server")

    async def serve(peer: ServerPeer) -> None:
        with tracer.start_as_current_span("serve", extract(dict(peer.headers))):
            await peer.send(f"hello {peer.number}")
        await peer.recv()

    async with leaks(), Server(serve) as server:
        server.first(refuse(503), cut())
        async with client_of(server, telemetry.plugin()) as client:
            assert isinstance(client.plugin(dialer), dialer)
            assert (await client.recv(timeout=5)).data == "hello 3"
    rejected, broken, ready = telemetry.spans("attempt")
    (served,) = [span for span in telemetry.exporter.get_finished_spans() if span.name == "serve"]
    assert served.parent is not None
    assert ready.context is not None
    assert served.parent.span_id == ready.context.span_id
    assert served.parent.trace_id == ready.context.trace_id
    assert told(rejected)["http.response.status_code"] == 503
    assert [span.status.status_code for span in (rejected, broken, ready)] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    assert told(ready)["server.port"] == server.port
    assert told(ready)["server.address"] == "127.0.0.1"
    assert telemetry.open == []


async def test_each_attempt_has_a_header_of_its_own(dialer: Any) -> None:
    telemetry = Telemetry()
    carried: list[int] = []

    async def serve(peer: ServerPeer) -> None:
        context = trace.get_current_span(extract(dict(peer.headers))).get_span_context()
        carried.append(context.trace_id)
        await peer.send("hello")
        if peer.number < 3:
            await peer.drop(reset=True)
        else:
            await peer.recv()

    async with leaks(), Server(serve) as server, client_of(server, telemetry.plugin()) as client:
        for _ in range(3):
            await client.recv(timeout=5)
    assert carried == [span.context.trace_id for span in telemetry.spans("attempt") if span.context is not None]
    assert len({*carried}) == 3
    assert telemetry.total("failures", libws_phase="ready") == 2


class Totals(MetricExporter):
    """Keeps what was sent in all, each time that metrics are collected."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[int] = []

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **more: Any) -> MetricExportResult:
        for resource in metrics_data.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == "libws.messages.sent":
                    self.sent.append(sum(point.value for point in metric.data.data_points))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None: ...


async def test_a_thread_that_collects_sees_sums_that_only_rise(dialer: Any) -> None:
    exporter = Totals()
    telemetry = Telemetry()
    telemetry.meters = MeterProvider([PeriodicExportingMetricReader(exporter, 2)], shutdown_on_exit=False)

    async def serve(peer: ServerPeer) -> None:
        async for _ in peer:
            pass

    async with Server(serve) as server:
        for _ in range(20):
            async with client_of(server, telemetry.plugin()) as client:
                for number in range(100):
                    await client.send("x")
                    if number % 10 == 0:
                        await asyncio.sleep(0)
    await asyncio.to_thread(telemetry.meters.shutdown)
    assert exporter.sent[-1] == 2_000
    assert exporter.sent == sorted(exporter.sent)
    assert len(exporter.sent) > 1
