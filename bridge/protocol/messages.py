"""The messages of specs/worker-protocol.md: one struct per type, the single source of their fields.

Everything that comes from a worker goes through `parse_from_worker`: unknown types and fields are refused, and every
number, text and list has a bound, which no honest worker reaches (specs/worker-protocol.md, H1-H7).
"""

import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from bridge.code.cell_mode import Mode
from bridge.protocol.decoded_size import Oversized, check_size
from durable.core.clock import now_ms
from durable.core.errors import NotEncodable, ProtocolError
from durable.core.limits import (
    COMPLETIONS_MAX,
    DISPLAY_CHARS_MAX,
    ERROR_CHARS_MAX,
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    PLAIN_BYTES_MAX,
    WARNINGS_MAX,
)

PROTOCOL_VERSION = 1

COUNT_MAX = 2**53
"""The largest count that JSON readers hold exactly and a checkpoint's manifest takes."""

CHARS_MAX = 2**52
"""Characters of one execution's output: leaves room below COUNT_MAX for what comes through its pipes."""

STATEMENTS_MAX = 2**31
"""Statements of one cell: its code fits into one message."""

CAPABILITIES_MAX = 10_000
NAMES_MAX = 100_000
"""Names of one namespace, in one message."""

CALLS_OPEN_MAX = 4_096
"""Calls that one worker may have open; more are refused at once."""

NAME_CHARS_MAX = 2_000
DATA_CHARS_MAX = 2 * DISPLAY_CHARS_MAX
"""Characters of one output message: a display's bundle is the longest."""

TEXT_CHARS_MAX = 10 * ERROR_CHARS_MAX
"""A repr, an error's message, its traceback: the worker cuts them to 100,000, and escapes make six of one."""

type JsonValue = Any
"""What JSON has; `_parse` looks into it."""

type Id = Annotated[str, Meta(max_length=400)]
type ExecutionId = Id
type Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
type Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
type Names = Annotated[list[Name], Meta(max_length=NAMES_MAX)]
type Stream = Literal["stdout", "stderr"]
type Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
type StatementIndex = Annotated[int, Meta(ge=0, le=STATEMENTS_MAX)]
type Seconds = Annotated[float, Meta(ge=0, le=COUNT_MAX)]
type Counters = Annotated[dict[Name, Count], Meta(max_length=CAPABILITIES_MAX)]
type Warnings = Annotated[list[Text], Meta(max_length=WARNINGS_MAX)]
type Wire = dict[str, Any]
"""A message as a map of its fields: what the worker's code sees, and gives to be sent."""

type Transaction = Literal["commit_always", "rollback_on_failure", "rollback_always"]

_ids = itertools.count(1)


def _next_id() -> str:
    return f"e{next(_ids)}"


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """The fields of every message: `id` unique for its sender, `timestamp` in ms since the epoch."""

    id: Id = field(default_factory=_next_id)
    timestamp: Count = field(default_factory=now_ms)

    @property
    def type(self) -> str:
        """Which message it is, as it stands on the wire."""
        tag = self.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First message of each side. `capabilities` are the names that become functions of user code.

    `confinement` is how the worker has to confine itself before anything else (bridge/confine/confinement.py), `output`
    what it does when its output is not taken (bridge/protocol/output_rules.py).
    """

    version: Count = PROTOCOL_VERSION
    frame_bytes_max: Count = FRAME_BYTES_MAX
    session: Name = ""
    capabilities: Annotated[list[str | dict[str, JsonValue]], Meta(max_length=CAPABILITIES_MAX)] = []
    confinement: dict[str, JsonValue] = {}
    output: dict[str, JsonValue] = {}


class Ready(Message, frozen=True, kw_only=True, tag="ready"):
    """The worker has taken the engine's hello."""

    session_id: Name
    capabilities: Annotated[list[Name], Meta(max_length=CAPABILITIES_MAX)]
    pid: Count
    python: Name


