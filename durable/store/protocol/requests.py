"""The requests of the protocol: one struct per kind, so that nothing unchecked reaches a table.

Fields are in Python's words; on the wire they are camelCase where the protocol has them so. Unknown fields are ignored,
as the protocol asks. `Refused` is how an operation answers with a status of 400 or more, before writing anything.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.limits import (
    CHECKPOINTS_KEPT,
    DEPLOYMENT_CHARS_MAX,
    ID_CHARS_MAX,
    QUEUE_KEY_CHARS_MAX,
    QUEUE_NAME_CHARS_MAX,
    QUEUE_PRIORITY_MAX,
    QUEUE_RATE_MAX,
    QUEUE_RATE_S_MAX,
    RECORD_PROMISES_MAX,
    SIGNAL_NAME_CHARS_MAX,
)

type Record = dict[str, Any]
"""A JSON-like document: what the protocol calls Promise, Task, Schedule, or an answer's data."""


class Answer(NamedTuple):
    """A request's outcome: a status below 400 and its data."""

    status: int
    data: Record


class Refused(Exception):
    """A protocol status of 400 or more and its text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class LeaseLost(Refused):
    """The task was acquired again, by whoever could: what its former holder writes is thrown away."""


_TEXT = "[^\\x00\\ud800-\\udfff]*\\Z"
"""No NUL, which ends text for C, and no lone surrogates, which UTF-8 does not have."""

_KEPT = re.compile("\\A" + _TEXT)
_PATTERNS = {f"`str` matching regex {start + _TEXT!r}": words for start, words in (
    ("\\A", "text without NUL and lone surrogates"),
    ("\\A>", "a cursor: `>` and the id behind which to go on"),
)}  # fmt: skip

type Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX, pattern="\\A" + _TEXT)]
type Cursor = Annotated[str, msgspec.Meta(max_length=ID_CHARS_MAX + 1, pattern="\\A>" + _TEXT)]
"""`>` and the last id of the page before."""
type Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a column of a store takes."""
type Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
type Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
type PromiseState = Literal["pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout"]
type TaskState = Literal["pending", "acquired", "suspended", "halted", "fulfilled"]


def is_kept(text: str) -> bool:
    """Whether every store keeps a text as it is: one without NUL and lone surrogates."""
    return _KEPT.match(text) is not None


def explained(error: Exception) -> str:
    """The text of an error of reading a request, with words instead of patterns."""
    text = str(error)
    for pattern, words in _PATTERNS.items():
        text = text.replace(pattern, words)
    return text


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the protocol's request data."""


class Value(Request, frozen=True, kw_only=True, omit_defaults=True):
    """A param or value: headers, and data that the store does not look into."""

    headers: dict[str, str] | None = None
    data: str | None = None


EMPTY = Value()


class ById(Request, frozen=True, kw_only=True):
    id: Id


class Nothing(Request, frozen=True, kw_only=True):
    pass


class PromiseCreate(Request, frozen=True, kw_only=True):
    id: Id
    timeout_at: Natural
    param: Value | None = None
    tags: dict[str, str] | None = None


class PromiseSettle(Request, frozen=True, kw_only=True):
    id: Id
    state: Literal["resolved", "rejected", "rejected_canceled"]
    value: Value | None = None


class RegisterCallback(Request, frozen=True, kw_only=True):
    awaited: Id
    awaiter: Id


class RegisterListener(Request, frozen=True, kw_only=True):
    awaited: Id
    address: Id


class PromiseSearch(Request, frozen=True, kw_only=True):
    state: PromiseState | None = None
    tags: dict[str, str] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    cursor: Cursor | None = None


class Head(Request, frozen=True, kw_only=True, omit_defaults=True):
    corr_id: str | None = None


class ActionCreate(Request, frozen=True, kw_only=True):
    kind: Literal["promise.create"]
    data: PromiseCreate
    head: Head | None = None


class ActionSettle(Request, frozen=True, kw_only=True):
    kind: Literal["promise.settle"]
    data: PromiseSettle
    head: Head | None = None


class ActionCallback(Request, frozen=True, kw_only=True):
    kind: Literal["promise.register_callback"]
    data: RegisterCallback
    head: Head | None = None


class FencedCreate(Request, frozen=True, kw_only=True, tag_field="kind", tag="promise.create"):
    """As `ActionCreate`, told from `FencedSettle` by its kind; a tag alone may be missing, a field may not."""

    data: PromiseCreate
    head: Head | None = None


