"""The engine's typed events: a closed, public set. Logs, spans and metrics are observers of them (specs/telemetry.md).

An event has ids, times and counts. It has no values of user code, no questions and no answers; what is said on purpose
(`Logged`, `Notified`) and the texts of errors are the exceptions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from durable.core.clock import now_ms

logger = logging.getLogger("durable")
function_logger = logging.getLogger("durable.function")


class Event(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Something that happened in an engine. Subclasses form a closed set, all in this module.

    They are structs of msgspec and no dataclasses: forty dataclasses take 25 ms of each start.
    """

    at: int = msgspec.field(default_factory=now_ms)
    """When it was told: milliseconds since the Unix epoch, by this machine's clock. Not compared, not in its repr."""

    def details(self) -> dict[str, Any]:
        """Its fields but `at`, by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "at"}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event) or type(other) is not type(self):
            return NotImplemented
        return self.details() == other.details()

    def __hash__(self) -> int:
        return hash((type(self), *self.details().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.details().items())})"


class Life(Event, frozen=True):
    """An event of the normal course. Nobody has to look at it: it is told only where an observer is there for it."""


# -- the life of an execution ---------------------------------------------------------------------------------------


class ExecutionCreated(Life, frozen=True):
    """A new execution was recorded: of a function, or a cell of `session` (else "")."""

    execution: str
    function: str
    session: str = ""


class ExecutionStarted(Life, frozen=True):
    """An attempt at an execution begins in this engine. Told in the attempt's context, which its work inherits.

    `attempt` counts the leases of the execution from 1: more than 1 after a wait, a failure, or the death of an engine.
    A cell has a `session` and no `function`, a turn of an actor both, a function no session. `traceparent`: the W3C
    trace context of whoever began the execution, or "". `tool`, `tool_call`: of a cell that a tool of an agent runs.
    """

    execution: str
    attempt: int
    function: str
    session: str = ""
    created_at: int = 0
    traceparent: str = ""
    tool: str = ""
    tool_call: str = ""


class ExecutionWaiting(Life, frozen=True):
    """An attempt ended: the execution waits for these promises and holds nothing meanwhile."""

    execution: str
    attempt: int
    waits: tuple[str, ...]


class ExecutionSettled(Life, frozen=True):
    """An attempt ended with the execution's result. `state` is the promise's, as it is recorded."""

    execution: str
    attempt: int
    state: str


class ExecutionLeft(Life, frozen=True):
    """An attempt ended without any result of it, since the engine is closed: another one goes on."""

    execution: str
    attempt: int


class ExecutionResumed(Life, frozen=True):
    """Somebody resumed an execution that was halted or interrupted; told by the engine that was asked to."""

    execution: str


class LeaseLost(Life, frozen=True):
    """An attempt ended because its lease is gone: the execution is another engine's by now, or somebody settled it."""

    execution: str
    attempt: int


class StepBegun(Life, frozen=True):
    """A step is run: it had no record. Told in the step's own context. `attempt` counts its tries in this pass from 1.

    `step` is the id in the record, `<execution>.<k>`; `nested`: it is a durable function with steps of its own.
    """

    execution: str
    step: str
    name: str
    attempt: int = 1
    nested: bool = False


class StepRecorded(Life, frozen=True):
    """The result of a step, or its error, is recorded; no replay tells it again."""

    execution: str
    step: str
    name: str
    ok: bool


class StepRetried(Life, frozen=True):
    """A step raised and is to be tried again: the `retry`-th time, after `delay_ms`."""

    execution: str
    step: str
    name: str
    retry: int
    delay_ms: int


# -- queues and schedules ---------------------------------------------------------------------------------------------


class ExecutionEnqueued(Life, frozen=True):
    """An execution was put into a queue. `state`: delayed, waiting, or admitted, where it begins at once. Told by the
    process that recorded it, as the others of queues and schedules are."""

    execution: str
    queue: str
    state: str


class ExecutionAdmitted(Life, frozen=True):
    """A queue let an execution begin, which had stood in its line for `waited_ms`."""

    execution: str
    queue: str
    waited_ms: int


class QueueChanged(Life, frozen=True):
    """A queue was made, or has other limits, or was paused, resumed or drained. `state`: open, paused, draining."""

    queue: str
    state: str


class QueueMeasured(Life, frozen=True):
    """A look of an engine at a queue, every 15 s: how many of its executions are in which state, and for how long the
    first in its lines has waited (0 where none does)."""

    queue: str
    state: str
    delayed: int
    waiting: int
    running: int
    oldest_ms: int


