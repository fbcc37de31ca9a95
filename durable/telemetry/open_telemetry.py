"""`OpenTelemetry`: an observer that sends an engine's spans and metrics where a program's own go."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Self, override

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from durable.core.errors import BadArguments
from durable.core.events import Event
from durable.telemetry.instruments import Instruments
from durable.telemetry.spans import Spans

CLOSE_S = 5.0
"""How long the end of a program waits for a collector that does not answer; what is left then is dropped."""

BATCH_MAX = 64
"""Events that are made spans and figures together. More at once would hold up the loop for milliseconds."""

BATCH_S = 0.1
"""After so many seconds they are, however few; at once where no attempt is under way."""

logger = logging.getLogger("durable.telemetry")


class OpenTelemetry:
    """An observer for `durable.open(observer=…)`: spans of executions, and metrics.

    tracer_provider, meter_provider: the SDK's, as the program has set them up. Where the program set none and gives
    none, they are made from the environment (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, …), send by OTLP over
    HTTP, are made the program's own, so that what steps trace goes with them, and end with `close`.
    BadArguments for providers that are not the SDK's.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._exporter: CountedExporter | None = None
        self._made: list[TracerProvider | SdkMeterProvider] = []
        spans = tracer_provider or _known_tracer_provider() or self._tracer_provider()
        if not isinstance(spans, TracerProvider):
            raise BadArguments(f"tracer_provider is a TracerProvider of opentelemetry-sdk, not {spans!r:.100}")
        meters = meter_provider or _known_meter_provider()
        if meters is None and (tracer_provider is None or self._made):
            meters = self._meter_provider()
        self._spans = Spans(spans)
        self._events = 0
        self._instruments = None if meters is None else Instruments(meters)

    def __call__(self, event: Event) -> None:
        self._spans(event)
        if self._instruments is not None:
            self._instruments(event)
        self._events += 1
        if self._events >= BATCH_MAX or self._spans.idle:
            self.flush()
        elif self._events == 1:
            self._flush_soon()

    def flush(self) -> None:
        """Hand what has ended to the providers, as happens BATCH_S after it at the latest."""
        self._events = 0
        self._spans.flush()
        if self._instruments is not None:
            self._instruments.flush()

    def _flush_soon(self) -> None:
        try:
            asyncio.get_running_loop().call_later(BATCH_S, self.flush)
        except RuntimeError:  # told in a thread
            self.flush()

    def traceparent(self) -> str:
        """The W3C trace context in which this code runs, or ""."""
        return self._spans.traceparent()

    @property
    def dropped(self) -> int:
        """Spans that the collector did not take, of providers made here."""
        return 0 if self._exporter is None else self._exporter.dropped

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what is left, for at most so many seconds, and end the providers made here. Idempotent."""
        self.flush()
        made, self._made = self._made, []
        ends = [threading.Thread(target=each.shutdown, name="durable-telemetry-close", daemon=True) for each in made]
        for end in ends:
            end.start()
        ends_at = time.monotonic() + timeout_s
        for end in ends:
            end.join(max(0.0, ends_at - time.monotonic()))
            if end.is_alive():
                logger.warning("the collector did not answer within %g s; what was left is dropped", timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tracer_provider(self) -> TracerProvider:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._exporter = CountedExporter(OTLPSpanExporter())
        provider.add_span_processor(_FlushFirst(self))
        provider.add_span_processor(BatchSpanProcessor(self._exporter))
        trace.set_tracer_provider(provider)
        self._made.append(provider)
        return provider

    def _meter_provider(self) -> SdkMeterProvider:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        provider = SdkMeterProvider([reader], resource=_resource(), shutdown_on_exit=False)
        metrics.set_meter_provider(provider)
        self._made.append(provider)
        return provider


class _FlushFirst(SpanProcessor):
    """Has `force_flush` of a provider send what has ended by then."""

    def __init__(self, telemetry: OpenTelemetry) -> None:
        self._telemetry = telemetry

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self._telemetry.flush()
        return True


class CountedExporter(SpanExporter):
    """An exporter whose failures are counted, and said once for each outage."""

    def __init__(self, inner: SpanExporter) -> None:
        self.dropped = 0
        self._inner = inner
        self._failing = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.dropped += len(spans)
            if not self._failing:
                logger.warning(
                    "the collector does not take spans; %d are dropped, and what follows until it does", len(spans)
                )
        self._failing = result is not SpanExportResult.SUCCESS
        return result

    @override
    def shutdown(self) -> None:
        self._inner.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _known_tracer_provider() -> TracerProvider | None:
    """The program's own, where it set one up."""
    found = trace.get_tracer_provider()
    return found if isinstance(found, TracerProvider) else None


def _known_meter_provider() -> MeterProvider | None:
    found = metrics.get_meter_provider()
    return found if isinstance(found, SdkMeterProvider) else None


class _HashedResource(Resource):
    """A resource whose hash is computed once: the exporter groups spans by it, and the SDK's writes JSON each time."""

    def __init__(self, of: Resource) -> None:
        super().__init__(of.attributes, of.schema_url)
        self._hash = super().__hash__()

    @override
    def __hash__(self) -> int:
        return self._hash


def _resource() -> Resource:
    """The environment's, `durable` where that names no service."""
    found = Resource.create()
    name = str(found.attributes.get("service.name", ""))
    if name.startswith("unknown_service"):
        found = found.merge(Resource({"service.name": "durable"}))
    return _HashedResource(found)