class FencedSettle(Request, frozen=True, kw_only=True, tag_field="kind", tag="promise.settle"):
    data: PromiseSettle
    head: Head | None = None


class TaskCreate(Request, frozen=True, kw_only=True):
    pid: Id
    ttl: Positive
    action: ActionCreate


class TaskAcquire(Request, frozen=True, kw_only=True):
    """`record`: whether the answer is to have the beginning of what is recorded, as `BegunTask` has it, in place
    of the protocol's preload. For engines of ours."""

    id: Id
    version: Natural
    pid: Id
    ttl: Positive
    record: bool = False


class TaskAt(Request, frozen=True, kw_only=True):
    id: Id
    version: Natural


class TaskFail(Request, frozen=True, kw_only=True):
    id: Id
    version: Natural
    error: str
    cause: Literal["failed", "died", "returned"] = "failed"


class TaskDiscard(Request, frozen=True, kw_only=True):
    """The result of `step` was thrown away, since the task was not in this version any more."""

    id: Id
    version: Natural
    step: Id
    reason: str


class TaskSuspend(Request, frozen=True, kw_only=True):
    id: Id
    version: Natural
    actions: list[ActionCallback]
    logged: str | None = None
    """How many lines each of the execution's functions has logged, as JSON; of ours alone."""
    cancelled: bool | None = None
    """Whether the pass heard that the execution is to be cancelled; None where it cannot say."""


class TaskFulfill(Request, frozen=True, kw_only=True):
    """`epoch`, of a cell: the session must still be in it, as for everything else that is written of a session."""

    id: Id
    epoch: Integer | None = None
    version: Natural
    action: ActionSettle


class TaskFence(Request, frozen=True, kw_only=True):
    id: Id
    version: Natural
    action: FencedCreate | FencedSettle


class TaskHeartbeat(Request, frozen=True, kw_only=True):
    pid: Id
    tasks: Annotated[list[TaskAt], msgspec.Meta(min_length=1, max_length=100_000)]


class TaskHalt(Request, frozen=True, kw_only=True):
    """`version`, from the engine that runs it: only while that attempt still holds the task."""

    id: Id
    version: Natural | None = None
    note: str | None = None


class TaskSearch(Request, frozen=True, kw_only=True):
    state: TaskState | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    cursor: Cursor | None = None


class ScheduleCreate(Request, frozen=True, kw_only=True):
    id: Id
    cron: Id
    promise_id: Id
    promise_timeout: Natural
    promise_param: Value | None = None
    promise_tags: dict[str, str] | None = None


class ScheduleSearch(Request, frozen=True, kw_only=True):
    tags: dict[str, str] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    cursor: Cursor | None = None


type ScheduleOverlap = Literal["allow", "skip", "queue", "cancel"]


class SchedulePut(Request, frozen=True, kw_only=True):
    """A schedule of ours, in place of the one that has its id. `paused`: null for as it is."""

    schedule: ScheduleCreate
    overlap: ScheduleOverlap = "allow"
    jitter_ms: Annotated[int, msgspec.Meta(ge=0, le=366 * 24 * 3_600_000)] = 0
    paused: bool | None = None


class ScheduleList(Request, frozen=True, kw_only=True):
    """Schedules with what is ours, by id. `id`: this one alone. `after`: the last one of the page before."""

    id: str | None = None
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000


class SchedulePause(Request, frozen=True, kw_only=True):
    id: Id
    paused: bool


class ScheduleBackfill(Request, frozen=True, kw_only=True):
    """The ticks from `since` up to `until`, which is not one of them, in milliseconds."""

    id: Id
    since: Natural
    until: Natural
    overlap: ScheduleOverlap = "queue"


class DebugTick(Request, frozen=True, kw_only=True):
    time: Natural


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the engine's own kinds: in-process only, never taken from a wire."""


type DeploymentName = Annotated[str, msgspec.Meta(pattern=f"\\A[A-Za-z0-9_.:+@/-]{{0,{DEPLOYMENT_CHARS_MAX}}}\\Z")]


