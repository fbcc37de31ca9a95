"""The documents of the HTTP API: bodies of requests, and answers. The server checks by them, the client reads by them,
and the OpenAPI document is made of them.

Times are ISO 8601 in UTC unless a name ends with `_ms`; durations are in seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from durable.records.view_models import ExecutionView, PromptView, SessionView

type GivenId = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,128}$")]
"""An id that a caller chooses."""

type Seconds = Annotated[float, msgspec.Meta(gt=0, le=3_155_760_000)]
"""More than none, at most a century."""

type Name = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
type QueueName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.-]{1,100}$")]
type Level = Literal["secure", "restricted", "trusted", "dev"]
type StateWord = Literal[
    "pending", "running", "waiting", "interrupted", "completed", "failed", "lost", "cancelled", "timed_out"
]
type Moment = Annotated[datetime, msgspec.Meta(tz=True)]
type Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request."""


class Page[T](msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list. `next`: the cursor of the next one, null on the last."""

    items: list[T]
    next: str | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem (RFC 9457). `code` is stable; `errors` names fields, where fields are wrong."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    resonate_code: str = ""
    errors: list[dict[str, Any]] = []


# -- executions -------------------------------------------------------------------------------------------------------


class StartExecution(Body, frozen=True, kw_only=True):
    """A function to start. `function`: its name, or all of `where::name@version`. `timeout`: seconds until it ends.

    `queue`: the queue that lets it begin, with its place there: `key`, `priority`, `delay` (seconds), `dedupe`,
    `debounce`: seconds without another call of this `dedupe` after which it begins, `debounce_most` at most. `signal`:
    sent to it as soon as it is recorded.
    """

    function: Name
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    id: GivenId | None = None
    timeout: Seconds | None = None
    tags: dict[str, str] = {}
    queue: QueueName | None = None
    key: Annotated[str, msgspec.Meta(max_length=500)] = ""
    priority: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)] = 0
    delay: Seconds | None = None
    dedupe: Name | None = None
    debounce: Seconds | None = None
    debounce_most: Seconds | None = None
    signal: FirstSignal | None = None


class ExecutionDetail(ExecutionView, frozen=True):
    """One execution, with what it was given and what came of it."""

    arguments: Any = None
    result: Any = None
    traceback: str | None = None


class ExecutionFailure(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution failed: the error's code and text, and for user code its type and traceback."""

    code: str
    message: str
    exception_type: str = ""
    traceback: str = ""


class ExecutionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an execution so far.

    `value` where it completed: a function's return value, of a cell the document of its Result. `error` where it ended
    otherwise. `waits_for`: the questions without whose answers it cannot go on. `halted`: why it is held up.
    """

    id: str
    state: str
    ended: bool
    value: Any = None
    error: ExecutionFailure | None = None
    waits_for: list[str] = []
    halted: str | None = None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a request changed anything, and the state since."""

    id: str
    changed: bool
    state: str


class CancelExecution(Body, frozen=True, kw_only=True):
    """`grace`: seconds that a function has for its clean-up."""

    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    grace: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 10.0


class InterruptExecution(Body, frozen=True, kw_only=True):
    """`raises`: raise KeyboardInterrupt in the code instead of stopping it."""

    raises: bool = False


class RetryExecution(Body, frozen=True, kw_only=True):
    """`id`: of the new execution."""

    id: GivenId | None = None
    dry_run: bool = False


class ForkExecution(Body, frozen=True, kw_only=True):
    """`step`: the number of the first operation that is not kept; 1 begins from the start. `id`: of the new execution.

    `changed`: arguments by name in place of the recorded ones, where the server knows the function.
    """

    step: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    id: GivenId | None = None
    changed: dict[str, Any] = {}
    dry_run: bool = False


class ForkedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """A new execution with operations that another one recorded; `begun_again` are those that are not kept.

    `queue`: the queue that it stands in, "" for none.
    """

    id: str
    source: str
    kept: int
    begun_again: list[str]
    queue: str = ""


class ChooseExecutions(Body, frozen=True, kw_only=True):
    """Which executions are meant: those with these `ids`, or those that fit all the filters, the newest first.

    `function`: its name, or all of `where::name@version`. `tags`: all of these. `text`: words that stand somewhere in
    it. `since`, `until`: when they were made. At most `limit` of one request; `cursor` is `next` of the answer before.
    `dry_run`: only say what would become of each.
    """

    ids: Annotated[list[Annotated[str, msgspec.Meta(max_length=400)]], msgspec.Meta(max_length=1_000)] = []
    state: StateWord | None = None
    session: str | None = None
    function: str | None = None
    tags: dict[str, str] = {}
    text: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    cursor: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None
    dry_run: bool = False


class CancelExecutions(ChooseExecutions, frozen=True, kw_only=True):
    """Executions to end for good. `reason` is kept with each."""

    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class TagExecutions(ChooseExecutions, frozen=True, kw_only=True):
    """Executions that get tags. `set`: by name; null takes one off."""

    set: dict[str, str | None]


class ForkExecutions(ChooseExecutions, frozen=True, kw_only=True):
    """Executions to be forked or rewound before their operation number `step`. `changed`: arguments by name."""

    step: Annotated[int, msgspec.Meta(ge=1, le=10**9)]
    changed: dict[str, Any] = {}


class ExecutionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many executions there are in each state that has any; `at_most` means so many or more."""

    counts: dict[str, int]
    at_most: int


class ImportExecution(Body, frozen=True, kw_only=True):
    """`document`: an execution as it was exported."""

    document: dict[str, Any]


class ExportedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution at one moment: what it was given, what each operation came to, and the record to import."""

    kind: str
    version: int
    id: str
    context: dict[str, Any]
    results: dict[str, Any]
    metadata: dict[str, Any]
    timestamps: dict[str, Any]
    record: dict[str, Any]


class ExecutionChange(msgspec.Struct, frozen=True, kw_only=True):
    """The change of one execution, made or to be made. `able`: it is or would be changed; `note` says how, or why not.

    `state` is null where there is no such execution. `made`: the execution that a retry, fork or rewind begins.
    """

    id: str
    state: str | None
    able: bool
    note: str
    made: str | None = None


class BulkOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of the executions that were meant. `next`: the cursor with which the same request goes on, where
    there may be more; null where there are none. `dry_run`: nothing was changed."""

    items: list[ExecutionChange]
    dry_run: bool
    next: str | None = None


class StreamView(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of an execution. `next_offset`: that of the item that comes next."""

    name: str
    next_offset: int


class StreamItemView(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a stream. `step`, `position`: of one that a step wrote, which step, and its number there: a step that
    runs again may write at a position anew, and what it wrote from there on before is void."""

    offset: int
    value: Any
    written_at: str
    step: str | None = None
    position: int | None = None


class StreamItems(msgspec.Struct, frozen=True, kw_only=True):
    """Items of a stream in order. `next_offset`: where the next page begins. `ended`: the execution writes no more."""

    items: list[StreamItemView]
    next_offset: int
    ended: bool


class StreamItemEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a stream as its events tell it (`item`). `end`, the last one, has the state of the execution."""

    offset: int = 0
    value: Any = None
    written_at: str = ""
    step: str | None = None
    position: int | None = None
    execution: str = ""
    state: str = ""


class PublishedValue(msgspec.Struct, frozen=True, kw_only=True):
    """The newest value of a key; `n` counts the values that it had."""

    key: str
    value: Any
    n: int
    published_at: str


class TagChanges(Body, frozen=True, kw_only=True):
    """Tags to set; null takes one off."""

    tags: dict[str, str | None]


class TagSet(msgspec.Struct, frozen=True, kw_only=True):
    """All tags that an execution has."""

    tags: dict[str, str]


class FirstSignal(Body, frozen=True, kw_only=True):
    """A signal that is sent with the start: by its `key` once."""

    name: Name
    value: Any = None
    key: Name | None = None


class SendSignal(Body, frozen=True, kw_only=True):
    """`key`: what is sent again under it is not sent."""

    value: Any = None
    key: Name | None = None


class SignalSent(msgspec.Struct, frozen=True, kw_only=True):
    """`sent` is false where it was sent under its key before."""

    sent: bool


class PrintedPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of output: `chars` characters from `offset` on; `text` is empty where they were not kept."""

    offset: int
    stream: str
    text: str
    chars: int


class PrintedPage(msgspec.Struct, frozen=True, kw_only=True):
    """Output from an offset. `ended`: nothing follows."""

    pieces: list[PrintedPiece]
    next_offset: int
    ended: bool


class PrintedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Output as a stream tells it, with the `execution` that printed it.

    Without a `stream`: what that execution printed from `offset` on is taken back, and what follows takes its place.
    """

    execution: str
    offset: int = 0
    stream: str = ""
    text: str = ""
    chars: int = 0


class StoreEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an execution or a question. `kind`: `execution.settled`, `prompt.asked`… `ready`, `reset`."""

    kind: str
    at: str
    execution: str = ""
    state: str = ""
    function: str = ""
    session: str | None = None
    prompt: str | None = None


# -- promises and questions -------------------------------------------------------------------------------------------


class SettlePromise(Body, frozen=True, kw_only=True):
    """A value, or the text of an error."""

    value: Any = None
    error: str | None = None


class PromiseSettled(msgspec.Struct, frozen=True, kw_only=True):
    """The promise is settled, now or by the same request before."""

    settled: bool


class PromptDetail(PromptView, frozen=True):
    """A question, open or settled. `state`: open, answered, declined, expired, cancelled, or rejected (its promise was
    settled past the inbox, with an error)."""

    state: str = "open"
    value: Any = None
    """The answer; never that to a secret."""
    by: str | None = None
    why: str = ""
    settled_at: str | None = None


class GiveAnswer(Body, frozen=True, kw_only=True):
    """An answer. `by` and `teams` are for admins who answer for others."""

    value: Any = None
    by: Name | None = None
    teams: list[str] = []
    decline: bool = False
    why: str = ""


class AnswerTaken(msgspec.Struct, frozen=True, kw_only=True):
    """`settled` is false while others are waited for."""

    settled: bool


class GivenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One of the answers to a question."""

    by: str | None
    value: Any
    declined: bool
    why: str
    via: str
    at: str


# -- sessions ---------------------------------------------------------------------------------------------------------


class OpenSession(Body, frozen=True, kw_only=True):
    """A session to make, or to find. `limits` are those of `durable.Limits`, `permissions` a manifest."""

    name: GivenId
    grants: list[str] = []
    level: Level | None = None
    permissions: dict[str, Any] | None = None
    profile: Literal["open", "isolated"] | None = None
    limits: dict[str, float] | None = None
    output: Literal["block", "drop_new", "drop_oldest", "error"] | None = None
    language: Literal["python", "javascript"] | None = None


class SessionDetail(SessionView, frozen=True):
    """A session, and what it was made with."""

    language: str = "python"
    profile: str = "open"
    limits: dict[str, Any] = msgspec.field(default_factory=dict)
    grants: list[str] = msgspec.field(default_factory=list)


class RunCell(Body, frozen=True, kw_only=True):
    """Code to run. `id`: what stands behind `<session>@` in the execution's id. `checkpoint`: seconds of work between
    two of them, or after every statement."""

    code: str
    inputs: dict[str, Any] = {}
    timeout: Seconds | None = None
    checkpoint: Literal["auto", "statement"] | Seconds = "auto"
    transaction: Literal["commit_always", "rollback_on_failure", "rollback_always"] = "commit_always"
    on_busy: Literal["queue", "error"] = "queue"
    id: GivenId | None = None


class LostVariable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that is in no checkpoint, and why."""

    name: str
    kind: str
    reason: str
    execution: str = ""


class VariableView(msgspec.Struct, frozen=True, kw_only=True):
    """A variable: `repr` is short, `size` an estimate in bytes."""

    name: str
    type: str
    repr: str
    size: int


class ModuleView(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that is a module."""

    name: str
    module: str
    version: str


class VariableSet(msgspec.Struct, frozen=True, kw_only=True):
    """The variables as of a checkpoint (`checkpoint`, null where there is none).

    `variables` is empty and `problem` says why where only names are known.
    """

    session: str
    checkpoint: int | None
    names: list[str]
    modules: list[ModuleView]
    lost: list[LostVariable]
    variables: list[VariableView]
    problem: str | None = None


class SetVariables(Body, frozen=True, kw_only=True):
    """Variables to set, JSON values. `preserve` sets only new names, `smart` keeps a value from null and empty ones."""

    values: dict[str, Any]
    strategy: Literal["overwrite", "preserve", "smart"] = "overwrite"


class VariablesSet(msgspec.Struct, frozen=True, kw_only=True):
    """The variables whose value changed, with the new one."""

    changed: dict[str, Any]


class MakeCheckpoint(Body, frozen=True, kw_only=True):
    """`label`: by which it is found and kept."""

    label: Name | None = None


class CheckpointView(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint: after which statement of which execution it was made; `final` after the last one."""

    id: int
    label: str | None
    execution: str
    statement: int
    final: bool
    created_at: str


class CheckpointContents(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint and what is in it. `size`: bytes."""

    checkpoint: CheckpointView
    names: list[str]
    modules: list[ModuleView]
    lost: list[LostVariable]
    size: int


class CheckpointMade(msgspec.Struct, frozen=True, kw_only=True):
    """The number of a new checkpoint."""

    session: str
    checkpoint: int
    label: str | None


class LabelCheckpoint(Body, frozen=True, kw_only=True):
    """null takes the label away."""

    label: Name | None


class RestoreCheckpoint(Body, frozen=True, kw_only=True):
    """How to restore; see `Session.restore`."""

    clear_existing: bool = False
    override_environment: bool = False
    recompute: bool = False


class CheckpointRestored(msgspec.Struct, frozen=True, kw_only=True):
    """Names that are as they were, names that were made anew (and how), and names that are lost (and why)."""

    restored: list[str]
    rebuilt: list[tuple[str, str]]
    lost: list[LostVariable]
    recomputed: list[tuple[str, str]]


class VariableChange(msgspec.Struct, frozen=True, kw_only=True):
    """A name that differs between two checkpoints, as short reprs; null where it is not there."""

    kind: Literal["added", "removed", "changed"]
    name: str
    before: str | None
    after: str | None


class ForkSession(Body, frozen=True, kw_only=True):
    """`name`: of the new session. `checkpoint`: a number or label, the newest where null."""

    name: GivenId
    checkpoint: int | str | None = None


class ChangePermission(Body, frozen=True, kw_only=True):
    """A grant (`fetch`, `fetch:api.example.com`, `level:trusted`). `seconds`: for so long only."""

    grant: Name
    seconds: Seconds | None = None


class PermissionChanged(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: granted or revoked."""

    session: str
    grant: str
    state: str


# -- schedules, actors, and the store as a whole ----------------------------------------------------------------------


type Overlap = Literal["allow", "skip", "queue", "cancel"]


class PutSchedule(Body, frozen=True, kw_only=True):
    """`cron`: five fields in UTC, `@daily` and the like, or with `CRON_TZ=Europe/Paris` before it, or `@every 15s`.

    `missed`: ticks that passed while nothing ran. `overlap`: a tick while an execution goes on. `jitter`: seconds by
    which it may begin later. `timeout`: seconds that each execution has. `paused`: null for as it is.
    """

    cron: Name
    function: Name
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    missed: Literal["once", "all", "skip"] = "once"
    overlap: Overlap = "allow"
    jitter: Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400)] = 0.0
    timezone: Name | None = None
    timeout: Seconds | None = None
    paused: bool | None = None


class CreateSchedule(PutSchedule, frozen=True, kw_only=True):
    """The same with its `id`."""

    id: GivenId


class BackfillSchedule(Body, frozen=True, kw_only=True):
    """The ticks from `since` up to `until`, which is not one of them."""

    since: Moment
    until: Moment
    overlap: Overlap = "queue"


class Triggered(msgspec.Struct, frozen=True, kw_only=True):
    """The execution that was started; null where the schedule skips, since one goes on."""

    execution: str | None


class Backfilled(msgspec.Struct, frozen=True, kw_only=True):
    """The executions that were started, in the order of their ticks."""

    executions: list[str]


class NextTicks(msgspec.Struct, frozen=True, kw_only=True):
    """The next ticks of a schedule, in UTC."""

    items: list[str]


type QueueLimit = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]


class SetQueue(Body, frozen=True, kw_only=True):
    """Limits to change; null is no limit, what is left out stays. `rate`: [count, seconds]."""

    concurrency: QueueLimit | msgspec.UnsetType | None = msgspec.UNSET
    per_engine: QueueLimit | msgspec.UnsetType | None = msgspec.UNSET
    per_key: QueueLimit | msgspec.UnsetType | None = msgspec.UNSET
    rate: tuple[int, float] | msgspec.UnsetType | None = msgspec.UNSET


class SendMessage(Body, frozen=True, kw_only=True):
    """A message to an actor. `id`: one of an id is sent once."""

    method: Name
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    id: GivenId | None = None


class MessageSent(msgspec.Struct, frozen=True, kw_only=True):
    """The execution that answers a message."""

    id: str


class StopActor(Body, frozen=True, kw_only=True):
    """`force`: end a turn that has begun, too."""

    note: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    force: bool = False


class RestartActor(Body, frozen=True, kw_only=True):
    """`reset`: without the state."""

    reset: bool = False


class ActorView(msgspec.Struct, frozen=True, kw_only=True):
    """An actor. `saved`: how often its state was; `waiting`: messages in its mailbox."""

    name: str
    kind: str
    key: str
    status: str
    note: str
    state: Any
    version: int
    saved: int
    restarted: int
    parent: str | None
    waiting: int
    created_at: str
    updated_at: str


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that no turn answered."""

    number: int
    actor: str
    id: str
    method: str
    args: list[Any]
    kwargs: dict[str, Any]
    reason: str
    at: str


class FunctionView(msgspec.Struct, frozen=True, kw_only=True):
    """A function that living engines serve, and how many of them."""

    id: str
    name: str
    engines: int


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment. `new_work`: those of its functions of which new executions go to it. `engines`: the living ones.

    `open`: how many of its executions have not ended, by state. `stranded`: there are such, and no engine is alive.
    """

    name: str
    functions: list[str]
    new_work: list[str]
    engines: list[str]
    open: dict[str, int]
    stranded: bool
    created_at: str
    joined_at: str


class MoveExecutions(Body, frozen=True, kw_only=True):
    """Executions to go on with a deployment's code: those with these `ids`, or those of the deployment `from` ("": of
    none) that have not ended, at most `limit`; `cursor` is `next` of the answer before. `dry_run`: only say which."""

    ids: Annotated[list[Annotated[str, msgspec.Meta(max_length=400)]], msgspec.Meta(max_length=1_000)] = []
    old: Annotated[str, msgspec.Meta(max_length=200)] | None = msgspec.field(name="from", default=None)
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100
    cursor: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None
    dry_run: bool = False


class UpgradeExecution(Body, frozen=True, kw_only=True):
    """`function`: the version that it is to go on as, all of `where::name@version`. `dry_run`: only say whether."""

    function: Name
    dry_run: bool = False


class ExecutionMove(msgspec.Struct, frozen=True, kw_only=True):
    """The check, the upgrade or the move of one execution. `ok`: it goes on with that code; else `reason` says why.

    `old_patches`: the patches of which it goes the old way.
    """

    id: str
    function: str
    verdict: Literal["replays", "differs", "fails", "unknown"]
    ok: bool
    reason: str
    old_patches: list[str]


class MoveOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The moves of several executions. `next`: the cursor to go on with, null at the end."""

    items: list[ExecutionMove]
    dry_run: bool
    next: str | None = None


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """How long executions of a function that ended in a state are kept, in seconds; null for ever.

    `function`: `*` for those that say nothing themselves.
    """

    function: str
    state: Literal["completed", "failed", "lost", "cancelled", "timed_out"]
    seconds: float | None


class EngineView(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that joined. `deployment` is empty for those of none."""

    id: str
    group: str
    pid: int
    alive: bool
    functions: list[str]
    joined_at: str
    deployment: str = ""


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """The worker process of a session. Memory (bytes), CPU time (seconds) and `stuck`: of those on this machine."""

    session: str
    pid: int
    engine: str | None
    alive: bool
    memory: int | None
    cpu_time: float | None
    stuck: str | None


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """A decision about a call, a change of permissions, or a request of a token's holder (`token:NAME`)."""

    id: int
    at: str
    who: str
    execution: str
    what: str
    resource: str
    verdict: str
    reason: str
    policy: int
    times: int


class ProblemFound(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong with the store."""

    check: str
    message: str


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of the doctor; none where all is well."""

    findings: list[ProblemFound]


class FunctionFigure(msgspec.Struct, frozen=True, kw_only=True):
    """How many executions of a function are in a state."""

    function: str
    state: str
    count: int


class StoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a store, as `/metrics` has them. Ages in seconds."""

    executions: list[FunctionFigure]
    queue_depth: int
    queue_age: float
    leases: int
    prompts: int
    prompts_age: float
    sessions: int
    workers: int
    checkpoints: int
    schedules: int
    engines: int


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever asks: the name and role of their token."""

    name: str
    role: Literal["read", "answer", "operate", "admin"]
    teams: list[str]
    version: str
