"""Spans that become the SDK's only where code uses them are the SDK's in all that processors see (T10, T11)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from durable.core import events
from durable.telemetry import OpenTelemetry
from durable.telemetry.deferred_span import DeferredSpan
from durable.telemetry.trace_ids import attempt_span_id, trace_id_of


class Watcher(SpanProcessor):
    """A program's processor that looks at spans when they begin."""

    def on_start(self, span: Span, parent_context: current.Context | None = None) -> None:
        assert isinstance(span, Span)
        span.set_attribute("begun", True)


class EverySecond(Sampler):
    """A sampler with a state: to be asked once for a span."""

    def __init__(self) -> None:
        self.asked = 0

    def should_sample(self, *_place: Any, **_named: Any) -> SamplingResult:
        self.asked += 1
        decision = Decision.RECORD_AND_SAMPLE if self.asked % 2 else Decision.DROP
        return SamplingResult(decision, {"asked": self.asked})

    def get_description(self) -> str:
        return "EverySecond"


def run(
    provider: TracerProvider, in_step: Callable[[], None] = lambda: None, *, steps: int = 1
) -> tuple[list[ReadableSpan], OpenTelemetry]:
    """The spans of an execution with some steps, the last of which fails; `in_step` is the code of each."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = OpenTelemetry(tracer_provider=provider)

    def told() -> None:
        telemetry(events.ExecutionStarted("e", 1, "m::f", "", 1))
        for number in range(1, steps + 1):
            before = current.get_current()
            telemetry(events.StepBegun("e", f"e.{number}", "work", 1))
            in_step()
            current.attach(before)
            telemetry(events.StepRecorded("e", f"e.{number}", "work", number < steps))
        telemetry(events.ExecutionSettled("e", 1, "resolved"))

    current.attach(current.Context())
    told()
    return list(exporter.get_finished_spans()), telemetry


def shape(spans: list[ReadableSpan]) -> list[dict[str, Any]]:
    """All that is said of spans but times and ids that are random."""
    found = [json.loads(span.to_json()) for span in spans]
    for each in found:
        del each["start_time"], each["end_time"]
        each["context"].pop("span_id")
    return found


def test_a_deferred_span_is_what_the_sdk_would_have_made() -> None:
    deferred, _ = run(TracerProvider(), steps=3)
    limited, _ = run(TracerProvider(span_limits=SpanLimits(max_span_attribute_length=10_000)), steps=3)
    assert shape(deferred) == shape(limited)
    assert [span.name for span in deferred] == ["step work"] * 3 + ["execution f"]
    assert [span.status.is_ok for span in deferred] == [True, True, False, True]
    last = deferred[-1]
    assert last.context is not None
    assert (last.context.trace_id, last.context.span_id) == (trace_id_of("e"), attempt_span_id("e", 1))
    assert all(each.parent == last.context for each in deferred[:3])
    assert last.instrumentation_scope == limited[-1].instrumentation_scope
    assert all((each.start_time or 0) <= (each.end_time or 0) for each in deferred)


def test_code_that_uses_the_span_of_its_step_has_the_sdks_with_the_same_ids() -> None:
    ids = []

    def in_step() -> None:
        span = trace.get_current_span()
        assert isinstance(span, DeferredSpan)
        ids.append(span.get_span_context().span_id)
        span.set_attribute("rows", 7)
        span.add_event("read", {"of": 8})
        assert span.is_recording()
        assert span.attributes["durable.step.name"] == "work"
        assert span.get_span_context().span_id == ids[-1]

    spans, _ = run(TracerProvider(), in_step, steps=2)
    used = spans[:2]
    assert [each.context and each.context.span_id for each in used] == ids
    assert [(each.attributes or {}).get("rows") for each in used] == [7, 7]
    assert [event.name for each in used for event in each.events] == ["read", "read"]
    assert len(spans) == 3, "each once"


def test_what_code_keeps_of_a_span_that_ended_is_readable_and_takes_nothing() -> None:
    kept: list[Any] = []
    spans, _ = run(TracerProvider(), lambda: kept.append(trace.get_current_span()))
    kept[0].set_attribute("late", 1)
    assert not kept[0].is_recording()
    assert kept[0].attributes["durable.step.id"] == "e.1"
    assert kept[0].get_span_context() == spans[0].context
    assert "late" not in (spans[0].attributes or {})


def test_a_processor_that_looks_at_the_beginning_has_the_sdks_spans() -> None:
    provider = TracerProvider()
    provider.add_span_processor(Watcher())
    spans, _ = run(provider)
    assert [(span.attributes or {})["begun"] for span in spans] == [True, True]


def test_a_processor_added_later_is_seen() -> None:
    provider = TracerProvider()
    spans, _ = run(provider, lambda: provider.add_span_processor(Watcher()), steps=2)
    assert [(span.attributes or {}).get("begun") for span in spans] == [None, True, None]


def test_a_sampler_is_asked_once_for_a_span_and_what_it_drops_is_not_exported() -> None:
    sampler = EverySecond()
    spans, _ = run(TracerProvider(sampler=sampler), lambda: trace.get_current_span().set_attribute("x", 1), steps=4)
    assert sampler.asked == 5
    assert sorted(int(str((span.attributes or {})["asked"])) for span in spans) == [1, 3, 5]

    seen: list[bool] = []
    nothing, _ = run(TracerProvider(sampler=ALWAYS_OFF), lambda: seen.append(trace.get_current_span().is_recording()))
    assert (nothing, seen) == ([], [False])


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"])
def test_settings_of_the_sdk_hold(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "true")
    seen: list[object] = []
    spans, _ = run(TracerProvider(), lambda: seen.append(trace.get_current_span()))
    assert len(spans) == (0 if variable == "OTEL_SDK_DISABLED" else 2)
    assert not isinstance(seen[0], DeferredSpan)


def test_two_observers_of_one_provider_both_make_ids_of_executions() -> None:
    provider = TracerProvider()
    first, _ = run(provider)
    second, _ = run(provider)
    ids = {span.context.span_id for span in first + second if span.context and span.name == "execution f"}
    assert ids == {attempt_span_id("e", 1)}


def test_figures_are_there_when_the_meter_collects() -> None:
    reader = InMemoryMetricReader()
    telemetry = OpenTelemetry(tracer_provider=TracerProvider(), meter_provider=MeterProvider([reader]))
    telemetry(events.ExecutionStarted("e", 1, "m::f", "", 1))
    telemetry(events.StepBegun("e", "e.1", "work", 1))
    telemetry(events.StepRecorded("e", "e.1", "work", True))
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {metric.name: metric.data for r in data.resource_metrics for s in r.scope_metrics for metric in s.metrics}
    assert metrics["durable.steps"].data_points[0].value == 1  # type: ignore[union-attr]
    assert metrics["durable.step.duration"].data_points[0].count == 1  # type: ignore[union-attr]


def test_observers_of_one_meter_provider_all_count() -> None:
    """Engines of a program, at once or one after the other: the meter asks the first callback of a name alone."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    first, second = (OpenTelemetry(tracer_provider=TracerProvider(), meter_provider=provider) for _ in range(2))
    for telemetry, pid in ((first, 1), (second, 2)):
        telemetry(events.StepRecorded("e", "e.1", "work", True))
        telemetry(events.WorkerStarted("desk", pid))
        telemetry(events.WorkerBeat("desk", pid, 1000, 0.0, None))
    assert figures(reader)["durable.steps"] == [2]
    del first  # its engine is closed
    second(events.StepRecorded("e", "e.2", "work", True))
    found = figures(reader)
    assert (found["durable.steps"], found["durable.workers"], found["durable.worker.memory"]) == ([3], [2], [1000])


def figures(reader: InMemoryMetricReader) -> dict[str, list[float]]:
    told = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
    metrics = told["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    return {metric["name"]: [each.get("value") for each in metric["data"]["data_points"]] for metric in metrics}


def test_the_end_of_all_providers_has_one_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that does not answer holds up the end of the spans and of the figures."""
    answered = threading.Event()
    waits: list[float | None] = []
    join = threading.Thread.join

    def noted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "durable-telemetry-close":
            waits.append(timeout)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", noted)
    telemetry = OpenTelemetry(tracer_provider=TracerProvider(), meter_provider=MeterProvider())
    for _ in range(2):
        provider = TracerProvider()
        monkeypatch.setattr(provider, "shutdown", answered.wait)
        telemetry._made.append(provider)
    telemetry.close(0.02)
    answered.set()
    assert waits == [pytest.approx(0.02, abs=0.02), 0]
