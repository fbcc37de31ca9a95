"""Events as metrics of OpenTelemetry: names of functions and steps are labels, ids are not (specs/telemetry.md)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatchmethod
from time import monotonic

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from durable.core import events
from durable.core.events import Event, Life
from durable.telemetry.spans import SCOPE

NAMES_MAX = 500
"""Distinct names that one label takes; what comes after them is `other`, since step names may be made from data."""

UNDER_WAY_MAX = 10_000
"""Beginnings that are remembered until their end is told."""


class Instruments:
    """An observer that counts and measures with a meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(SCOPE)
        self._created = meter.create_counter("durable.executions.created", "{execution}", "Executions recorded")
        self._settled = meter.create_counter("durable.executions.settled", "{execution}", "Executions with a result")
        self._duration = meter.create_histogram("durable.execution.duration", "s", "From creation to the result")
        self._attempts = meter.create_counter("durable.attempts", "{attempt}", "Attempts, by how they ended")
        self._steps = meter.create_counter("durable.steps", "{step}", "Steps recorded")
        self._step_duration = meter.create_histogram("durable.step.duration", "s", "A step's last try")
        self._retries = meter.create_counter("durable.step.retries", "{retry}", "Steps to be tried again")
        self._calls = meter.create_counter("durable.calls", "{call}", "Calls of user code, by their decision")
        self._prompts = meter.create_counter("durable.prompts", "{prompt}", "Questions asked, answered, expired")
        self._prompt_wait = meter.create_histogram("durable.prompt.wait", "s", "From a question to its answer")
        self._enqueued = meter.create_counter("durable.queue.enqueued", "{execution}", "Executions put into a queue")
        self._admitted = meter.create_counter("durable.queue.admitted", "{execution}", "Executions that a queue began")
        self._queue_wait = meter.create_histogram("durable.queue.wait", "s", "From an execution's line to its place")
        self._queue_depth = meter.create_gauge("durable.queue.executions", "{execution}", "Executions of a queue")
        self._queue_age = meter.create_gauge("durable.queue.age", "s", "How long the first in line has waited")
        self._fired = meter.create_counter("durable.schedule.ticks", "{tick}", "Ticks of schedules, by what they did")
        self._workers = meter.create_up_down_counter("durable.workers", "{process}", "Workers that live")
        self._worker_start = meter.create_histogram("durable.worker.start.duration", "s", "A worker's start")
        meter.create_observable_gauge("durable.worker.memory", [self._memory], "By", "Resident bytes of all workers")
        self._checkpoint_size = meter.create_histogram("durable.checkpoint.size", "By", "What a checkpoint adds")
        self._checkpoint_duration = meter.create_histogram("durable.checkpoint.duration", "s", "Arrival to commit")
        self._restores = meter.create_counter("durable.checkpoint.restores", "{restore}", "Sessions restored")
        self._leases_lost = meter.create_counter("durable.leases.lost", "{lease}", "Attempts whose lease was gone")
        self._troubles = meter.create_counter("durable.troubles", "{event}", "Events of what went wrong, by name")
        self._names: dict[str, set[str]] = {}
        self._functions: dict[str, tuple[str, int]] = {}
        self._begun: dict[str, float] = {}
        self._resident: dict[int, int] = {}

    def __call__(self, event: Event) -> None:
        self._count(event)
        if not isinstance(event, Life | events.Logged | events.Notified):
            self._troubles.add(1, {"event": type(event).__name__})

    @singledispatchmethod
    def _count(self, event: Event) -> None:
        """Count one event; those without a method of their own are counted by name where they are troubles."""

    # -- executions ---------------------------------------------------------------------------------------------

    @_count.register
    def _(self, event: events.ExecutionCreated) -> None:
        self._created.add(1, self._what(event.function, event.session))

    @_count.register
    def _(self, event: events.ExecutionStarted) -> None:
        _remember(self._functions, event.execution, (event.function, event.created_at))

    @_count.register
    def _(self, event: events.ExecutionSettled) -> None:
        function, created_at = self._functions.pop(event.execution, ("", 0))
        labels = {**self._what(function, "" if function else "cell"), "state": event.state}
        self._settled.add(1, labels)
        self._attempts.add(1, {"outcome": "settled"})
        if created_at:
            self._duration.record(max(0, event.at - created_at) / 1000, labels)

    @_count.register
    def _(self, event: events.ExecutionWaiting) -> None:
        self._closed(event.execution, "waiting")

    @_count.register
    def _(self, event: events.ExecutionHalted) -> None:
        self._closed(event.execution, "halted")

    @_count.register
    def _(self, event: events.AttemptFailed) -> None:
        self._closed(event.execution, "failed")

    @_count.register
    def _(self, event: events.LeaseLost) -> None:
        self._closed(event.execution, "lost")
        self._leases_lost.add(1)

    @_count.register
    def _(self, event: events.ExecutionLeft) -> None:
        self._closed(event.execution, "left")

    def _closed(self, execution: str, outcome: str) -> None:
        if self._functions.pop(execution, None) is not None:
            self._attempts.add(1, {"outcome": outcome})

    # -- steps --------------------------------------------------------------------------------------------------

    @_count.register
    def _(self, event: events.StepBegun) -> None:
        _remember(self._begun, event.step, monotonic())

    @_count.register
    def _(self, event: events.StepRecorded) -> None:
        labels: dict[str, str | bool] = {"step": self._name("step", event.name), "ok": event.ok}
        self._steps.add(1, labels)
        began = self._begun.pop(event.step, None)
        if began is not None:
            self._step_duration.record(monotonic() - began, labels)

    @_count.register
    def _(self, event: events.StepRetried) -> None:
        self._retries.add(1, {"step": self._name("step", event.name)})

    # -- sessions -----------------------------------------------------------------------------------------------

    @_count.register
    def _(self, event: events.CallDecided) -> None:
        self._calls.add(1, {"capability": self._name("capability", event.capability), "verdict": event.verdict})

    @_count.register
    def _(self, _event: events.WorkerStarted) -> None:
        self._workers.add(1)

    @_count.register
    def _(self, event: events.WorkerReady) -> None:
        self._worker_start.record(event.took_ms / 1000)

    @_count.register
    def _(self, event: events.WorkerEnded) -> None:
        self._workers.add(-1)
        self._resident.pop(event.pid, None)

    @_count.register
    def _(self, event: events.WorkerBeat) -> None:
        self._resident[event.pid] = event.memory

    @_count.register
    def _(self, event: events.CheckpointMade) -> None:
        self._checkpoint_size.record(event.size_bytes)
        self._checkpoint_duration.record(event.took_ms / 1000)

    @_count.register
    def _(self, _event: events.SessionRestored) -> None:
        self._restores.add(1)

    def _memory(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(sum([*self._resident.values()]))]

    # -- queues and schedules -------------------------------------------------------------------------------------

    @_count.register
    def _(self, event: events.ExecutionEnqueued) -> None:
        self._enqueued.add(1, {"queue": self._name("queue", event.queue)})

    @_count.register
    def _(self, event: events.ExecutionAdmitted) -> None:
        labels = {"queue": self._name("queue", event.queue)}
        self._admitted.add(1, labels)
        self._queue_wait.record(event.waited_ms / 1000, labels)

    @_count.register
    def _(self, event: events.QueueMeasured) -> None:
        queue = self._name("queue", event.queue)
        for state in ("delayed", "waiting", "running"):
            self._queue_depth.set(getattr(event, state), {"queue": queue, "state": state})
        self._queue_age.set(event.oldest_ms / 1000, {"queue": queue})

    @_count.register
    def _(self, event: events.ScheduleFired) -> None:
        self._fired.add(1, {"schedule": self._name("schedule", event.schedule), "did": "fired"})

    @_count.register
    def _(self, event: events.ScheduleSkipped) -> None:
        self._fired.add(1, {"schedule": self._name("schedule", event.schedule), "did": "skipped"})

    # -- people -------------------------------------------------------------------------------------------------

    @_count.register
    def _(self, _event: events.PromptAsked) -> None:
        self._prompts.add(1, {"event": "asked"})

    @_count.register
    def _(self, event: events.PromptAnswered) -> None:
        self._prompts.add(1, {"event": "declined" if event.declined else "answered"})
        self._prompt_wait.record(max(0, event.at - event.asked_at) / 1000)

    @_count.register
    def _(self, _event: events.PromptExpired) -> None:
        self._prompts.add(1, {"event": "expired"})

    # -- labels -------------------------------------------------------------------------------------------------

    def _what(self, function: str, session: str) -> dict[str, str]:
        return {"function": "cell" if session else self._name("function", function)}

    def _name(self, label: str, name: str) -> str:
        known = self._names.setdefault(label, set())
        if name not in known and len(known) >= NAMES_MAX:
            return "other"
        known.add(name)
        return name


def _remember[T](known: dict[str, T], key: str, value: T) -> None:
    if len(known) >= UNDER_WAY_MAX:
        del known[next(iter(known))]
    known[key] = value
