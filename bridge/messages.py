"""The messages of specs/worker-protocol.md: one model per type, the single source of their fields.

Everything that comes from a worker goes through `parse_from_worker`; unknown types and fields are refused.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from bridge.modes import Mode
from durable.core.clock import now_ms
from durable.core.errors import NotEncodable, ProtocolError
from durable.core.limits import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, PLAIN_BYTES_MAX

PROTOCOL_VERSION = 1

type ExecutionId = Annotated[str, Field(max_length=400)]
type Stream = Literal["stdout", "stderr"]
type Count = Annotated[int, Field(ge=0)]
type Transaction = Literal["commit_always", "rollback_on_failure", "rollback_always"]

_ids = itertools.count(1)


def _next_id() -> str:
    return f"e{next(_ids)}"


class Message(BaseModel):
    """What every message has: `id` unique for its sender, `timestamp` in ms since the epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=True)

    id: Annotated[str, Field(max_length=400)] = Field(default_factory=_next_id)
    timestamp: int = Field(default_factory=now_ms)


class Hello(Message):
    """First message of each side. `capabilities` are the names that become functions of user code.

    `confinement` is how the worker has to confine itself before anything else (bridge/confine/confinement.py), `output`
    what it does when its output is not taken (bridge/output_rules.py).
    """

    type: Literal["hello"] = "hello"
    version: int = PROTOCOL_VERSION
    frame_bytes_max: int = FRAME_BYTES_MAX
    session: str = ""
    capabilities: list[str | dict[str, JsonValue]] = []
    confinement: dict[str, JsonValue] = {}
    output: dict[str, JsonValue] = {}


class Ready(Message):
    """The worker has taken the engine's hello."""

    type: Literal["ready"] = "ready"
    session_id: str
    capabilities: list[str]
    pid: int
    python: str


class Execute(Message):
    """Run `code`; `id` is the execution's id.

    `start_statement`, `start_iteration` (of its resumable loop) and `counters` (calls made so far, per capability) are
    the position to continue at; `inputs` are assigned before statement 0 and not on continuation. `capabilities`
    replaces the granted ones when given: names, or what `help` shows of each (`capabilities.Capability.described`).
    `transaction` is as specs/namespace.md says; with `recompute`, which is a `rollback_always`, what the code makes of
    these names stays if they were not there, and the history does not know of it.
    `checkpoint_every_s` replaces the rule of "auto", and before a statement that reaches one of `checkpoint_before`
    there is one in any case. `output_offset` is where this run's output continues, in characters.
    """

    type: Literal["execute"] = "execute"
    code: str
    start_statement: Count = 0
    start_iteration: Count = 0
    counters: dict[str, Count] = Field(default_factory=dict)  # a mutable default would be deep-copied each time
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    checkpoint: Literal["auto", "statement", "none"] = "auto"
    checkpoint_every_s: Annotated[float, Field(gt=0)] | None = None
    checkpoint_before: list[str] = []
    filename: str = ""
    capabilities: list[str | dict[str, JsonValue]] | None = None
    output_offset: Count = 0
    transaction: Transaction = "commit_always"
    recompute: list[str] = []


class Output(Message):
    """Text written by code of `execution_id`, after `dropped` characters that nobody gets.

    `offset` (characters before both) is counted by the host. Of stream `display` the text is one bundle as JSON
    (specs/namespace.md, D1), of stream `failure` it says which thread or task ended with an error. `execution_id` is
    empty where no execution ran.
    """

    type: Literal["output"] = "output"
    execution_id: ExecutionId
    stream: Stream | Literal["display", "failure"]
    data: str
    dropped: Count = 0
    offset: Count = 0

    @property
    def chars(self) -> int:
        """Characters from this message's offset to the next one's."""
        return self.dropped + len(self.data)


class Piped(Message):
    """Bytes that the worker took from the pipe of a descriptor, to keep their order; the host decodes all of them."""

    type: Literal["piped"] = "piped"
    stream: Stream
    data: bytes


class Call(Message):
    """Code asks the host. `call` numbers the calls of this worker; `ordered` as specs/session.md says."""

    type: Literal["call"] = "call"
    execution_id: ExecutionId
    call: Count
    capability: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    arguments: dict[str, JsonValue]
    ordered: bool


