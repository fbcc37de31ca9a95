"""The engine's typed events. Logs and traces are observers of them; nothing in the engine depends on one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("durable")
function_logger = logging.getLogger("durable.function")


@dataclass(frozen=True, slots=True)
class Event:
    """Something the engine did not raise about. Subclasses form a closed set, all in this module."""


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
class WorkerStarted(Event):
    session: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerEnded(Event):
    session: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerBeat(Event):
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
class SessionRestored(Event):
    """A namespace came back from a checkpoint; `lost` names what could not, `reasons` says why, one for each.

    `rebuilt` are names that were made anew, each with how.
    """

    session: str
    checkpoint: str
    restored: int
    lost: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    rebuilt: tuple[tuple[str, str], ...] = ()


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
class BlobsSwept(Event):
    """Files of large chunks that no checkpoint uses were deleted."""

    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryGivenBack(Event):
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


type Observer = Callable[[Event], None]


def log_event(event: Event) -> None:
    """The default observer: one debug line per event, a warning for what went wrong."""
    if isinstance(event, Logged):
        function_logger.log(event.level, "%s: %s", event.function, event.text)
        return
    level = (
        logging.DEBUG
        if isinstance(event, WorkerBeat | WorkerStarted | WorkerEnded | SessionRestored | BlobsSwept | MemoryGivenBack)
        else logging.WARNING
    )
    if isinstance(event, Notified):
        level = logging.INFO
    logger.log(level, "%s", event)
