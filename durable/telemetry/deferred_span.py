"""Spans that cost the SDK's objects only where code uses them (specs/telemetry.md, T10).

Most spans of an engine are begun and ended by it, and nobody uses them between. Such a span is a few fields; its ids,
the sampler's decision and the `ReadableSpan` that processors take are made in a batch after its end. That costs a
quarter, since code that runs once for a step finds no cache warm. What code in a step calls on its span makes
the SDK's own, with the same ids, times and decision.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, override

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

SCOPE = "durable"
"""The instrumentation scope of all our spans and metrics."""

RANDOM_TRACE_ID_BITS = 2
"""The flag of W3C Trace Context, level 2: a child has its parent's."""

ATTRIBUTES_MAX = 16
"""More attributes than any span of ours has."""

type Attributes = dict[str, AttributeValue]

_FAILED = Status(StatusCode.ERROR)  # without the error's text, which is the code's
_UNSET = Status(StatusCode.UNSET)
_PROCESSORS_OF_ENDED = (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)
"""They look at a span when it has ended, and not when it begins."""


class Beginning(NamedTuple):
    """Place and time where a span begins, and what is chosen for it.

    Ids that are 0 and a decision that is None are chosen by the program's generator and sampler.
    """

    around: Context
    """The context that it begins in."""
    span: Span | None = None
    """Its parent, where that is not the current span of the context."""
    at_ns: int | None = None
    trace_id: int = 0
    span_id: int = 0
    sampled: SamplingResult | None = None

    def parent(self) -> Context:
        """The context whose current span is the parent."""
        return self.around if self.span is None else set_span_in_context(self.span, self.around)


PROGRAMS_CHOICE = Beginning(Context())


class _Chosen(IdGenerator, Sampler):
    """Ids and decisions as they were chosen for the next span, and the program's own where they were not."""

    def __init__(self, ids: IdGenerator, sampler: Sampler) -> None:
        self.ids = ids
        self.sampler = sampler
        self.next: ContextVar[Beginning] = ContextVar("durable_next_span", default=PROGRAMS_CHOICE)

    @override
    def generate_trace_id(self) -> int:
        return self.next.get().trace_id or self.ids.generate_trace_id()

    @override
    def generate_span_id(self) -> int:
        return self.next.get().span_id or self.ids.generate_span_id()

    @override
    def should_sample(self, *place: Any, **named: Any) -> SamplingResult:
        return self.next.get().sampled or self.sampler.should_sample(*place, **named)

    @override
    def get_description(self) -> str:
        return self.sampler.get_description()


class SpanMaker:
    """The spans of the scope `durable` of a provider, deferred where no processor can tell the difference."""

    def __init__(self, provider: TracerProvider) -> None:
        self.scope = InstrumentationScope(SCOPE, "")
        self.lock = threading.RLock()
        """Code may use the span of its step in a thread while the engine ends it."""
        self.ended: deque[DeferredSpan] = deque()
        """Those that have ended and that no processor knows of yet."""
        self._tracer = provider.get_tracer(SCOPE)
        self._chosen: _Chosen | None = None
        self._sdk: Tracer | None = None
        """The tracer, where spans may be deferred."""
        self._processors: object = None
        self._only_ended = False
        if isinstance(self._tracer, Tracer):  # it is none where OTEL_SDK_DISABLED is set
            self._chosen = _chosen_of(self._tracer)
            self._sdk = self._tracer if _has_no_limits(self._tracer) and not _counts_spans() else None

    def start(self, name: str, beginning: Beginning, attributes: Attributes, links: Sequence[Link] = ()) -> Span:
        """A span that begins there."""
        if links or self._sdk is None or not self._defers(self._sdk):
            return self.made(name, beginning, attributes, links)
        return DeferredSpan(self, name, beginning, attributes)

    def made(self, name: str, beginning: Beginning, attributes: Attributes, links: Sequence[Link] = ()) -> Span:
        """A span of the SDK."""
        parent, kind = beginning.parent(), SpanKind.INTERNAL
        if self._chosen is None:
            return self._tracer.start_span(name, parent)
        before = self._chosen.next.set(beginning)
        try:
            return self._tracer.start_span(name, parent, kind, attributes, links, beginning.at_ns)
        finally:
            self._chosen.next.reset(before)

    def decided(self, name: str, beginning: Beginning, attributes: Attributes) -> tuple[SpanContext, Beginning]:
        """The ids of a span and the sampler's decision, made as the SDK makes them."""
        chosen, parent = self._chosen, beginning.parent()
        assert chosen is not None
        above = get_current_span(parent).get_span_context()
        if above.is_valid:
            flags, trace_id = above.trace_flags & RANDOM_TRACE_ID_BITS, above.trace_id
        else:
            flags, trace_id = 0, beginning.trace_id or chosen.ids.generate_trace_id()
        sampled = chosen.sampler.should_sample(parent, trace_id, name, SpanKind.INTERNAL, attributes, ())
        if sampled.decision is Decision.RECORD_AND_SAMPLE:
            flags |= TraceFlags.SAMPLED
        span_id = beginning.span_id or chosen.ids.generate_span_id()
        context = SpanContext(trace_id, span_id, False, TraceFlags(flags), sampled.trace_state)
        return context, beginning._replace(trace_id=trace_id, span_id=span_id, sampled=sampled)

    def flush(self) -> None:
        """Hand the spans that have ended to the processors, in the order of their ends."""
        with self.lock:
            while self.ended:
                readable = self.ended.popleft().readable()
                if readable is not None and self._sdk is not None:
                    self._sdk.span_processor.on_end(readable)

    @property
    def resource(self) -> Resource | None:
        """The description of the process, as the provider has it."""
        return None if self._sdk is None else self._sdk.resource

    def _defers(self, tracer: Tracer) -> bool:
        """Whether all processors look at ended spans only; programs add processors at any time."""
        processors = getattr(tracer.span_processor, "_span_processors", None)
        if processors is not self._processors:
            self._processors = processors
            self._only_ended = processors is not None and all(_looks_at_ended(each) for each in processors)
        return self._only_ended and tracer._is_enabled()