class CallError(BaseModel):
    """Why a call failed: `kind` chooses what is raised (EOFError, TimeoutError, PermissionError, RuntimeError).

    "ended": its execution was over when the call came; where it was made by a thread or task it is made again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["eof", "timeout", "denied", "error", "ended"] = "error"
    exception_type: str = "RuntimeError"
    exception_message: str = ""


class CallResult(Message):
    """The answer to `call`: a value, or an error."""

    type: Literal["call_result"] = "call_result"
    call: Count
    value: JsonValue = None
    error: CallError | None = None


class Waiting(Message):
    """The code can do nothing more before one of `calls` is answered."""

    type: Literal["waiting"] = "waiting"
    execution_id: ExecutionId
    calls: list[Count]


class RolledBack(BaseModel):
    """What a transaction put back: names whose contents were loaded, and names that could not be, each with why.

    `recomputed`: of the names to be made again those that are there now.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    restored: list[str]
    kept: list[list[str]]
    recomputed: list[str] = []


class Result(Message):
    """The execution ended; `value` is null when it is not plain JSON. `execution_time` in seconds, without waiting.

    `undrained` counts the characters that were not taken in time and given up.
    `mode` and `warnings` say what the code is, `rollback` what its transaction put back (specs/namespace.md).
    """

    type: Literal["result"] = "result"
    execution_id: ExecutionId
    value: JsonValue
    repr: str
    execution_time: float
    statement: Count = 0
    undrained: Count = 0
    mode: Mode = "simple_sync"
    warnings: list[str] = Field(default_factory=list)
    rollback: RolledBack | None = None


class Error(Message):
    """The execution failed at `statement`; `traceback` holds the user's own lines."""

    type: Literal["error"] = "error"
    execution_id: ExecutionId | None = None
    exception_type: str
    exception_message: str
    traceback: str
    execution_time: float = 0.0
    statement: Count = 0
    undrained: Count = 0
    mode: Mode = "simple_sync"
    warnings: list[str] = Field(default_factory=list)
    rollback: RolledBack | None = None