class ScheduleFired(Life, frozen=True):
    """A tick of a schedule recorded an execution. `tick`: the time that it is for, in ms since the Unix epoch."""

    schedule: str
    execution: str
    tick: int


class ScheduleSkipped(Life, frozen=True):
    """A tick of a schedule recorded nothing, since an execution of the schedule went on (overlap="skip")."""

    schedule: str
    tick: int


# -- code in sessions -------------------------------------------------------------------------------------------------


class CallDecided(Life, frozen=True):
    """A call of user code was allowed, or denied, and is recorded with that."""

    execution: str
    session: str
    call: str
    capability: str
    verdict: str


class CallPerformed(Life, frozen=True):
    """A call of user code was performed and its answer recorded. `began_at`: ms since the Unix epoch."""

    execution: str
    session: str
    call: str
    capability: str
    ok: bool
    began_at: int
    traceparent: str = ""


class CheckpointMade(Life, frozen=True):
    """A checkpoint is durable. `took_ms`: from its arrival to its commit; `size_bytes`: of the payload that arrived."""

    session: str
    execution: str
    checkpoint: str
    size_bytes: int
    took_ms: float
    final: bool


class WorkerReady(Life, frozen=True):
    """A worker shook hands and takes code now; `took_ms` since its launch was asked for."""

    session: str
    pid: int
    took_ms: float


# -- people -----------------------------------------------------------------------------------------------------------


class PromptAsked(Life, frozen=True):
    """A question waits for a person; told by the process that recorded it."""

    execution: str
    prompt: str


class PromptAnswered(Life, frozen=True):
    """A question was settled by people; told by the process that took the answer. `asked_at`: ms since the epoch."""

    execution: str
    prompt: str
    declined: bool
    asked_at: int
    traceparent: str = ""


class PromptExpired(Life, frozen=True):
    """A question passed its deadline without an answer."""

    execution: str
    prompt: str


# -- what an engine does not raise about ------------------------------------------------------------------------------


class InterceptorFailed(Event, frozen=True):
    """An interceptor raised; routing went on."""

    session: str
    error: str


class InterceptorOverran(Event, frozen=True):
    """An interceptor took longer than its budget."""

    session: str
    took_ms: float
    budget_ms: float


class ReplyUnknown(Event, frozen=True):
    """A worker replied for an execution or call that nobody waits for."""

    session: str
    key: str


class EventsOmitted(Event, frozen=True):
    """So many events of a kind (`event`, its class) were not told: a session's worker caused too many."""

    session: str
    event: str
    count: int


class OutputUndrained(Event, frozen=True):
    """The last output of an execution was not taken in the time for that; `chars` of it were dropped."""

    session: str
    execution: str
    chars: int


class NotSaved(Event, frozen=True):
    """The namespace could not be captured when an execution ended; after a crash the session goes on from before it."""

    session: str
    execution: str
    reason: str


class WorkFailed(Event, frozen=True):
    """A thread or task of a session's code ended with an error that nobody took. `execution`: which one ran, or ""."""

    session: str
    execution: str
    error: str


class WorkerStarted(Life, frozen=True):
    """A worker's process began."""

    session: str
    pid: int


class WorkerEnded(Life, frozen=True):
    """A worker's process ended, and why."""

    session: str
    pid: int
    reason: str


class WorkerBeat(Life, frozen=True):
    """A look at a living worker: resident bytes, percent of a processor since the last look, names in its namespace
    (None before it said)."""

    session: str
    pid: int
    memory: int
    cpu: float
    names: int | None


class WorkerStuck(Event, frozen=True):
    """A worker cannot go on by itself, and has not for two looks in a row; a long computation is not that."""

    session: str
    pid: int
    reason: str


class PoolHeld(Event, frozen=True):
    """So many sessions wait for a place in the pool, and these keep a worker without work: each with why."""

    waiting: int
    holders: tuple[str, ...]


class ZygoteEnded(Event, frozen=True):
    """The warm process that forks workers ended by itself, and its workers with it; the next launch starts another."""

    pid: int
    reason: str


class SessionRestored(Life, frozen=True):
    """A namespace came back from a checkpoint; `lost` names what could not, `reasons` says why, one for each.

    `rebuilt` are names that were made anew, each with how.
    """

    session: str
    checkpoint: str
    restored: int
    lost: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    rebuilt: tuple[tuple[str, str], ...] = ()
    took_ms: float = 0.0


