"""Events as metrics of OpenTelemetry: names of functions and steps are labels, ids are not (specs/telemetry.md)."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from time import monotonic
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from durable.core import events
from durable.core.events import Event, Life
from durable.telemetry.deferred_span import SCOPE

NAMES_MAX = 500
"""Distinct names that one label takes; what comes after them is `other`, since step names may be made from data."""

NO_TROUBLE = (Life, events.Logged, events.Notified)
"""Events of the normal course, and what code says on purpose."""

UNDER_WAY_MAX = 10_000
"""Beginnings that are remembered until their end is told."""


type Labels = tuple[tuple[str, str | bool], ...]


class Counts:
    """Totals by labels, which the meter asks for when it collects: a count costs no call of the SDK."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._totals: dict[Labels, int] = {}

    def add(self, number: int, *labels: tuple[str, str | bool]) -> None:
        """Count something."""
        self._totals[labels] = self._totals.get(labels, 0) + number

    def __call__(self, _options: CallbackOptions) -> Iterable[Observation]:
        self._flush()
        return [Observation(total, dict(labels)) for labels, total in [*self._totals.items()]]


class Totals:
    """The counts of all observers of a meter provider, which asks the first instrument of a name alone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._counts: dict[str, Counts] = {}
        self._observers: WeakSet[Instruments] = WeakSet()

    def enter(self, observer: Instruments) -> None:
        """One more counts."""
        with self.lock:
            self._observers.add(observer)

    def of(self, name: str) -> Counts:
        """The totals of an instrument."""
        return self._counts.setdefault(name, Counts(self._flush))

    def memory(self, _options: CallbackOptions) -> Iterable[Observation]:
        """The resident bytes of the workers of all."""
        return [Observation(sum(size for each in self._known() for size in [*each.resident.values()]))]

    def _flush(self) -> None:
        for each in self._known():
            each.flush()

    def _known(self) -> list[Instruments]:
        with self.lock:
            return list(self._observers)


_totals: WeakKeyDictionary[MeterProvider, Totals] = WeakKeyDictionary()


class Instruments:
    """An observer that counts and measures with a meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(SCOPE)
        totals = _totals.setdefault(provider, Totals())
        self._queue: deque[tuple[Event, float]] = deque()
        self._lock = totals.lock

        def counts(name: str, unit: str, description: str) -> Counts:
            counted = totals.of(name)
            meter.create_observable_counter(name, [counted], unit, description)
            return counted

        self._created = counts("durable.executions.created", "{execution}", "Executions recorded")
        self._settled = counts("durable.executions.settled", "{execution}", "Executions with a result")
        self._duration = meter.create_histogram("durable.execution.duration", "s", "From creation to the result")
        self._attempts = counts("durable.attempts", "{attempt}", "Attempts, by how they ended")
        self._steps = counts("durable.steps", "{step}", "Steps recorded")
        self._step_duration = meter.create_histogram("durable.step.duration", "s", "A step's last try")
        self._retries = counts("durable.step.retries", "{retry}", "Steps to be tried again")
        self._calls = counts("durable.calls", "{call}", "Calls of user code, by their decision")
        self._prompts = counts("durable.prompts", "{prompt}", "Questions asked, answered, expired")
        self._prompt_wait = meter.create_histogram("durable.prompt.wait", "s", "From a question to its answer")
        self._enqueued = counts("durable.queue.enqueued", "{execution}", "Executions put into a queue")
        self._admitted = counts("durable.queue.admitted", "{execution}", "Executions that a queue began")
        self._queue_wait = meter.create_histogram("durable.queue.wait", "s", "From an execution's line to its place")
        self._queue_depth = meter.create_gauge("durable.queue.executions", "{execution}", "Executions of a queue")
        self._queue_age = meter.create_gauge("durable.queue.age", "s", "How long the first in line has waited")
        self._fired = counts("durable.schedule.ticks", "{tick}", "Ticks of schedules, by what they did")
        self._workers = totals.of("durable.workers")
        meter.create_observable_up_down_counter("durable.workers", [self._workers], "{process}", "Workers that live")
        self._worker_start = meter.create_histogram("durable.worker.start.duration", "s", "A worker's start")
        meter.create_observable_gauge("durable.worker.memory", [totals.memory], "By", "Resident bytes of all workers")
        self._checkpoint_size = meter.create_histogram("durable.checkpoint.size", "By", "What a checkpoint adds")
        self._checkpoint_duration = meter.create_histogram("durable.checkpoint.duration", "s", "Arrival to commit")
        self._restores = counts("durable.checkpoint.restores", "{restore}", "Sessions restored")
        self._leases_lost = counts("durable.leases.lost", "{lease}", "Attempts whose lease was gone")
        self._troubles = counts("durable.troubles", "{event}", "Events of what went wrong, by name")
        self._names: dict[str, set[str]] = defaultdict(set)
        self._functions: dict[str, tuple[str, int]] = {}
        self._begun: dict[str, float] = {}
        self.resident: dict[int, int] = {}
        """Bytes of the workers that live, by pid."""
        totals.enter(self)

    def __call__(self, event: Event) -> None:
        """Note an event; it is counted by `flush`, which the meter calls when it collects."""
        self._queue.append((event, monotonic()))

    def flush(self) -> None:
        """Count what was noted."""
        with self._lock:
            while self._queue:
                self._count(*self._queue.popleft())

    def _count(self, event: Event, at: float) -> None:
        match event:
            case events.StepBegun(step=step):
                _remember(self._begun, step, at)
            case events.StepRecorded(step=step, name=name, ok=ok):
                self._step_recorded(step, name, ok, at)
            case events.StepRetried(name=name):
                self._retries.add(1, ("step", self._name("step", name)))
            case events.ExecutionCreated(function=function, session=session):
                self._created.add(1, self._what(function, session))
            case events.ExecutionStarted(execution=execution, function=function, created_at=created_at):
                _remember(self._functions, execution, (function, created_at))
            case events.ExecutionSettled():
                self._execution_settled(event)
            case events.ExecutionWaiting(execution=execution):
                self._closed(execution, "waiting")
            case events.ExecutionHalted(execution=execution):
                self._closed(execution, "halted")
            case events.AttemptFailed(execution=execution):
                self._closed(execution, "failed")
            case events.LeaseLost(execution=execution):
                self._closed(execution, "lost")
                self._leases_lost.add(1)
            case events.ExecutionLeft(execution=execution):
                self._closed(execution, "left")
            case _:
                self._of_session(event)
        if not isinstance(event, NO_TROUBLE):
            self._troubles.add(1, ("event", type(event).__name__))

    # -- executions and steps -----------------------------------------------------------------------------------

    def _execution_settled(self, event: events.ExecutionSettled) -> None:
        function, created_at = self._functions.pop(event.execution, ("", 0))
        labels = (self._what(function, "" if function else "cell"), ("state", event.state))
        self._settled.add(1, *labels)
        self._attempts.add(1, ("outcome", "settled"))
        if created_at:
            self._duration.record(max(0, event.at - created_at) / 1000, dict(labels))

    def _closed(self, execution: str, outcome: str) -> None:
        if self._functions.pop(execution, None) is not None:
            self._attempts.add(1, ("outcome", outcome))

    def _step_recorded(self, step: str, name: str, ok: bool, at: float) -> None:
        name = self._name("step", name)
        self._steps.add(1, ("step", name), ("ok", ok))
        began = self._begun.pop(step, None)
        if began is not None:
            self._step_duration.record(at - began, {"step": name, "ok": ok})

    # -- sessions and people ------------------------------------------------------------------------------------

    def _of_session(self, event: Event) -> None:
        match event:
            case events.CallDecided(capability=capability, verdict=verdict):
                name = self._name("capability", capability)
                self._calls.add(1, ("capability", name), ("verdict", verdict))
            case events.WorkerStarted():
                self._workers.add(1)
            case events.WorkerReady(took_ms=took_ms):
                self._worker_start.record(took_ms / 1000)
            case events.WorkerEnded(pid=pid):
                self._workers.add(-1)
                self.resident.pop(pid, None)
            case events.WorkerBeat(pid=pid, memory=memory):
                self.resident[pid] = memory
            case events.CheckpointMade(size_bytes=size_bytes, took_ms=took_ms):
                self._checkpoint_size.record(size_bytes)
                self._checkpoint_duration.record(took_ms / 1000)
            case events.SessionRestored():
                self._restores.add(1)
            case events.PromptAsked():
                self._prompts.add(1, ("event", "asked"))
            case events.PromptAnswered(declined=declined, asked_at=asked_at):
                self._prompts.add(1, ("event", "declined" if declined else "answered"))
                self._prompt_wait.record(max(0, event.at - asked_at) / 1000)
            case events.PromptExpired():
                self._prompts.add(1, ("event", "expired"))
            case _:
                self._of_queue(event)

    # -- queues and schedules -------------------------------------------------------------------------------------

    def _of_queue(self, event: Event) -> None:
        match event:
            case events.ExecutionEnqueued(queue=queue):
                self._enqueued.add(1, ("queue", self._name("queue", queue)))
            case events.ExecutionAdmitted(queue=queue, waited_ms=waited_ms):
                queue = self._name("queue", queue)
                self._admitted.add(1, ("queue", queue))
                self._queue_wait.record(waited_ms / 1000, {"queue": queue})
            case events.QueueMeasured(queue=queue):
                queue = self._name("queue", queue)
                for state in ("delayed", "waiting", "running"):
                    self._queue_depth.set(getattr(event, state), {"queue": queue, "state": state})
                self._queue_age.set(event.oldest_ms / 1000, {"queue": queue})
            case events.ScheduleFired(schedule=schedule):
                self._fired.add(1, ("schedule", self._name("schedule", schedule)), ("did", "fired"))
            case events.ScheduleSkipped(schedule=schedule):
                self._fired.add(1, ("schedule", self._name("schedule", schedule)), ("did", "skipped"))

    # -- labels -------------------------------------------------------------------------------------------------

    def _what(self, function: str, session: str) -> tuple[str, str]:
        return "function", "cell" if session else self._name("function", function)

    def _name(self, label: str, name: str) -> str:
        known = self._names[label]
        if name not in known:
            if len(known) >= NAMES_MAX:
                return "other"
            known.add(name)
        return name


def _remember[T](known: dict[str, T], key: str, value: T) -> None:
    if len(known) >= UNDER_WAY_MAX:
        del known[next(iter(known))]
    known[key] = value