class Lost(BaseModel):
    """A variable that a checkpoint could not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    kind: str
    reason: str


class Checkpoint(Message):
    """From the worker: the namespace before `statement`, or after `iteration` rounds of its loop. From the engine: make
    one now.

    `data` is opaque to the bridge. `outcome` (of the final one) is the Result or Error that follows, as a map.
    `output_offset` is filled in by the host. `problem` says why there is no data. `stream` is a descriptor of the
    worker: the read end of a pipe through which a forked child sends the data. `label` is what code asked for.
    """

    type: Literal["checkpoint"] = "checkpoint"
    execution_id: ExecutionId = ""
    statement: Count = 0
    iteration: Count = 0
    final: bool = False
    counters: dict[str, Count] = {}
    output_offset: Count = 0
    outcome: dict[str, JsonValue] | None = None
    data: bytes = b""
    lost: list[Lost] = []
    cost_ns: Count = 0
    problem: str = ""
    stream: Annotated[int, Field(ge=0, le=2**20)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class CheckpointAck(Message):
    """The checkpoint whose id is `checkpoint` is durable; or, with a `problem`, its stream did not come whole."""

    type: Literal["checkpoint_ack"] = "checkpoint_ack"
    checkpoint: str
    problem: str = ""


class Restore(Message):
    """Bring back what `data` holds, by merging; `clear_existing` removes the user's names first.

    `memory`: that many bytes come in a memory file instead; once the worker is `ready` for its descriptor the message
    comes again with the descriptor `attached`.

    `override_environment`: also where Python or packages are others than it was made with.
    """

    type: Literal["restore"] = "restore"
    data: bytes = b""
    memory: Count = 0
    attached: bool = False
    clear_existing: bool = False
    override_environment: bool = False


class Restored(Message):
    """The report of a restore (`restored`, `rebuilt`, `lost`), or `problem` when nothing was changed.

    `ready`: nothing was done yet, the descriptor of the data is awaited.
    """

    type: Literal["restored"] = "restored"
    restore: str
    report: dict[str, JsonValue] = {}
    problem: str = ""
    ready: bool = False


class Lend(Message):
    """Something to read, in a memory file of `memory` bytes: as `restore` says, `attached` the second time."""

    type: Literal["lend"] = "lend"
    name: str
    memory: Count
    attached: bool = False


class Lent(Message):
    """The worker is `ready` for the descriptor, has what was lent, or says what the `problem` is."""

    type: Literal["lent"] = "lent"
    lend: str
    problem: str = ""
    ready: bool = False


class Namespace(Message):
    """Read or change the namespace between executions: `names` of `values`, the rest of `update`.

    `limits`: the largest `name` (characters), `value` and `namespace` (bytes) where they are limited.
    """

    type: Literal["namespace"] = "namespace"
    action: Literal["values", "update", "clear", "variables", "sources"]
    names: list[str] = []
    updates: dict[str, JsonValue] = {}
    source: str = "user"
    strategy: Literal["overwrite", "preserve", "smart"] = "overwrite"
    limits: dict[str, int] = {}


class NamespaceReply(Message):
    """The answer to `request`; with a `problem` nothing was changed.

    `exceeded`: a limit, what it allows, what it was.
    """

    type: Literal["namespace_reply"] = "namespace_reply"
    request: str
    value: JsonValue = None
    problem: str = ""
    exceeded: list[str | float] | None = None


class Heartbeat(Message):
    """Asked for by the engine with zeros; memory in bytes, CPU time in seconds, names in the namespace.

    `background`: tasks, timers, descriptors, threads and child processes of the user's code that are alive.
    """

    type: Literal["heartbeat"] = "heartbeat"
    memory_usage: Count = 0
    cpu_time: float = 0.0
    namespace_size: Count = 0
    background: Count = 0


class Complete(Message):
    """What could stand for the dotted name `text`, at most; asked of an idle worker."""

    type: Literal["complete"] = "complete"
    text: Annotated[str, Field(max_length=1_000)]


class Completions(Message):
    """The answer to `complete`: whole dotted names, at most `COMPLETIONS_MAX`."""

    type: Literal["completions"] = "completions"
    complete: str
    names: list[str]


class Shutdown(Message):
    """End the worker."""

    type: Literal["shutdown"] = "shutdown"
    reason: str = ""


type FromWorker = Annotated[
    Hello
    | Ready
    | Output
    | Piped
    | Call
    | Waiting
    | Result
    | Error
    | Checkpoint
    | Restored
    | Lent
    | NamespaceReply
    | Completions
    | Heartbeat,
    Field(discriminator="type"),
]
type ToWorker = Annotated[
    Hello
    | Execute
    | CallResult
    | Checkpoint
    | CheckpointAck
    | Restore
    | Lend
    | Namespace
    | Complete
    | Heartbeat
    | Shutdown,
    Field(discriminator="type"),
]

_from_worker: TypeAdapter[FromWorker] = TypeAdapter(FromWorker)
_to_worker: TypeAdapter[ToWorker] = TypeAdapter(ToWorker)
_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder().encode


def encode_message(message: Message) -> bytes:
    """A message's msgpack payload. Raises NotEncodable for text with surrogates and integers beyond 64 bits."""
    try:
        return _encode(message.model_dump())
    except (UnicodeEncodeError, OverflowError, TypeError) as error:
        raise NotEncodable(f"a {type(message).__name__} message that cannot be sent: {error}") from None


def _parse(payload: bytes, adapter: TypeAdapter[Any]) -> Any:
    try:
        return adapter.validate_python(_decode(payload))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "message"
        raise ProtocolError(f"a message that is not allowed: {where}: {first['msg']}") from None
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise ProtocolError(f"a payload that is not a message: {error}") from None


_LARGE = (b"\xa4type\xaacheckpoint", b"\xa4type\xafnamespace_reply")
"""How the messages that hold namespaces begin, after the map's own byte: the worker says what they are first."""


def limit_from_worker(first: bytes) -> int:
    """What a message that begins so may have in all, in bytes."""
    return MESSAGE_BYTES_MAX if first[1:].startswith(_LARGE) else PLAIN_BYTES_MAX


def parse_from_worker(payload: bytes) -> FromWorker:
    """The message that a worker sent. Raises ProtocolError for anything else."""
    message: FromWorker = _parse(payload, _from_worker)
    if len(payload) > PLAIN_BYTES_MAX and not isinstance(message, Checkpoint | NamespaceReply):
        raise ProtocolError(f"a message of type {message.type} of {len(payload)} bytes")
    return message


def parse_to_worker(payload: bytes) -> ToWorker:
    """The message that an engine sent. Raises ProtocolError for anything else."""
    return _parse(payload, _to_worker)  # type: ignore[no-any-return]
