"""What a client has reported: spans and metrics, kept in memory by the SDK of OpenTelemetry."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libws_otel import Otel


class OpenSpans(SimpleSpanProcessor):
    """Counts the spans that were begun and not ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        super().__init__(exporter)
        self.open: dict[int, str] = {}

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        assert not self.open.get(span.context.span_id)
        self.open[span.context.span_id] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        del self.open[span.context.span_id]
        super().on_end(span)


class Telemetry:
    """Providers for one test."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.processor = OpenSpans(self.exporter)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(self.processor)
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def plugin(self, **options: Any) -> Otel:
        return Otel(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def open(self) -> list[str]:
        """Spans that are open now."""
        return sorted(self.processor.open.values())

    def spans(self, *names: str) -> list[ReadableSpan]:
        """The ended spans of these names, in the order of their beginning."""
        found = [span for span in self.exporter.get_finished_spans() if span.name.removeprefix("libws.") in names]
        return sorted(found, key=lambda span: (span.start_time, (span.attributes or {}).get("libws.attempt", 0)))

    def metric(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """Each point of a metric by its attributes: a number, or a histogram's count and sum."""
        data = self.reader.get_metrics_data()
        points: dict[frozenset[tuple[str, Any]], Any] = {}
        for resource in data.resource_metrics if data is not None else ():
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name == f"libws.{name}":
                    for point in metric.data.data_points:
                        told = frozenset((point.attributes or {}).items())
                        points[told] = point.value if hasattr(point, "value") else (point.count, point.sum)
        return points

    def total(self, name: str, **attributes: Any) -> Any:
        """The sum over a metric's points that have these attributes, `_` for a dot; of a histogram the count."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        found = [value for told, value in self.metric(name).items() if wanted.items() <= dict(told).items()]
        return sum(value[0] if isinstance(value, tuple) else value for value in found)


def told(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


def seconds(span: ReadableSpan) -> float:
    """How long it lasted, to the millisecond."""
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e9, 3)