class AttemptFailed(Event, frozen=True):
    """An execution's attempt ended without a result; the store decides whether there is another."""

    execution: str
    error: str


class ArgumentsChanged(Event, frozen=True):
    """A step changed what it was given: its function sees that now, and would not when it is replayed.

    `arguments` names them. The step is to return what it makes, or to work on a copy.
    """

    execution: str
    step: str
    arguments: tuple[str, ...]


class Logged(Event, frozen=True):
    """A durable function said something by `ctx.log`, once over all its replays.

    `function`: the execution id of the function, `<id>.<k>` for a nested one. `number` counts its lines from 1: one
    that comes twice, because an engine died just after it, has the same number. `level` as in `logging`.
    """

    execution: str
    function: str
    number: int
    level: int
    text: str


class ExecutionHalted(Event, frozen=True):
    """An execution was halted: it goes on only when somebody resumes it. `note` says why. Told once for each halt by
    the engine that halted it, and by others that waited for it."""

    execution: str
    note: str

    def __str__(self) -> str:
        because = f": {self.note.rstrip('.')}" if self.note else ""
        return f"execution {self.execution} is halted{because}; `durable resume {self.execution}` goes on with it"


class ResultDiscarded(Event, frozen=True):
    """The result of a step, or of the execution itself (`step` is its promise then), was thrown away: the lease under
    which it was had is another's by now, and the work is done again under that one."""

    execution: str
    step: str
    reason: str


class PeerDead(Event, frozen=True):
    """Another engine on the same store is gone; its tasks were released."""

    engine: str
    tasks: int


class BlobsSwept(Life, frozen=True):
    """Files of large chunks that no checkpoint uses were deleted."""

    blobs: int
    bytes: int


class ExecutionsExpired(Life, frozen=True):
    """Executions that ended longer ago than they are kept were forgotten."""

    executions: int
    promises: int


class MemoryGivenBack(Life, frozen=True):
    """A store came to rest after so many requests: its copy of the file in memory and free heap were given back."""

    requests: int


class BackgroundFailed(Event, frozen=True):
    """A background activity of the engine raised; it was contained."""

    what: str
    error: str


class StoreSilent(Event, frozen=True):
    """A store elsewhere does not answer; requests are repeated until it does. Said once for each outage."""

    url: str
    problem: str


class StoreRegressed(Event, frozen=True):
    """A database has lost commits that it had acknowledged: a replica that was behind took its place, or a backup was
    restored. What is recorded there counts: the engine's sessions are restored from it, and who waits for an execution
    that is gone hears so."""

    store: str
    commits: int
    """How many of this process at least."""

    def __str__(self) -> str:
        return (
            f"store {self.store!r} has lost {self.commits} commits of this process that it had acknowledged: a replica"
            " that was behind took its place, or a backup was restored; what it has recorded counts"
        )


class PermissionsBypassed(Event, frozen=True):
    """A session, or `component/<id>`, runs in development mode: nothing that its code asks for is checked."""

    session: str


class Notified(Event, frozen=True):
    """Code told people something (capability notify); `call` is its promise id, the same if it is told again."""

    session: str
    execution: str
    message: str
    title: str
    call: str


class ActorSupervised(Event, frozen=True):
    """Supervision of an actor, `Class 'key'`, in this engine: `what` is child_started, child_stopped,
    child_restarted, child_failed or restart_limit_exceeded; or health_healthy, health_degraded or health_unhealthy,
    where checks found a change. `detail` says why.
    """

    actor: str
    what: str
    detail: str


type Observer = Callable[[Event], None]
"""Told of each event, in the process and mostly on the loop where it happens: it is quick, and never waits."""


def level_of(event: Event) -> int:
    """The level of an event in a log: of the normal course, what code told people, and what went wrong."""
    match event:
        case Logged():
            return event.level
        case Life():
            return logging.DEBUG
        case Notified():
            return logging.INFO
        case ActorSupervised(what="child_started" | "child_stopped" | "health_healthy"):
            return logging.DEBUG
        case _:
            return logging.WARNING


def log_event(event: Event) -> None:
    """The default observer: one line per event, on DEBUG for the normal course, a warning for what went wrong."""
    if isinstance(event, Life) and not logger.isEnabledFor(logging.DEBUG):
        return  # the most frequent case
    if isinstance(event, Logged):
        function_logger.log(event.level, "%s: %s", event.function, event.text, extra={"event": event})
        return
    logger.log(level_of(event), "%s", event, extra={"event": event})