class EngineJoin(Ours, frozen=True, kw_only=True):
    engine: Id
    group: Id
    pid: Natural
    functions: list[str]
    serves_sessions: bool = True
    queues: list[QueueName] | None = None
    """The queues from which alone it takes executions; None: from all, and what stands in none."""
    deployment: DeploymentName = ""
    """What it was started as (specs/versions.md); "" for nothing."""
    retention: dict[str, dict[str, Natural | None]] | None = None
    """Milliseconds by function and state that executions are kept; None where nothing is said."""


class Deployment(Ours, frozen=True, kw_only=True):
    deployment: DeploymentName


class EngineServe(Ours, frozen=True, kw_only=True):
    engine: Id
    functions: list[str]
    retention: dict[str, dict[str, Natural | None]] | None = None


class Engine(Ours, frozen=True, kw_only=True):
    engine: Id


class SessionOpen(Ours, frozen=True, kw_only=True):
    session: Id
    engine: Id | None = None
    options: dict[str, object] = {}


class SessionTake(Ours, frozen=True, kw_only=True):
    session: Id
    engine: Id


class SessionWorker(Ours, frozen=True, kw_only=True):
    session: Id
    epoch: Integer
    pid: Natural
    start: Natural


class SessionAt(Ours, frozen=True, kw_only=True):
    session: Id
    epoch: Integer


class Session(Ours, frozen=True, kw_only=True):
    session: Id


class CellPromise(Request, frozen=True, kw_only=True):
    timeout_at: Natural
    param: Value | None = None
    tags: dict[str, str] | None = None


class CellSubmit(Ours, frozen=True, kw_only=True):
    """`engine` and `ttl`: acquire the task at once when that engine owns the session and nothing is before it.

    `alone`: refused with 423 when an unsettled cell is before it. `id`: what stands in the place of its number in its
    id; where there is a promise of that id, that is the answer and nothing is made. `sync_later`: whoever asks is told
    of the cell with its outcome only, so that its commit may be synced shortly after it.
    """

    session: Id
    id: Id | None = None
    promise: CellPromise
    engine: Id | None = None
    ttl: Positive = 1
    alone: bool = False
    sync_later: bool = False


class CallCreate(Ours, frozen=True, kw_only=True):
    """`policy`: the version of the permissions that allowed it; under another one a new call is not made. `settle`:
    how a new call is settled at once."""

    session: Id
    epoch: Integer
    awaiter: Id
    promise: PromiseCreate
    policy: Natural | None = None
    settle: PromiseSettle | None = None


class PromptAnswer(Ours, frozen=True, kw_only=True):
    """One of several persons' answers: a promise `<prompt>.<digest of who>`, made and settled at once. `others`: how
    many answers were there when it was seen what they decide. `settle`: how they settle the question, if they do."""

    prompt: Id
    answer: PromiseCreate
    value: Value
    others: Natural
    settle: PromiseSettle | None = None