class DeferredSpan(Span):
    """A span that is a few fields until code uses it, or until it is handed to the processors."""

    _decided: SpanContext | None = None
    _used: Span | None = None
    """The SDK's, once code used it."""
    _ended_ns = 0
    _failed = False
    _readable: ReadableSpan | None = None

    def __init__(self, maker: SpanMaker, label: str, beginning: Beginning, attributes: Attributes) -> None:
        self._maker = maker
        self._label = label
        self._beginning = beginning
        self._own_attributes = attributes

    def finish(self, attributes: Attributes, *, failed: bool) -> None:
        """End it with what came of it."""
        if attributes:
            self._own_attributes = {**self._own_attributes, **attributes}
        with self._maker.lock:
            if self._used is not None:
                finish(self._used, attributes, failed=failed)
            elif not self._ended_ns:
                self._ended_ns = time.time_ns()
                self._failed = failed
                self._maker.ended.append(self)

    def readable(self) -> ReadableSpan | None:
        """The span for the processors, of one that ended and that nobody used; None where the sampler drops it."""
        with self._maker.lock:
            context = self.get_span_context()
            sampled = self._beginning.sampled
            if self._readable is None and sampled is not None and sampled.decision is not Decision.DROP:
                self._readable = ReadableSpan(
                    self._label,
                    context,
                    self._above(),
                    self._maker.resource,
                    self._own_attributes | dict(sampled.attributes),
                    status=_FAILED if self._failed else _UNSET,
                    start_time=self._beginning.at_ns,
                    end_time=self._ended_ns,
                    instrumentation_scope=self._maker.scope,
                )
            return self._readable

    def _above(self) -> SpanContext | None:
        found = get_current_span(self._beginning.parent()).get_span_context()
        return found if found.is_valid else None

    def _in_use(self) -> Span:
        """The span of the SDK; one that takes nothing, where it has ended without, or is dropped."""
        with self._maker.lock:
            context = self.get_span_context()
            if self._used is None and self._ended_ns:
                return NonRecordingSpan(context)
            if self._used is None:
                self._used = self._maker.made(self._label, self._beginning, self._own_attributes)
            return self._used

    def __getattr__(self, name: str) -> Any:
        """Members that the SDK's spans have and the API's do not: `attributes`, `start_time`, `resource` and others."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.readable() if self._ended_ns else self._in_use(), name)

    @override
    def get_span_context(self) -> SpanContext:
        with self._maker.lock:
            if self._decided is None:
                decided = self._maker.decided(self._label, self._beginning, self._own_attributes)
                self._decided, self._beginning = decided
            return self._decided

    @override
    def is_recording(self) -> bool:
        return self._in_use().is_recording()

    @override
    def end(self, end_time: int | None = None) -> None:
        self._in_use().end(end_time)

    @override
    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._in_use().set_attributes(attributes)

    @override
    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._in_use().set_attribute(key, value)

    @override
    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._in_use().add_event(name, attributes, timestamp)

    @override
    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        self._in_use().add_link(context, attributes)

    @override
    def update_name(self, name: str) -> None:
        self._in_use().update_name(name)

    @override
    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._in_use().set_status(status, description)

    @override
    def record_exception(self, exception: BaseException, *place: Any, **named: Any) -> None:
        self._in_use().record_exception(exception, *place, **named)


def finish(span: Span, attributes: Attributes, *, failed: bool) -> None:
    """End a span of ours with what came of it."""
    if isinstance(span, DeferredSpan):
        span.finish(attributes, failed=failed)
        return
    if attributes:
        span.set_attributes(attributes)
    if failed:
        span.set_status(StatusCode.ERROR)
    span.end()


def _chosen_of(tracer: Tracer) -> _Chosen:
    """The chooser for the spans of a tracer; the observers of one provider share its tracer."""
    chosen: object = tracer.id_generator
    if not isinstance(chosen, _Chosen):
        chosen = _Chosen(tracer.id_generator, tracer.sampler)
        tracer.id_generator = chosen
        tracer.sampler = chosen
    return chosen


def _has_no_limits(tracer: Tracer) -> bool:
    """Whether no span of ours reaches the limits of the program."""
    limits = getattr(tracer, "_span_limits", None)
    count = getattr(limits, "max_span_attributes", 0)
    length = getattr(limits, "max_span_attribute_length", 0)
    return length is None and (count is None or count >= ATTRIBUTES_MAX)


def _counts_spans() -> bool:
    """Whether the SDK is to have metrics of its own, of spans that begin and end."""
    return os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true"


def _looks_at_ended(processor: SpanProcessor) -> bool:
    """Whether a processor does nothing when a span begins, or is about to end."""
    hooks = ("on_start", "_on_ending")
    nothing = [getattr(each, hook, None) for each in _PROCESSORS_OF_ENDED for hook in hooks]
    return all(getattr(type(processor), hook, None) in nothing for hook in hooks)