TRACEPARENT_CHARS_MAX = 100
"""Characters of a trace context: version 00 has 55, later ones may have a little more."""


class Execute(Message, frozen=True, kw_only=True, tag="execute"):
    """Run `code`; `id` is the execution's id.

    `start_statement`, `start_iteration` (of its resumable loop) and `counters` (calls made so far, per capability) are
    the position to continue at; `inputs` are assigned before statement 0 and not on continuation. `capabilities`
    replaces the granted ones when given: names, or what `help` shows of each (`capabilities.Capability.described`).
    `transaction` is as specs/namespace.md says; with `recompute`, which is a `rollback_always`, what the code makes of
    these names stays if they were not there, and the history does not know of it.
    `checkpoint_every_s` replaces the rule of "auto", and before a statement that reaches one of `checkpoint_before`
    there is one in any case. `output_offset` is where this run's output continues, in characters. `traceparent` is the
    trace context, as W3C writes it, in which the code runs; "" where nobody traces. Without `history` the code is no
    cell of `In` and `Out`, and has no number.
    """

    code: str
    start_statement: StatementIndex = 0
    start_iteration: Count = 0
    counters: Counters = field(default_factory=dict)  # a mutable default would be deep-copied each time
    inputs: dict[str, JsonValue] = field(default_factory=dict)
    checkpoint: Literal["auto", "statement", "none"] = "auto"
    checkpoint_every_s: Annotated[float, Meta(gt=0)] | None = None
    checkpoint_before: list[str] = []
    filename: str = ""
    capabilities: list[str | dict[str, JsonValue]] | None = None
    output_offset: Count = 0
    transaction: Transaction = "commit_always"
    recompute: list[str] = []
    traceparent: Annotated[str, Meta(max_length=TRACEPARENT_CHARS_MAX)] = ""
    history: bool = True


class Output(Message, frozen=True, kw_only=True, tag="output"):
    """Text written by code of `execution_id`, after `dropped` characters that nobody gets.

    `offset` (characters before both) is counted by the host. Of stream `display` the text is one bundle as JSON
    (specs/namespace.md, D1), of stream `failure` it says which thread or task ended with an error. `execution_id` is
    empty where no execution ran.
    """

    execution_id: ExecutionId
    stream: Stream | Literal["display", "failure"]
    data: Annotated[str, Meta(max_length=DATA_CHARS_MAX)]
    dropped: Annotated[int, Meta(ge=0, le=CHARS_MAX)] = 0
    offset: Count = 0

    @property
    def chars(self) -> int:
        """Characters from this message's offset to the next one's."""
        return self.dropped + len(self.data)


class Piped(Message, frozen=True, kw_only=True, tag="piped"):
    """Bytes that the worker took from the pipe of a descriptor, to keep their order; the host decodes all of them."""

    stream: Stream
    data: bytes


class Call(Message, frozen=True, kw_only=True, tag="call"):
    """Code asks the host. `call` numbers the calls of this worker; `ordered` as specs/session.md says."""

    execution_id: ExecutionId
    call: Count
    capability: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    arguments: dict[str, JsonValue]
    ordered: bool