class PostsClaim(Ours, frozen=True, kw_only=True):
    """Take messages for URLs whose time has come, for POST_LEASE_MS."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)]


class PostEnd(Ours, frozen=True, kw_only=True):
    """A message for a URL was taken, or is given up; or, after `retry_ms`, is to be sent again."""

    post: Natural
    retry_ms: Natural | None = None


class ExecutionCancel(Ours, frozen=True, kw_only=True):
    """`grace_ms`: how long the function may clean up after itself before its promise is settled all the same. `serves`:
    whoever asks runs the clean-up itself, where no engine that is alive can.
    """

    id: Id
    reason: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    grace_ms: Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX_MS)] = 0
    serves: bool = False


class ExecutionTag(Ours, frozen=True, kw_only=True):
    """Tags to be set, by name; None takes one off."""

    id: Id
    tags: dict[str, str | None]


class ExecutionSource(Ours, frozen=True, kw_only=True):
    id: Id
    source: Id


class FunctionAlias(Ours, frozen=True, kw_only=True):
    """The renaming of `old` to `new` in what is recorded; ids of functions, with a version or for all of them.
    `source`: where it is loaded from, "" where its id says it. `after` is the cursor of the batch before."""

    old: Id
    new: Id
    source: str = ""
    after: str = ""


type SignalName = Annotated[str, msgspec.Meta(min_length=1, max_length=SIGNAL_NAME_CHARS_MAX, pattern="\\A" + _TEXT)]


class SignalSend(Ours, frozen=True, kw_only=True):
    """A value for an execution. `key`: what is sent again under it is not sent. `fits`: the param of a wait, with the
    schema that the sender has checked the value against; "" for none yet, None where nothing needs to be checked."""

    execution: Id
    name: SignalName
    value: Value = EMPTY
    key: SignalName | None = None
    fits: str | None = None


class SignalLook(Ours, frozen=True, kw_only=True):
    execution: Id
    name: SignalName


class ExecutionDelete(Ours, frozen=True, kw_only=True):
    """An execution that has ended, to be forgotten at once."""

    id: Id
    dry_run: bool = False


class ExecutionUpgrade(Ours, frozen=True, kw_only=True):
    """Another function, or deployment, for an open execution that nobody runs, as long as nothing has run since
    `version` was read."""

    id: Id
    function: str
    source: str
    version: Natural
    deployment: DeploymentName | None = None


class RecordPromise(Request, frozen=True, kw_only=True):
    """A promise as a record has it."""

    id: Id
    state: PromiseState
    param: Value
    value: Value
    tags: dict[str, str]
    timeout_at: Natural
    created_at: Natural
    settled_at: Natural | None = None

    def create(self) -> PromiseCreate:
        """The request that makes such a promise."""
        return PromiseCreate(id=self.id, timeout_at=self.timeout_at, param=self.param, tags=self.tags)


class Retried(Request, frozen=True, kw_only=True):
    """An execution whose retry another one is: the only one, as long as there is that."""

    id: Id


class Rewound(Request, frozen=True, kw_only=True):
    """An execution whose place another one takes: where it is open it is cancelled with this reason.

    `open`: what was open of it when its record was read, and has to be.
    """

    id: Id
    reason: Annotated[str, msgspec.Meta(max_length=1_000, pattern="\\A" + _TEXT)]
    open: Annotated[list[Id], msgspec.Meta(max_length=RECORD_PROMISES_MAX)] = []


class ExecutionImport(Ours, frozen=True, kw_only=True):
    """An execution with all that is recorded under it, its own promise first. `starts`: how often it was acquired;
    `note`: why it is halted, where it is. `logged`, `cancelled`, `cancelled_at`: as `call.list` gives them."""

    promises: Annotated[list[RecordPromise], msgspec.Meta(min_length=1, max_length=RECORD_PROMISES_MAX)]
    starts: Natural
    halted: bool = False
    note: str | None = None
    lost: bool = False
    logged: str | None = None
    cancelled: str | None = None
    cancelled_at: Natural | None = None
    begins: bool = False
    """It is another execution of this store: children that have not ended are begun."""
    rewinds: Rewound | None = None
    """The execution whose place it takes."""
    retries: Retried | None = None
    """The execution that it is the retry of."""


type _Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
type _RateCount = Annotated[int, msgspec.Meta(ge=1, le=QUEUE_RATE_MAX)]
type _RateMs = Annotated[int, msgspec.Meta(ge=1, le=QUEUE_RATE_S_MAX * 1000)]
type QueueName = Annotated[str, msgspec.Meta(pattern=f"\\A[A-Za-z0-9_.-]{{1,{QUEUE_NAME_CHARS_MAX}}}\\Z")]
type QueueKey = Annotated[str, msgspec.Meta(max_length=QUEUE_KEY_CHARS_MAX, pattern="\\A" + _TEXT)]
type QueuePriority = Annotated[int, msgspec.Meta(ge=-QUEUE_PRIORITY_MAX, le=QUEUE_PRIORITY_MAX)]


class QueueBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a queue; null for none. `rate`: a count and milliseconds."""

    concurrency: _Count | None = None
    per_engine: _Count | None = None
    per_key: _Count | None = None
    rate: tuple[_RateCount, _RateMs] | None = None


class QueueDeclare(Ours, frozen=True, kw_only=True):
    """The limits of a queue as code has them: they hold where they are others than code declared before."""

    queue: QueueName
    limits: QueueBounds


class QueueSet(Ours, frozen=True, kw_only=True):
    """Other limits for those that are named in `changes`, of a queue that is made where it is not there."""

    queue: QueueName
    limits: QueueBounds
    changes: list[Literal["concurrency", "per_engine", "per_key", "rate"]]


class QueueTurn(Ours, frozen=True, kw_only=True):
    queue: QueueName
    event: Literal["pause", "resume", "drain"]


class QueueDelete(Ours, frozen=True, kw_only=True):
    queue: QueueName


