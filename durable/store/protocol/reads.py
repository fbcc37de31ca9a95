"""The reads as requests: name, arguments, answer. The remote store sends them, `durable serve` answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from durable.store import rows
from durable.store.operations.halted_waits import Halt
from durable.store.protocol.requests import Id, Integer, Natural

if TYPE_CHECKING:
    from durable.store.port import ReadsFace

type _Limit = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class ListExecutions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    state: rows.State | None = None
    session: str | None = None
    function: str | None = None
    tag: tuple[str, str] | None = None
    since: Integer | None = None
    until: Integer | None = None
    limit: _Limit = 100
    before: str | None = None
    whole: bool = True


class CountExecutions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    session: str | None = None
    function: str | None = None
    tag: tuple[str, str] | None = None
    since: Integer | None = None
    until: Integer | None = None


class SignalWaits(msgspec.Struct, frozen=True, kw_only=True):
    executions: list[Id]


class ExecutionId(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution_id: Id


class PromiseId(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    promise_id: Id


class Children(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution_id: Id
    limit: _Limit = 10_000


class Prompts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution: str | None = None


class QueueKeys(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    queue: Id
    limit: _Limit = 100
    after: str | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution_id: Id
    from_offset: Natural = 0
    limit: _Limit = 10_000


class Printed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution_id: Id
    from_offset: Natural = 0
    rewinds: Natural | None = None
    limit: _Limit = 10_000


class Stopped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    executions: list[Id] = []
    sessions: dict[str, Integer] = {}


class Stream(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution_id: Id
    name: str
    from_offset: Natural = 0
    limit: _Limit = 1_000


class Published(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    execution_id: Id
    key: str | None = None


class Halts(msgspec.Struct, frozen=True, kw_only=True):
    awaited: list[Id]


class Nothing(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    now: Natural


READ = "read."
"""Before a reading's name, the kind of its request."""

READINGS: dict[str, tuple[type[msgspec.Struct], Any]] = {
    "list_executions": (ListExecutions, list[rows.ExecutionRow]),
    "count_executions": (CountExecutions, dict[str, int]),
    "signal_waits": (SignalWaits, list[tuple[str, str]]),
    "get_execution": (ExecutionId, rows.ExecutionRow | None),
    "get_promise": (PromiseId, rows.PromiseRow | None),
    "children": (Children, list[rows.PromiseRow]),
    "prompts": (Prompts, list[rows.PromptRow]),
    "queues": (Nothing, list[rows.QueueRow]),
    "queue_keys": (QueueKeys, list[rows.QueueKeyRow]),
    "retries": (Nothing, list[rows.PromiseRow]),
    "output": (Output, list[rows.OutputRow]),
    "printed": (Printed, rows.OutputPage),
    "stream": (Stream, rows.StreamPage),
    "streams": (ExecutionId, list[rows.StreamEnd]),
    "published": (Published, list[rows.PublishedRow]),
    "output_end": (ExecutionId, int),
    "stopped": (Stopped, rows.StoppedElsewhere),
    "halts": (Halts, list[Halt]),
    "discards": (ExecutionId, list[rows.DiscardRow]),
    "sessions": (Nothing, list[rows.SessionRow]),
    "engines": (Nothing, list[rows.EngineRow]),
    "figures": (Figures, rows.StoreFigures),
}
"""By the name of the method of `Reads`: its arguments, and the type of its answer."""


async def answer_read(source: ReadsFace, name: str, request: msgspec.Struct) -> Any:
    """Call the method `name`, which is one of READINGS, with what the request says."""
    return await getattr(source, name)(**msgspec.structs.asdict(request))
