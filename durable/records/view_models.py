"""The views of surfaces: plain data for tables, JSON, pages and the HTTP API. `durable.engine.views` makes them.

Times are ISO 8601 in UTC, durations in seconds, execution ids without `exec:`. Few imports: clients without an engine
read these.
"""

from __future__ import annotations

from typing import Any

import msgspec

from durable.core.frozen_record import FrozenRecord


class RetryView(FrozenRecord, frozen=True):
    """The n-th retry of a step: why there is one, and when it is tried again."""

    step: str
    number: int
    error: str
    next_at: str


class ExecutionView(FrozenRecord, frozen=True):
    """An execution in a list. `stuck`: it could go on, and no living engine serves it or knows the capabilities of its
    session (`unknown_capabilities`), or `worker_stuck` says why its worker cannot."""

    id: str
    kind: str
    state: str
    stuck: bool
    function: str
    name: str
    session: str | None
    n: int | None
    created_at: str
    settled_at: str | None
    duration: float
    timeout_at: str | None
    starts: int
    attempts: int
    last_error: str | None
    note: str | None
    engine: str | None
    engine_pid: int | None
    waits_for: list[str]
    error: str | None
    retry: RetryView | None = None
    """The next try of a step that failed, where one waits for its time."""
    worker_stuck: str | None = None
    unknown_capabilities: list[str] = msgspec.field(default_factory=list)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    """The words that it is found by."""
    signals: list[str] = msgspec.field(default_factory=list)
    """The names of the signals that it waits for."""
    deployment: str = ""
    """Whose engines run it; "" for those of none, and where that is not decided yet."""
    forked_from: str = ""
    """The execution that it was forked, retried or rewound from."""
    rewound_as: str = ""
    retried_as: str = ""
    """The execution that has taken its place."""


class StepView(FrozenRecord, frozen=True):
    """A step, sleep, child, call or question of an execution.

    `attempts` counts those without progress, and the retries of a step, which are `retries`; `tries` how often a step's
    body began (of a child as `attempts`). `parent` is the id of what it is under: the execution, or another of these.
    """

    id: str
    kind: str
    name: str
    state: str
    created_at: str
    settled_at: str | None
    duration: float
    attempts: int
    error: str | None
    note: str | None
    value: Any
    retries: list[RetryView] = msgspec.field(default_factory=list)
    tries: int = 0
    parent: str = ""


class PromptView(FrozenRecord, frozen=True):
    """An open question and the command that answers it."""

    id: str
    execution: str
    question: str
    title: str | None
    context: str | None
    choices: list[Any] | None
    schema: dict[str, Any] | None
    default: Any
    has_default: bool
    created_at: str
    timeout_at: str | None
    command: str
    form: str = "ask"
    many: bool = False
    initial: Any = None
    to: list[str] = msgspec.field(default_factory=list)
    quorum: int | str = 1
    reason: str | None = None
    secret: bool = False


class SessionView(FrozenRecord, frozen=True):
    """A session: `idle`, `busy`, `unfinished` (cells left, nobody alive owns it) or `closed`."""

    name: str
    state: str
    executions: int
    unfinished: int
    owner: str | None
    owner_pid: int | None
    worker_pid: int | None
    created_at: str


class PromiseView(FrozenRecord, frozen=True):
    """A promise as it is, in the store's own words. `id` is whole."""

    id: str
    state: str
    param: Any
    value: Any
    tags: dict[str, str]
    created_at: str
    timeout_at: str | None
    settled_at: str | None


class QueueKeyView(FrozenRecord, frozen=True):
    """A key of a queue: how many executions of it wait, and how many have begun and not ended."""

    key: str
    waiting: int
    running: int


class QueueView(FrozenRecord, frozen=True):
    """A queue: `open`, `paused` or `draining`; its limits, None for none; how many executions wait for their time
    (`delayed`), stand in line (`waiting`) and have begun and not ended (`running`); how many have begun so far.

    `age`: seconds for which the first in line has waited, None where none does. `rate`: [count, seconds].
    """

    name: str
    state: str
    concurrency: int | None
    per_engine: int | None
    per_key: int | None
    rate: list[float] | None
    delayed: int
    waiting: int
    running: int
    started: int
    age: float | None


class ScheduleView(FrozenRecord, frozen=True):
    """A cron line and what runs at its ticks; `missed`: once, all or skip; `overlap`: allow, skip, queue or cancel.

    `jitter`, `timeout`: seconds. `skipped`: ticks that made nothing. `last_execution`: the newest that it started.
    `next_run_at`: null while it is paused.
    """

    id: str
    cron: str
    function: str
    name: str
    arguments: Any
    missed: str
    created_at: str
    next_run_at: str | None
    last_run_at: str | None
    overlap: str = "allow"
    jitter: float = 0.0
    timeout: float | None = None
    paused: bool = False
    skipped: int = 0
    last_execution: str | None = None


class DiscardView(FrozenRecord, frozen=True):
    """A result that was thrown away, of the execution itself or of a step: its engine had lost the lease."""

    at: str
    step: str
    reason: str


class DetailView(FrozenRecord, frozen=True):
    """Everything about one execution."""

    execution: ExecutionView
    arguments: Any
    result: Any
    traceback: str | None
    steps: list[StepView] = msgspec.field(default_factory=list)
    discards: list[DiscardView] = msgspec.field(default_factory=list)
    prompts: list[PromptView] = msgspec.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The execution's fields with the others beside them."""
        from dataclasses import asdict

        found = asdict(self)
        return {**found.pop("execution"), **found}