class QueueEnqueue(Ours, frozen=True, kw_only=True):
    """An execution, to begin when the queue lets it. `delay_ms`: not before that. `dedupe`: while another one of the
    queue has it, that is the answer; with `debounce_ms` that one gets these arguments, and begins so much later, but
    not later than `debounce_max_ms` after it was enqueued. `engine` and `ttl`: acquire it at once where nothing is
    before it and there is room."""

    queue: QueueName
    promise: PromiseCreate
    key: QueueKey = ""
    priority: QueuePriority = 0
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX_MS)] = 0
    dedupe: QueueKey | None = None
    debounce_ms: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)] | None = None
    debounce_max_ms: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)] | None = None
    engine: Id | None = None
    ttl: Positive = 1


class QueueGet(Ours, frozen=True, kw_only=True):
    queue: QueueName


class CallList(Ours, frozen=True, kw_only=True):
    """`after`: the last id of the page before."""

    execution: Id
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000


class OutputChunk(msgspec.Struct, frozen=True, array_like=True):
    """`length` characters from `start`, of which `text` is kept; without a length it is kept whole."""

    start: Natural
    stream: Literal["stdout", "stderr", "display", "failure", "next"]
    text: str
    length: Natural | None = None


class OutputAppend(Ours, frozen=True, kw_only=True):
    execution: Id
    session: str | None = None
    epoch: Integer | None = None
    chunks: list[OutputChunk]


class OutputTruncate(Ours, frozen=True, kw_only=True):
    execution: Id
    offset: Natural


class Keep(Ours, frozen=True, kw_only=True):
    """Which checkpoints of a session stay beside its newest (specs/checkpoint.md, Keeping)."""

    last: Natural = CHECKPOINTS_KEPT
    age_ms: Natural | None = None
    labelled: bool = True


class CheckpointPublish(Ours, frozen=True, kw_only=True):
    session: Id
    epoch: Integer
    execution: str | None = None
    n: Integer | None = None
    statement: Natural
    final: bool
    label: str | None = None
    by_code: bool = False
    """The session's code gave the label: of such the newest CODE_LABELS_MAX stay."""
    manifest: bytes
    chunks: list[tuple[str, bytes]] = []
    uses: list[str] = []
    carried: list[str] = []
    """Chunks of `uses` that an earlier checkpoint brought: refused when the last that used one has gone meanwhile."""
    keep: Keep = Keep()
    progress: bool = True
    """The execution came further than where its attempt began: the attempt does not count."""


class CheckpointLabel(Ours, frozen=True, kw_only=True):
    checkpoint: Natural
    label: str | None


class CheckpointGet(Ours, frozen=True, kw_only=True):
    checkpoint: Natural


class ChunkGet(Ours, frozen=True, kw_only=True):
    digests: list[str]


class SweepExecutions(Ours, frozen=True, kw_only=True):
    """`after` is the cursor of the batch before; `before` a time in milliseconds."""

    after: str = ""
    before: Natural
    newest: Natural | None = None
    """When the oldest of those was settled that are kept whatever a rule says."""
    dry_run: bool = False


class SweepRetention(Ours, frozen=True, kw_only=True):
    """`after` is the cursor of the batch before."""

    after: str = ""


class SealedPage(Ours, frozen=True, kw_only=True):
    """A page of values that keys sealed. `after` is the cursor of the page before, `but` the key whose values are left
    out; `whole`: with their data."""

    after: str = ""
    but: str = ""
    whole: bool = False


class ValueReseal(Ours, frozen=True, kw_only=True):
    """A value sealed anew. `before`: SHA-256, in hex, of its data as it was."""

    place: str
    key: list[str | Integer]
    before: str
    data: str


class SweepCheckpoints(Ours, frozen=True, kw_only=True):
    """`after` is the last session of the batch before."""

    after: str = ""
    keep: Keep
    dry_run: bool = False


class SweepMessages(Ours, frozen=True, kw_only=True):
    dry_run: bool = False


class SweepAudit(Ours, frozen=True, kw_only=True):
    before: Natural
    dry_run: bool = False


class PolicyGet(Ours, frozen=True, kw_only=True):
    name: Id


class PolicySet(Ours, frozen=True, kw_only=True):
    """`before`: the version that the change was made from; 0 for none."""

    name: Id
    before: Natural
    document: dict[str, object]


