"""Events as spans of OpenTelemetry: one for each attempt, and for what is done in it (specs/telemetry.md, T1-T9)."""

from __future__ import annotations

import time

from opentelemetry import context as current
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from durable.core import events
from durable.core.events import Event
from durable.telemetry.deferred_span import Attributes, Beginning, SpanMaker, finish
from durable.telemetry.trace_ids import TraceParent, attempt_span_id, read_traceparent, trace_id_of

ATTEMPTS_MAX = 10_000
"""Attempts that are told of and have not ended: more than an engine runs at once, so that nothing grows for ever."""


class _Attempt:
    """The span of an attempt, and those of its steps that have not ended, by their ids."""

    __slots__ = ("span", "steps")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.steps: dict[str, Span] = {}


class Spans:
    """An observer that makes spans with a tracer provider of the SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        self._maker = SpanMaker(provider)
        self._attempts: dict[str, _Attempt] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, events.StepBegun):  # the two that are told for every step come first
            self._step_begun(event)
        elif isinstance(event, events.StepRecorded):
            self._step_ended(event.execution, event.step, failed=not event.ok)
        else:
            self._told(event)

    def _told(self, event: Event) -> None:
        match event:
            case events.StepRetried(execution, step, _, retry):
                self._step_ended(execution, step, failed=True, more={"durable.retry": retry})
            case events.ExecutionStarted():
                self._started(event)
            case events.ExecutionWaiting(execution, _, waits):
                self._ended(execution, "waiting", more={"durable.waits_for": tuple(waits)})
            case events.ExecutionSettled(execution, _, state):
                self._ended(execution, "settled", failed=state != "resolved", more={"durable.state": state})
            case events.ExecutionHalted(execution):
                self._ended(execution, "halted", failed=True)
            case events.AttemptFailed(execution):
                self._ended(execution, "failed", failed=True)
            case events.LeaseLost(execution):
                self._ended(execution, "lost", failed=True)
            case events.ExecutionLeft(execution):
                self._ended(execution, "left")
            case _:
                self._done(event)

    def traceparent(self) -> str:
        """The context of the span in which this code runs, whoever made it."""
        found = get_current_span().get_span_context()
        if not found.is_valid:
            return ""
        return str(TraceParent(found.trace_id, found.span_id, found.trace_flags.sampled))

    def flush(self) -> None:
        """Hand the spans that have ended to the processors of the provider."""
        self._maker.flush()

    @property
    def idle(self) -> bool:
        """Whether no attempt is under way."""
        return not self._attempts

    # -- attempts and steps -------------------------------------------------------------------------------------

    def _started(self, event: events.ExecutionStarted) -> None:
        trace_id = trace_id_of(event.execution)
        attributes: Attributes = {"durable.execution.id": event.execution, "durable.attempt": event.attempt}
        attributes["durable.replayed"] = event.attempt > 1
        name = f"execution {event.function.rpartition('::')[2]}"
        if event.session:
            name = f"{'actor turn' if event.function else 'cell'} {event.session}"
            attributes["durable.actor.name" if event.function else "durable.session.name"] = event.session
        if event.function:
            attributes["durable.function"] = event.function
        if event.tool:
            attributes |= _execute_tool(event)
        links = []
        if event.attempt > 1:
            before = TraceParent(trace_id, attempt_span_id(event.execution, event.attempt - 1), True)
            links.append(Link(_span_context(before), {"durable.link": "attempt before"}))
        parent = None
        caller = read_traceparent(event.traceparent)
        if caller is not None and caller.trace_id == trace_id:
            parent = _remote(caller)
        elif caller is not None:
            links.append(Link(_span_context(caller), {"durable.link": "caller"}))
        span_id = attempt_span_id(event.execution, event.attempt)
        beginning = Beginning(parent or Context(), None, time.time_ns(), trace_id, span_id)
        span = self._maker.start(name, beginning, attributes, links)
        if len(self._attempts) >= ATTEMPTS_MAX:
            self._ended(next(iter(self._attempts)), "lost")
        self._attempts[event.execution] = _Attempt(span)
        current.attach(set_span_in_context(span))  # the context is the attempt's own: it ends with it

    def _step_begun(self, event: events.StepBegun) -> None:
        attempt = self._attempts.get(event.execution)
        if attempt is None:
            return
        around = attempt.steps.get(event.step.rpartition(".")[0], attempt.span)
        attributes: Attributes = {
            "durable.execution.id": event.execution,
            "durable.step.id": event.step,
            "durable.step.name": event.name,
            "durable.attempt": event.attempt,
            "durable.replayed": False,
        }
        beginning = Beginning(current.get_current(), around, time.time_ns())
        span = self._maker.start(f"step {event.name}", beginning, attributes)
        attempt.steps[event.step] = span
        current.attach(set_span_in_context(span))

    def _step_ended(self, execution: str, step: str, *, failed: bool, more: Attributes | None = None) -> None:
        attempt = self._attempts.get(execution)
        span = attempt.steps.pop(step, None) if attempt is not None else None
        if span is not None:
            finish(span, more or {}, failed=failed)

    def _ended(self, execution: str, how: str, *, failed: bool = False, more: Attributes | None = None) -> None:
        attempt = self._attempts.pop(execution, None)
        if attempt is None:
            return
        for span in reversed(attempt.steps.values()):  # a nested function that waits; a step whose engine is closed
            finish(span, {"durable.outcome": how}, failed=False)
        finish(attempt.span, {"durable.outcome": how, **(more or {})}, failed=failed)

    # -- what is told when it is over ---------------------------------------------------------------------------

    def _done(self, event: Event) -> None:
        match event:
            case events.CallPerformed(execution, session, call, capability, ok, began_at, traceparent):
                attributes: Attributes = {"durable.session.name": session, "durable.call.id": call}
                began_ns = began_at * 1_000_000
                self._span(f"call {capability}", execution, attributes, began_ns, traceparent, failed=not ok)
            case events.PromptAnswered(execution, prompt, declined, asked_at, traceparent):
                attributes = {"durable.prompt.id": prompt, "durable.prompt.declined": declined}
                self._span("prompt", execution, attributes, asked_at * 1_000_000, traceparent)
            case events.CheckpointMade(session, execution, checkpoint, size_bytes, took_ms, final):
                attributes = {
                    "durable.session.name": session,
                    "durable.checkpoint.id": checkpoint,
                    "durable.checkpoint.bytes": size_bytes,
                    "durable.checkpoint.final": final,
                }
                self._span("checkpoint", execution, attributes, _before(took_ms))
            case events.SessionRestored(session, checkpoint, restored, lost, took_ms=took_ms):
                attributes = {
                    "durable.session.name": session,
                    "durable.checkpoint.id": checkpoint,
                    "durable.restored": restored,
                    "durable.lost": len(lost),
                }
                self._span("restore", "", attributes, _before(took_ms))
            case events.WorkerReady(session, pid, took_ms):
                attributes = {"durable.session.name": session, "process.pid": pid}
                self._span("worker start", "", attributes, _before(took_ms))

    def _span(
        self,
        name: str,
        execution: str,
        attributes: Attributes,
        began_ns: int,
        traceparent: str = "",
        *,
        failed: bool = False,
    ) -> None:
        """A span of what is over: below its cause, else below the attempt under way, else below the current span."""
        cause, attempt = read_traceparent(traceparent), self._attempts.get(execution)
        parent = _remote(cause) if cause is not None else None
        if parent is None:
            parent = set_span_in_context(attempt.span) if attempt is not None else None
        if execution:
            attributes = {"durable.execution.id": execution, **attributes}
        elif parent is None and get_current_span().get_span_context().is_valid:
            parent = current.get_current()
        beginning = Beginning(parent or Context(), None, began_ns, trace_id_of(execution) if execution else 0)
        finish(self._maker.start(name, beginning, attributes), {}, failed=failed)


def _execute_tool(event: events.ExecutionStarted) -> Attributes:
    """The attributes of a tool's run, by the GenAI conventions of OpenTelemetry."""
    found: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": event.tool,
        "gen_ai.tool.type": "function",
    }
    return found | ({"gen_ai.tool.call.id": event.tool_call} if event.tool_call else {})


def _before(took_ms: float) -> int:
    return time.time_ns() - int(took_ms * 1_000_000)


def _span_context(found: TraceParent) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if found.sampled else TraceFlags.DEFAULT)
    return SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=flags)


def _remote(found: TraceParent) -> Context:
    return set_span_in_context(NonRecordingSpan(_span_context(found)), Context())
