"""The messages that an engine may send, held to their form.

Without the bounds of bridge/protocol/messages.py, and with all fields required: a test holds the two together.
Values are not looked into: they are the code's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, MsgspecError, Raw, Struct, ValidationError
from msgspec.msgpack import Decoder

from durable.core.errors import ProtocolError

type Wire = dict[str, Any]
"""A message as a map; its fields are those of bridge/protocol/messages.py."""

Count = Annotated[int, Meta(ge=0)]


class _Message(Struct, forbid_unknown_fields=True, tag_field="type"):
    id: str
    timestamp: int


class Hello(_Message, tag="hello"):
    version: int
    frame_bytes_max: int
    session: str
    capabilities: list[str | dict[str, Any]]
    confinement: dict[str, Raw]
    output: dict[str, Raw]


class Execute(_Message, tag="execute"):
    code: str
    start_statement: Count
    start_iteration: Count
    counters: dict[str, Count]
    inputs: dict[str, Raw]
    checkpoint: Literal["auto", "statement", "none"]
    checkpoint_every_s: float | None
    checkpoint_before: list[str]
    filename: str
    capabilities: list[str | dict[str, Any]] | None
    output_offset: Count
    transaction: Literal["commit_always", "rollback_on_failure", "rollback_always"]
    recompute: list[str]
    traceparent: str


class CallError(Struct, forbid_unknown_fields=True):
    kind: str
    exception_type: str
    exception_message: str


class CallResult(_Message, tag="call_result"):
    call: Count
    value: Raw
    error: CallError | None


class Checkpoint(_Message, tag="checkpoint"):
    execution_id: str
    statement: Count
    iteration: Count
    final: bool
    counters: dict[str, Count]
    output_offset: Count
    outcome: Raw
    data: Raw
    lost: Raw
    cost_ns: Count
    problem: str
    stream: int | None
    label: str | None


class CheckpointAck(_Message, tag="checkpoint_ack"):
    checkpoint: str
    problem: str


class Restore(_Message, tag="restore"):
    data: Raw
    memory: Count
    attached: bool
    clear_existing: bool
    override_environment: bool


class Lend(_Message, tag="lend"):
    name: str
    memory: Count
    attached: bool


class Namespace(_Message, tag="namespace"):
    action: Literal["values", "update", "clear", "variables", "sources"]
    names: list[str]
    updates: dict[str, Raw]
    source: str
    strategy: Literal["overwrite", "preserve", "smart"]
    limits: dict[str, int]


class Complete(_Message, tag="complete"):
    text: str


class FrontEnd(_Message, tag="front_end"):
    what: Literal["count", "complete", "inspect", "expressions", "comm"]
    arguments: dict[str, Raw]


class Heartbeat(_Message, tag="heartbeat"):
    memory_usage: Count
    cpu_time: float
    namespace_size: Count
    background: Count


class Shutdown(_Message, tag="shutdown"):
    reason: str


_form = Decoder(
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
_decode = Decoder().decode


def parse(payload: bytes | bytearray) -> Wire:
    """The message that an engine sent. Raises ProtocolError for anything else."""
    try:
        _form.decode(payload)
        message: Wire = _decode(payload)
    except ValidationError as error:
        raise ProtocolError(f"a message that is not allowed: {error}") from None
    except (MsgspecError, RecursionError, ValueError, TypeError) as error:
        raise ProtocolError(f"a payload that is not a message: {error}") from None
    if "data" in message and type(message["data"]) is not bytes:
        raise ProtocolError(f"a {message['type']} message without bytes")
    return message