class AuditAppend(Ours, frozen=True, kw_only=True):
    """Entries: who, execution, what, resource, verdict, reason, policy, times."""

    entries: list[tuple[str, str, str, str, str, str, Natural, Positive]]


class AuditList(Ours, frozen=True, kw_only=True):
    who: str | None = None
    before: Natural | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class KvNamespace(Ours, frozen=True, kw_only=True):
    namespace: Id


class KvAt(Ours, frozen=True, kw_only=True):
    namespace: Id
    key: Id


class KvDelete(Ours, frozen=True, kw_only=True):
    """`value`: remove the key only where it has this one."""

    namespace: Id
    key: Id
    value: str | None = None


class KvSet(Ours, frozen=True, kw_only=True):
    """`value` is JSON; `quota` in bytes of the whole namespace."""

    namespace: Id
    key: Id
    value: str
    quota: Natural


class KvWrite(Ours, frozen=True, kw_only=True):
    """Several keys at once: `put` is set, `fill` set where nothing is, `greatest` where what is there is less as text;
    then `delete` is removed. As KvSet otherwise."""

    namespace: Id
    quota: Natural
    put: dict[Id, str] = {}
    fill: dict[Id, str] = {}
    greatest: dict[Id, str] = {}
    delete: tuple[Id, ...] = ()


class KvList(Ours, frozen=True, kw_only=True):
    namespace: Id
    prefix: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000


class ActorAt(Ours, frozen=True, kw_only=True):
    actor: Id


class ActorSend(Ours, frozen=True, kw_only=True):
    """A message. `kind` and `key`: of an actor that is not there yet; `parent`: its supervisor. `id`: as in CellSubmit.

    `capacity`: how many messages may wait. `engine` and `ttl`: acquire the task at once when nothing is before it.
    """

    actor: Id
    kind: Id
    key: str
    parent: Id | None = None
    id: Id | None = None
    promise: CellPromise
    capacity: Positive | None = None
    engine: Id | None = None
    ttl: Positive = 1


class ActorFulfill(Ours, frozen=True, kw_only=True):
    """The end of a turn: `task` settles its message, the rest is saved with it. `state` is JSON, None to leave it.

    `restarts`: the times that still count, and `restarted` how many are new. `dead`: why the message is a dead letter.
    """

    actor: Id
    kind: Id
    key: str
    task: TaskFulfill
    state: str | None = None
    version: Natural = 0
    restarts: list[float] | None = None
    restarted: Natural = 0
    dead: str | None = None
    status: Literal["running", "stopped", "failed"] = "running"
    note: str = ""
    journal: str | None = None
    """An entry for the end of the actor's journal; `forget`: what is in it is not needed any more."""
    forget: bool = False


class ActorJournal(Ours, frozen=True, kw_only=True):
    """`after`: the key of the last entry of the page before."""

    actor: Id
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class ActorDelete(Ours, frozen=True, kw_only=True):
    """`force`: also one that runs, or has mail."""

    actor: Id
    force: bool = False


class SweepActors(Ours, frozen=True, kw_only=True):
    """Stopped and failed actors, and dead letters, of before a time (ms). `after`: the name where the page ended."""

    before: Natural
    after: str = ""
    dry_run: bool = False


class ActorStop(Ours, frozen=True, kw_only=True):
    actor: Id
    note: str = ""
    status: Literal["stopped", "failed"] = "stopped"
    force: bool = False


class ActorRestart(Ours, frozen=True, kw_only=True):
    """`reset`: without its state."""

    actor: Id
    reset: bool = False


class ActorList(Ours, frozen=True, kw_only=True):
    """`after`: the last name of the page before; of a supervisor's children, `place` is that one's place."""

    kind: str | None = None
    status: str | None = None
    parent: str | None = None
    after: str = ""
    place: Integer = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000


class ActorLetters(Ours, frozen=True, kw_only=True):
    """`before`: the last number of the page before."""

    actor: str | None = None
    before: Natural | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000


class ActorSubscribe(Ours, frozen=True, kw_only=True):
    """Without a `method`: no more of it."""

    pattern: Id
    actor: Id
    kind: Id
    key: str
    method: str | None


class ActorSubscriptions(Ours, frozen=True, kw_only=True):
    """`pattern` and `actor`: the last of the page before."""

    pattern: str = ""
    actor: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
