"""Rows of a store's reads, wherever the store is: executions, promises, prompts, output, sessions, engines."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import msgspec

from durable.core.frozen_record import FrozenRecord
from durable.core.ids import DEPLOYMENT
from durable.core.value_codec import decoded, is_placeholder, opened_if_possible
from durable.store.protocol.requests import PromiseState, Record

type State = Literal[
    "pending", "running", "waiting", "interrupted", "completed", "failed", "lost", "cancelled", "timed_out"
]
"""An execution's state in the words of every surface.

`pending`: no attempt yet. `running`: an engine holds it, or it is on its way from one attempt to the next. `waiting`:
suspended until an answer, a timer or a child settles. `interrupted`: halted. The others are how its promise settled.
"""


WORDS: tuple[State, ...] = get_args(State.__value__)


class PromiseRow(FrozenRecord, frozen=True):
    """A promise. `param` and `value` are the decoded JSON, or None; times in milliseconds since the epoch."""

    id: str
    state: PromiseState
    param: Any
    value: Any
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    settled_at: int | None


class OutlineRow(NamedTuple):
    """A promise without its values; times in milliseconds since the epoch."""

    id: str
    state: PromiseState
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    settled_at: int | None


class ExecutionRow(FrozenRecord, frozen=True):
    """An execution: its promise, its task, and who runs it."""

    id: str
    """Without `exec:`."""
    state: State
    function: str
    session: str | None
    """Of a cell; None of a message to an actor, which is a function."""
    n: int | None
    param: Any
    value: Any
    tags: dict[str, str]
    created_at: int
    settled_at: int | None
    timeout_at: int
    starts: int
    """How often it was acquired."""
    attempts: int
    """Attempts without progress so far."""
    last_error: str | None
    note: str | None
    engine: str | None
    """The engine that holds it now."""
    engine_pid: int | None
    deployment: str = ""
    """Whose engines run it; "" for those of none, and where that is not decided yet."""

    @property
    def has_deployment(self) -> bool:
        """Whether it is decided whose engines run it: it has begun, or was started for some."""
        return bool(self.starts or self.deployment or DEPLOYMENT in self.tags)


class StoppedElsewhere(FrozenRecord, frozen=True):
    """Executions and sessions that others stopped or took: executions without `exec:`, names of sessions."""

    executions: list[str]
    sessions: list[str]


class DiscardRow(FrozenRecord, frozen=True):
    """A result that was thrown away. `execution` and `step` are without `exec:`; equal where it was its own outcome."""

    execution: str
    at: int
    step: str
    version: int
    reason: str


class PromptRow(FrozenRecord, frozen=True):
    """An open question. `execution` is without `exec:`."""

    id: str
    execution: str
    param: Any
    tags: dict[str, str]
    created_at: int
    timeout_at: int


class OutputRow(FrozenRecord, frozen=True):
    """A stretch of one stream, of `chars` characters; `offset` counts characters of all streams of its execution.

    `text` is all of it, the newest state of a line that was repainted, or nothing: then it was not kept.
    """

    offset: int
    stream: Literal["stdout", "stderr", "display", "failure", "next"]
    text: str
    chars: int

    @property
    def end(self) -> int:
        """The offset at which to read on."""
        return self.offset + self.chars

    @property
    def dropped(self) -> int:
        """Characters that are gone, where nothing was kept."""
        return 0 if self.text else self.chars


class OutputPage(FrozenRecord, frozen=True):
    """One look of a reader at the output of an execution."""

    rewinds: int
    """How often it was cut so far; to be given at the next look."""
    rewound: int | None
    """The character from which the reader's text is gone: the execution went on before it. None when none is gone."""
    chunks: list[OutputRow]
    """From where the reader was, or from `rewound` on."""