class CallError(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why a call failed: `kind` chooses what is raised (EOFError, TimeoutError, PermissionError, RuntimeError).

    "ended": its execution was over when the call came; where it was made by a thread or task it is made again.
    """

    kind: Literal["eof", "timeout", "denied", "error", "ended"] = "error"
    exception_type: str = "RuntimeError"
    exception_message: str = ""


class CallResult(Message, frozen=True, kw_only=True, tag="call_result"):
    """The answer to `call`: a value, or an error."""

    call: Count
    value: JsonValue = None
    error: CallError | None = None


class Waiting(Message, frozen=True, kw_only=True, tag="waiting"):
    """The code can do nothing more before one of `calls` is answered."""

    execution_id: ExecutionId
    calls: Annotated[list[Count], Meta(max_length=CALLS_OPEN_MAX)]


class ValueText(Message, frozen=True, kw_only=True, tag="value"):
    """The text of the value that a notebook's code came to, before what it leaves is captured; its `result` follows."""

    execution_id: ExecutionId
    repr: Text


class RolledBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rollback of a transaction: names whose contents were loaded, and names that could not be, each with why.

    `recomputed`: of the names to be made again those that are there now.
    """

    restored: Names
    kept: Annotated[list[Annotated[list[Text], Meta(min_length=2, max_length=2)]], Meta(max_length=NAMES_MAX)]
    recomputed: Names = []


class Ended(Message, frozen=True, kw_only=True):
    """How code ended: what a result and an error have in common. `execution_time` in seconds, without waiting.

    `undrained` counts the characters that were not taken in time and given up.
    `mode` and `warnings` say what the code is, `rollback` what its transaction put back (specs/namespace.md).
    """

    statement: StatementIndex = 0
    undrained: Count = 0
    mode: Mode = "simple_sync"
    warnings: Warnings = field(default_factory=list)
    rollback: RolledBack | None = None


class Result(Ended, frozen=True, kw_only=True, tag="result"):
    """The code ran to its end; `value` is null when it is not plain JSON."""

    execution_id: ExecutionId
    value: JsonValue
    repr: Text
    execution_time: Seconds


class Error(Ended, frozen=True, kw_only=True, tag="error"):
    """The code failed at `statement`; `traceback` holds the user's own lines."""

    execution_id: ExecutionId | None = None
    exception_type: Text
    exception_message: Text
    traceback: Text
    execution_time: Seconds = 0.0


class Lost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A variable that a checkpoint could not hold."""

    name: Name
    kind: Text
    reason: Text


class Checkpoint(Message, frozen=True, kw_only=True, tag="checkpoint"):
    """From the worker: the namespace before `statement`, or after `iteration` rounds of its loop. From the engine: make
    one now.

    `data` is opaque to the bridge. `outcome` (of the final one) is what the Result or Error that follows says.
    `output_offset` is filled in by the host. `problem` says why there is no data. `stream` is a descriptor of the
    worker: the read end of a pipe through which a forked child sends the data. `label` is what code asked for.
    """

    execution_id: ExecutionId = ""
    statement: StatementIndex = 0
    iteration: Count = 0
    final: bool = False
    counters: Counters = {}
    output_offset: Count = 0
    outcome: Result | Error | None = None
    data: bytes = b""
    lost: Annotated[list[Lost], Meta(max_length=NAMES_MAX)] = []
    cost_ns: Count = 0
    problem: Text = ""
    stream: Annotated[int, Meta(ge=0, le=2**20)] | None = None
    label: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class CheckpointAck(Message, frozen=True, kw_only=True, tag="checkpoint_ack"):
    """The checkpoint whose id is `checkpoint` is durable; or, with a `problem`, its stream did not come whole."""

    checkpoint: str
    problem: str = ""


class Restore(Message, frozen=True, kw_only=True, tag="restore"):
    """Bring back what `data` holds, by merging; `clear_existing` removes the user's names first.

    `memory`: that many bytes come in a memory file instead; once the worker is `ready` for its descriptor the message
    comes again with the descriptor `attached`.

    `override_environment`: also where Python or packages are others than it was made with.
    """

    data: bytes = b""
    memory: Count = 0
    attached: bool = False
    clear_existing: bool = False
    override_environment: bool = False


class Restored(Message, frozen=True, kw_only=True, tag="restored"):
    """The report of a restore (`restored`, `rebuilt`, `lost`), or `problem` when nothing was changed.

    `ready`: nothing was done yet, the descriptor of the data is awaited.
    """

    restore: Id
    report: dict[str, JsonValue] = {}
    problem: Text = ""
    ready: bool = False


class Lend(Message, frozen=True, kw_only=True, tag="lend"):
    """Something to read, in a memory file of `memory` bytes: as `restore` says, `attached` the second time."""

    name: str
    memory: Count
    attached: bool = False


class Lent(Message, frozen=True, kw_only=True, tag="lent"):
    """The worker is `ready` for the descriptor, has what was lent, or says what the `problem` is."""

    lend: Id
    problem: Text = ""
    ready: bool = False


class Namespace(Message, frozen=True, kw_only=True, tag="namespace"):
    """Read or change the namespace between executions: `names` of `values`, the rest of `update`.

    `limits`: the largest `name` (characters), `value` and `namespace` (bytes) where they are limited.
    """

    action: Literal["values", "update", "clear", "variables", "sources"]
    names: list[str] = []
    updates: dict[str, JsonValue] = {}
    source: str = "user"
    strategy: Literal["overwrite", "preserve", "smart"] = "overwrite"
    limits: dict[str, int] = {}


class NamespaceReply(Message, frozen=True, kw_only=True, tag="namespace_reply"):
    """The answer to `request`; with a `problem` nothing was changed.

    `exceeded`: a limit, what it allows, what it was.
    """

    request: Id
    value: JsonValue = None
    problem: Text = ""
    exceeded: Annotated[list[Name | float], Meta(max_length=3)] | None = None


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Asked for by the engine with zeros; memory in bytes, CPU time in seconds, names in the namespace.

    `background`: tasks, timers, descriptors, threads and child processes of the user's code that are alive.
    """

    memory_usage: Count = 0
    cpu_time: Seconds = 0.0
    namespace_size: Count = 0
    background: Count = 0


class Complete(Message, frozen=True, kw_only=True, tag="complete"):
    """Asks an idle worker for completions of the dotted name `text`."""

    text: Annotated[str, Meta(max_length=1_000)]


class Completions(Message, frozen=True, kw_only=True, tag="completions"):
    """The answer to `complete`: whole dotted names, at most `COMPLETIONS_MAX`."""

    complete: Id
    names: Annotated[list[Name], Meta(max_length=COMPLETIONS_MAX)]


class FrontEnd(Message, frozen=True, kw_only=True, tag="front_end"):
    """Asks an idle worker on behalf of a notebook's front end (specs/jupyter.md).

    `count`: cells in its history. `complete`, `inspect`: about the code at a cursor. `expressions`: values to show
    after a cell. `comm`: a message of a widget, whose callbacks run before the reply. `arguments` are the front end's.
    """

    what: Literal["count", "complete", "inspect", "expressions", "comm"]
    arguments: dict[str, JsonValue] = {}


class FrontEndReply(Message, frozen=True, kw_only=True, tag="front_end_reply"):
    """The answer to `request`; with a `problem` there is none."""

    request: Id
    value: JsonValue = None
    problem: Text = ""


class Shutdown(Message, frozen=True, kw_only=True, tag="shutdown"):
    """End the worker."""

    reason: str = ""


type FromWorker = (
    Hello
    | Ready
    | Output
    | Piped
    | Call
    | Waiting
    | ValueText
    | Result
    | Error
    | Checkpoint
    | Restored
    | Lent
    | NamespaceReply
    | Completions
    | FrontEndReply
    | Heartbeat
)
type ToWorker = (
    Hello
    | Execute
    | CallResult
    | Checkpoint
    | CheckpointAck
    | Restore
    | Lend
    | Namespace
    | Complete
    | FrontEnd
    | Heartbeat
    | Shutdown
)

_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
_encode = msgspec.msgpack.Encoder().encode

_JSON_FIELDS: dict[type[Message], tuple[str, ...]] = {
    Hello: ("capabilities", "confinement", "output"),
    Execute: ("inputs", "capabilities"),
    Call: ("arguments",),
    CallResult: ("value",),
    Result: ("value",),
    Restored: ("report",),
    Namespace: ("updates",),
    NamespaceReply: ("value",),
    FrontEnd: ("arguments",),
    FrontEndReply: ("value",),
}
"""Fields whose values have no form of their own but that of JSON."""

_TEXT = frozenset((str,))
_NESTED = frozenset((list, dict))
_JSON = frozenset((type(None), bool, int, float, str, list, dict))


def check_json(value: Any) -> None:
    """Raises ValueError for what JSON has not, at any depth: bytes, dates, keys that are no text."""
    left: list[Any] = [[value]]
    while left:
        one = left.pop()
        if isinstance(one, dict) and not _TEXT.issuperset(map(type, one)):
            raise ValueError("a value has a key that is no text")
        items = one.values() if isinstance(one, dict) else one
        kinds = set(map(type, items))
        if not kinds <= _JSON:
            raise ValueError(f"a value holds {', '.join(sorted(kind.__name__ for kind in kinds - _JSON))}")
        if not kinds.isdisjoint(_NESTED):
            left.extend(item for item in items if type(item) in _NESTED)


def encode_message(message: Message) -> bytes:
    """A message's msgpack payload. Raises NotEncodable for text with surrogates and integers beyond 64 bits."""
    try:
        return _encode(message)
    except (UnicodeEncodeError, OverflowError, TypeError) as error:
        raise NotEncodable(f"a {type(message).__name__} message that cannot be sent: {error}") from None


def _parse(payload: bytes | bytearray, decode: Callable[[bytes | bytearray], Any]) -> Any:
    try:
        message = decode(payload)
        for name in _JSON_FIELDS.get(type(message), ()):
            check_json(getattr(message, name))
        if isinstance(message, Checkpoint) and isinstance(message.outcome, Result):
            check_json(message.outcome.value)
        return message
    except msgspec.ValidationError as error:
        raise ProtocolError(f"a message that is not allowed: {str(error)[:NAME_CHARS_MAX]}") from None
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise ProtocolError(f"a payload that is not a message: {error}") from None


_LARGE = b"\xa4type\xaacheckpoint"
"""How the message that holds a namespace begins, after the map's own byte: the worker says what it is first."""


def limit_from_worker(first: bytes | bytearray, memory: int = MESSAGE_BYTES_MAX) -> int:
    """The largest size of a message that begins so, in bytes. memory: of its session."""
    return min(memory, MESSAGE_BYTES_MAX) if first.startswith(_LARGE, 1) else PLAIN_BYTES_MAX


def parse_from_worker(payload: bytes | bytearray, memory: int = MESSAGE_BYTES_MAX) -> FromWorker:
    """The message that a worker sent. Raises ProtocolError for anything else.

    memory: of its session; no message is larger than what its sender could hold.
    """
    if len(payload) > limit_from_worker(payload, memory):
        raise ProtocolError(f"a message of {len(payload)} bytes")
    try:
        check_size(payload)
    except Oversized as error:
        raise ProtocolError(f"a message of {error}") from None
    message: FromWorker = _parse(payload, _from_worker)
    return message


def fields_to_worker(payload: bytes | bytearray) -> Wire:
    """The message that an engine sent, as a map. Its values are the code's and not looked into. Raises ProtocolError.

    Decoded once: what restores a session is as large as its checkpoint.
    """
    try:
        message = _to_worker(payload)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"a message that is not allowed: {error}") from None
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise ProtocolError(f"a payload that is not a message: {error}") from None
    fields = {"type": message.type, **msgspec.structs.asdict(message)}
    if isinstance(message, CallResult) and message.error is not None:
        fields["error"] = msgspec.structs.asdict(message.error)
    return fields


def parse_to_worker(payload: bytes) -> ToWorker:
    """The message that an engine sent. Raises ProtocolError for anything else."""
    return _parse(payload, _to_worker)  # type: ignore[no-any-return]
