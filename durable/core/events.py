"""The engine's typed events: a closed, public set. Logs, spans and metrics are observers of them (specs/telemetry.md).

An event has ids, times and counts. It has no values of user code, no questions and no answers; what is said on purpose
(`Logged`, `Notified`) and the texts of errors are the exceptions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from durable.core.clock import now_ms

logger = logging.getLogger("durable")
function_logger = logging.getLogger("durable.function")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in an engine. Subclasses form a closed set, all in this module."""

    at: int = field(default_factory=now_ms, kw_only=True, compare=False, repr=False)
    """When it was told: milliseconds since the Unix epoch, by this machine's clock."""


@dataclass(frozen=True, slots=True)
class Life(Event):
    """An event of the normal course. Nobody has to look at it: it is told only where an observer is there for it."""


# -- the life of an execution ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecutionCreated(Life):
    """A new execution was recorded: of a function, or a cell of `session` (else "")."""

    execution: str
    function: str
    session: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionStarted(Life):
    """An attempt at an execution begins in this engine. Told in the attempt's context, which its work inherits.

    `attempt` counts the leases of the execution from 1: more than 1 after a wait, a failure, or the death of an engine.
    A cell has a `session` and no `function`, a turn of an actor both, a function no session. `traceparent`: the W3C
    trace context of whoever began the execution, or "".
    """

    execution: str
    attempt: int
    function: str
    session: str = ""
    created_at: int = 0
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionWaiting(Life):
    """An attempt ended: the execution waits for these promises and holds nothing meanwhile."""

    execution: str
    attempt: int
    waits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecutionSettled(Life):
    """An attempt ended with the execution's result. `state` is the promise's, as it is recorded."""

    execution: str
    attempt: int
    state: str


@dataclass(frozen=True, slots=True)
class ExecutionLeft(Life):
    """An attempt ended without any result of it, since the engine is closed: another one goes on."""

    execution: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ExecutionResumed(Life):
    """Somebody resumed an execution that was halted or interrupted; told by the engine that was asked to."""

    execution: str


@dataclass(frozen=True, slots=True)
class LeaseLost(Life):
    """An attempt ended because its lease is gone: the execution is another engine's by now, or somebody settled it."""

    execution: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StepBegun(Life):
    """A step is run: it had no record. Told in the step's own context. `attempt` counts its tries in this pass from 1.

    `step` is the id in the record, `<execution>.<k>`; `nested`: it is a durable function with steps of its own.
    """

    execution: str
    step: str
    name: str
    attempt: int = 1
    nested: bool = False


@dataclass(frozen=True, slots=True)
class StepRecorded(Life):
    """The result of a step, or its error, is recorded; no replay tells it again."""

    execution: str
    step: str
    name: str
    ok: bool


@dataclass(frozen=True, slots=True)
class StepRetried(Life):
    """A step raised and is to be tried again: the `retry`-th time, after `delay_ms`."""

    execution: str
    step: str
    name: str
    retry: int
    delay_ms: int


# -- code in sessions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallDecided(Life):
    """A call of user code was allowed, or denied, and is recorded with that."""

    execution: str
    session: str
    call: str
    capability: str
    verdict: str


@dataclass(frozen=True, slots=True)
class CallPerformed(Life):
    """A call of user code was performed and its answer recorded. `began_at`: ms since the Unix epoch."""

    execution: str
    session: str
    call: str
    capability: str
    ok: bool
    began_at: int
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointMade(Life):
    """A checkpoint is durable. `took_ms`: from its arrival to its commit; `size_bytes`: of the payload that arrived."""

    session: str
    execution: str
    checkpoint: str
    size_bytes: int
    took_ms: float
    final: bool


@dataclass(frozen=True, slots=True)
class WorkerReady(Life):
    """A worker shook hands and takes code now; `took_ms` since its launch was asked for."""

    session: str
    pid: int
    took_ms: float


# -- people -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PromptAsked(Life):
    """A question waits for a person; told by the process that recorded it."""

    execution: str
    prompt: str


@dataclass(frozen=True, slots=True)
class PromptAnswered(Life):
    """A question was settled by people; told by the process that took the answer. `asked_at`: ms since the epoch."""

    execution: str
    prompt: str
    declined: bool
    asked_at: int
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class PromptExpired(Life):
    """A question passed its deadline without an answer."""

    execution: str
    prompt: str


# -- what an engine does not raise about ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InterceptorFailed(Event):
    """An interceptor raised; routing went on."""

    session: str
    error: str


@dataclass(frozen=True, slots=True)
class InterceptorOverran(Event):
    """An interceptor took longer than its budget."""

    session: str
    took_ms: float
    budget_ms: float


@dataclass(frozen=True, slots=True)
class ReplyUnknown(Event):
    """A worker replied for an execution or call that nobody waits for."""

    session: str
    key: str