class SessionRow(FrozenRecord, frozen=True):
    """A session: its owner, its worker, how many executions it has had."""

    name: str
    owner: str | None
    epoch: int
    options: dict[str, Any]
    worker_pid: int | None
    closed: bool
    executions: int
    open_executions: int
    created_at: int

    @property
    def run(self) -> str:
        """Of a run of sandboxed code its execution id; "" of a session as people know them."""
        return str(self.options.get("run", ""))


class StreamRow(FrozenRecord, frozen=True):
    """An item of a stream. `step`, `position`: of one that a step wrote, which step (by its promise) and the number of
    the item there."""

    offset: int
    value: Any
    step: str | None
    position: int | None
    written_at: int


class StreamPage(FrozenRecord, frozen=True):
    """Items of a stream in order, and the offset at which the next page begins."""

    items: list[StreamRow]
    next_offset: int


class StreamEnd(FrozenRecord, frozen=True):
    """A stream of an execution, and the offset that its next item gets."""

    name: str
    next_offset: int


class PublishedRow(FrozenRecord, frozen=True):
    """The newest value of a key, and the number of its publication."""

    key: str
    value: Any
    n: int
    published_at: int


class EngineRow(FrozenRecord, frozen=True):
    """An engine that joined and has not left; whether it lives is the store's `engine_alive`."""

    engine: str
    group: str
    pid: int
    functions: tuple[str, ...]
    joined_at: int
    deployment: str = ""
    """What it was started as; "" for nothing."""


class QueueRow(FrozenRecord, frozen=True):
    """A queue: its state (open, paused, draining), its limits, and how many executions it has in which state.

    `delayed`: their time has not come. `waiting`: they stand in line, the first since `oldest_at` (ms; None where none
    does). `running`: they have begun and not ended. `started`: how many have begun so far. `rate`: (count, seconds).
    """

    name: str
    state: str
    concurrency: int | None
    per_engine: int | None
    per_key: int | None
    rate: tuple[int, float] | None
    delayed: int
    waiting: int
    running: int
    started: int
    oldest_at: int | None


class QueueKeyRow(FrozenRecord, frozen=True):
    """A key of a queue: how many executions of it wait, and how many have begun and not ended."""

    key: str
    waiting: int
    running: int


class StoreFigures(FrozenRecord, frozen=True):
    """Figures of a store for its operator. Times in milliseconds since the epoch, 0 where there is none."""

    executions: tuple[tuple[str, str, int], ...]
    """How many there are, by function (`where::name@version`) and state."""
    queue_depth: int
    queue_oldest: int
    """Executions that are due and that nobody has taken; since when the oldest of them is due."""
    leases: int
    prompts: int
    prompts_oldest: int
    sessions: int
    workers: int
    checkpoints: int
    schedules: int
    engines: tuple[str, ...]


def decode_value(value: object) -> Any:
    """The data of a Value: decoded where it is base64 of JSON, as the SDK writes it; None when absent."""
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, str):
        return None
    try:
        return decoded(data)
    except (ValueError, msgspec.MsgspecError):
        return data


def opened_row[T](row: T) -> T:
    """A row that came from elsewhere, with what could not be opened there opened, as far as the keys are here."""
    found: Any = row
    if isinstance(found, list):
        found = [opened_row(each) for each in found]
    elif isinstance(found, StreamPage):
        found = msgspec.structs.replace(found, items=opened_row(found.items))
    else:
        names = [name for name in ("param", "value") if is_placeholder(getattr(found, name, None))]
        if names:
            found = msgspec.structs.replace(found, **{name: opened_if_possible(getattr(found, name)) for name in names})
    return found  # type: ignore[no-any-return]


def promise_row(record: Record) -> PromiseRow:
    """A protocol record as a row."""
    known: Any = record
    return PromiseRow(
        known["id"],
        known["state"],
        decode_value(known["param"]),
        decode_value(known["value"]),
        known["tags"],
        known["timeoutAt"],
        known["createdAt"],
        known.get("settledAt"),
    )