@dataclass(frozen=True, slots=True)
class EventsOmitted(Event):
    """So many events of a kind (`event`, its class) were not told: a session's worker caused too many."""

    session: str
    event: str
    count: int


@dataclass(frozen=True, slots=True)
class OutputUndrained(Event):
    """The last output of an execution was not taken in the time for that; `chars` of it were dropped."""

    session: str
    execution: str
    chars: int


@dataclass(frozen=True, slots=True)
class NotSaved(Event):
    """The namespace could not be captured when an execution ended; after a crash the session goes on from before it."""

    session: str
    execution: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkFailed(Event):
    """A thread or task of a session's code ended with an error that nobody took. `execution`: which one ran, or ""."""

    session: str
    execution: str
    error: str


@dataclass(frozen=True, slots=True)
class WorkerStarted(Life):
    """A worker's process began."""

    session: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerEnded(Life):
    """A worker's process ended, and why."""

    session: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerBeat(Life):
    """A look at a living worker: resident bytes, percent of a processor since the last look, names in its namespace
    (None before it said)."""

    session: str
    pid: int
    memory: int
    cpu: float
    names: int | None


@dataclass(frozen=True, slots=True)
class WorkerStuck(Event):
    """A worker cannot go on by itself, and has not for two looks in a row; a long computation is not that."""

    session: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class PoolHeld(Event):
    """So many sessions wait for a place in the pool, and these keep a worker without work: each with why."""

    waiting: int
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ZygoteEnded(Event):
    """The warm process that forks workers ended by itself, and its workers with it; the next launch starts another."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionRestored(Life):
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


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An execution's attempt ended without a result; the store decides whether there is another."""

    execution: str
    error: str


@dataclass(frozen=True, slots=True)
class ArgumentsChanged(Event):
    """A step changed what it was given: its function sees that now, and would not when it is replayed.

    `arguments` names them. The step is to return what it makes, or to work on a copy.
    """

    execution: str
    step: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Logged(Event):
    """A durable function said something by `ctx.log`, once over all its replays.

    `function`: the execution id of the function, `<id>.<k>` for a nested one. `number` counts its lines from 1: one
    that comes twice, because an engine died just after it, has the same number. `level` as in `logging`.
    """

    execution: str
    function: str
    number: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class ExecutionHalted(Event):
    """An execution was halted: it goes on only when somebody resumes it. `note` says why. Told once for each halt by
    the engine that halted it, and by others that waited for it."""

    execution: str
    note: str

    def __str__(self) -> str:
        because = f": {self.note.rstrip('.')}" if self.note else ""
        return f"execution {self.execution} is halted{because}; `durable resume {self.execution}` goes on with it"


@dataclass(frozen=True, slots=True)
class ResultDiscarded(Event):
    """The result of a step, or of the execution itself (`step` is its promise then), was thrown away: the lease under
    which it was had is another's by now, and the work is done again under that one."""

    execution: str
    step: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerDead(Event):
    """Another engine on the same store is gone; its tasks were released."""

    engine: str
    tasks: int


@dataclass(frozen=True, slots=True)
class BlobsSwept(Life):
    """Files of large chunks that no checkpoint uses were deleted."""

    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryGivenBack(Life):
    """A store came to rest after so many requests: its copy of the file in memory and free heap were given back."""

    requests: int


@dataclass(frozen=True, slots=True)
class BackgroundFailed(Event):
    """A background activity of the engine raised; it was contained."""

    what: str
    error: str


@dataclass(frozen=True, slots=True)
class StoreSilent(Event):
    """A store elsewhere does not answer; requests are repeated until it does. Said once for each outage."""

    url: str
    problem: str


@dataclass(frozen=True, slots=True)
class PermissionsBypassed(Event):
    """A session, or `component/<id>`, runs in development mode: nothing that its code asks for is checked."""

    session: str


@dataclass(frozen=True, slots=True)
class Notified(Event):
    """Code told people something (capability notify); `call` is its promise id, the same if it is told again."""

    session: str
    execution: str
    message: str
    title: str
    call: str


@dataclass(frozen=True, slots=True)
class ActorSupervised(Event):
    """Supervision of an actor, `Class 'key'`, in this engine: `what` is child_started, child_stopped,
    child_restarted, child_failed or restart_limit_exceeded, `detail` why.
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
        case ActorSupervised(what="child_started" | "child_stopped"):
            return logging.DEBUG
        case _:
            return logging.WARNING


def log_event(event: Event) -> None:
    """The default observer: one line per event, on DEBUG for the normal course, a warning for what went wrong."""
    if isinstance(event, Logged):
        function_logger.log(event.level, "%s: %s", event.function, event.text, extra={"event": event})
        return
    logger.log(level_of(event), "%s", event, extra={"event": event})
