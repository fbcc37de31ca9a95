"""The views of surfaces (`durable.records.view_models`), made of the store's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.definition_id import CELL, is_served
from durable.core.errors import ExecutionError
from durable.core.frozen_record import FrozenRecord
from durable.core.value_codec import is_placeholder, why_closed
from durable.executions.states import PROMISE_OF
from durable.records import notation
from durable.records.view_models import (
    DetailView,
    DiscardView,
    ExecutionView,
    PromiseView,
    PromptView,
    QueueView,
    RetryView,
    ScheduleView,
    SessionView,
    StepView,
)
from durable.sessions.required_capabilities import know_them, own_capabilities
from durable.store.operations.execution_tags import tags_of
from durable.store.port import ReadsFace
from durable.store.protocol.stream_tags import POSITION
from durable.store.rows import (
    EngineRow,
    ExecutionRow,
    OutlineRow,
    PromiseRow,
    PromptRow,
    QueueRow,
    SessionRow,
    decode_value,
)

_WORD = {
    "pending": "running",
    "resolved": "completed",
    "rejected": "failed",
    "rejected_canceled": "cancelled",
    "rejected_timedout": "timed_out",
}


SHOWN_MAX = 10_000
"""Promises under an execution and its children that are shown."""


class ServedFunctions(FrozenRecord, frozen=True):
    """The functions that the living engines of a store serve."""

    functions: frozenset[str]
    pids: dict[str, int]
    each: tuple[tuple[str, ...], ...] = ()
    """The functions of each."""
    deployments: tuple[str, ...] = ()
    """The deployment of each."""

    @classmethod
    def by(cls, engines: Sequence[EngineRow], alive: Callable[[str], bool]) -> ServedFunctions:
        """From the engines that joined, and who of them lives."""
        living = [row for row in engines if alive(row.engine)]
        functions = frozenset(name for row in living for name in row.functions)
        return cls(
            functions,
            {row.engine: row.pid for row in living},
            tuple(row.functions for row in living),
            tuple(row.deployment for row in living),
        )

    def serve(self, functions: Iterable[str]) -> bool:
        """Whether every one of these, by the ids that are recorded, is served."""
        return all(is_served(function, self.functions) for function in functions)

    def go_on_with(self, row: ExecutionRow) -> bool:
        """Whether an engine of the deployment that an execution belongs to serves its function."""
        if row.session is not None or not row.has_deployment:
            return self.serve([row.function])
        own = [each for each, name in zip(self.each, self.deployments, strict=True) if name == row.deployment]
        return any(is_served(row.function, functions) for functions in own)

    def unknown(self, needed: Mapping[str, str]) -> list[str]:
        """The capabilities, by name, for which a session's cells wait; none where one engine knows all of them."""
        return [] if not needed or know_them(self.each, needed) else sorted(needed)


def _rebuilt(state: str, value: object, execution_id: str) -> ExecutionError:
    """The error of what did not complete."""
    from durable.functions.failures import rebuild  # needed only where something failed

    closed = why_closed(value)
    return rebuild(state, value if closed is None else {"message": closed}, execution_id)


def iso(time_ms: int | None) -> str | None:
    """A time of the store as text; None for none, which includes "no deadline"."""
    if time_ms is None or time_ms >= TIME_MAX_MS:
        return None
    return f"{_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(4_096)
def _second(time_s: int) -> str:
    """A second as text: many times of one page are of few seconds."""
    return datetime.fromtimestamp(time_s, UTC).isoformat().removesuffix("+00:00")


def _moment(time_ms: int) -> str:
    return iso(time_ms) or ""


def _duration(created_ms: int, settled_ms: int | None) -> float:
    return round(max(0, (now_ms() if settled_ms is None else settled_ms) - created_ms) / 1000, 3)


def kind_of(row: ExecutionRow) -> str:
    """`cell` for code in a session, `function` for a durable function."""
    return "cell" if row.session is not None else "function"


def name_of(function: str) -> str:
    """The short name inside `where::name@version`."""
    return function.rpartition("::")[2].rpartition("@")[0] or function


def title_of(row: ExecutionRow) -> str:
    """A short name of an execution: its function, or that it is code in a session; `recorded cell` in a fork that has
    it from the execution that it comes from."""
    if row.session is not None:
        return f"cell of {row.session}"
    return "recorded cell" if row.function == CELL else name_of(row.function)


async def needed_by(reads: ReadsFace, rows: Sequence[ExecutionRow]) -> dict[str, dict[str, str]]:
    """The capabilities that the sessions of these executions need, where some may not go on for want of them."""
    if all(row.session is None or row.state not in ("pending", "running") for row in rows):
        return {}
    return {row.name: own_capabilities(row.options) for row in await reads.sessions()}


def error_of(row: ExecutionRow) -> str | None:
    """The text of an execution's error, where it did not complete."""
    return str(_rebuilt(PROMISE_OF[row.state], row.value, row.id)) if row.state in PROMISE_OF else None


def execution_view(
    row: ExecutionRow,
    served: ServedFunctions,
    waits_for: Sequence[str] = (),
    worker_stuck: str | None = None,
    retry: RetryView | None = None,
    needed: Mapping[str, str] = MappingProxyType({}),
    signals: Sequence[str] = (),
) -> ExecutionView:
    """One execution as it stands; `waits_for` are the open prompts under it, `signals` the names of those that it
    waits for, `needed` its session's capabilities."""
    can_go_on = row.state in ("pending", "running") and (row.engine is None or row.engine not in served.pids)
    unknown = served.unknown(needed) if can_go_on else []
    unserved = bool(unknown) or (bool(row.function) and not served.go_on_with(row))
    return ExecutionView(
        id=row.id,
        kind=kind_of(row),
        state=row.state,
        stuck=bool(worker_stuck) or (can_go_on and unserved),
        function=row.function,
        name=title_of(row),
        session=row.session,
        n=row.n,
        created_at=_moment(row.created_at),
        settled_at=iso(row.settled_at),
        duration=_duration(row.created_at, row.settled_at),
        timeout_at=iso(row.timeout_at),
        starts=row.starts,
        attempts=row.attempts,
        last_error=row.last_error,
        note=row.note,
        engine=row.engine,
        engine_pid=row.engine_pid,
        waits_for=list(waits_for),
        error=error_of(row),
        retry=retry,
        worker_stuck=worker_stuck,
        unknown_capabilities=unknown,
        tags=tags_of(row.tags),
        signals=list(signals),
        deployment=row.deployment,
        forked_from=row.tags.get(ids.FORKED_FROM, ""),
        rewound_as=row.tags.get(ids.REWOUND_AS, ""),
        retried_as=row.tags.get(ids.RETRIED_AS, ""),
    )


def retry_view(row: PromiseRow) -> RetryView:
    """The promise of a step's retry."""
    step, _, number = row.id.removeprefix(ids.PREFIX).rpartition(":retry:")
    param = row.param if isinstance(row.param, dict) else {}
    error = str(_rebuilt("rejected", {"message": param.get("error")}, step))
    return RetryView(step, int(number) if number.isdigit() else 0, error, _moment(row.timeout_at))


_WAITS = ("input", "sleep", "signal", "promise")
"""Kinds of operations in which nothing runs while they are open."""


def kind_and_name(tags: Mapping[str, str], call: ids.CallId | None) -> tuple[str, str]:
    """The kind and the name of an operation, by its tags and as a call."""
    kind = tags.get("durable:kind") or ("call" if call is not None else "step")
    return kind, tags.get("durable:name") or (call.capability if call is not None else "")


def step_id(row: PromiseRow | OutlineRow) -> str:
    """The id of an operation as surfaces show it: of a child that of its execution."""
    return row.tags.get("durable:child", row.id).removeprefix(ids.PREFIX)


def step_view(
    row: PromiseRow, task: ExecutionRow | None, retries: Sequence[RetryView] = (), *, awaited: bool = False
) -> StepView:
    """A promise under an execution; `task` where it is an execution of its own, `retries` those of a step.

    awaited: the last of them has not begun.
    """
    call = ids.parse_call(row.id)
    kind, name = kind_and_name(row.tags, call)
    state = task.state if task is not None else _WORD[row.state]
    if row.state == "pending" and (kind in _WAITS or row.tags.get("durable:capability") == "input"):
        state = "waiting"
    error = None
    if row.state not in ("pending", "resolved"):
        error = str(_rebuilt(row.state, row.value, row.id.removeprefix(ids.PREFIX)))
    return StepView(
        id=step_id(row),
        kind=kind,
        name=name,
        state=state,
        created_at=_moment(row.created_at),
        settled_at=iso(row.settled_at),
        duration=_duration(row.created_at, row.settled_at),
        attempts=len(retries) if task is None else task.attempts,
        error=error,
        note=_step_note(row, task, retries),
        retries=list(retries),
        tries=1 + len(retries) - awaited if task is None else task.attempts,
        parent=call.execution if call is not None else row.id.removeprefix(ids.PREFIX).rpartition(".")[0],
        value=notation.shown(row.value) if row.state == "resolved" else None,
    )


def _step_note(row: PromiseRow, task: ExecutionRow | None, retries: Sequence[RetryView]) -> str | None:
    if task is not None:
        return task.note or task.last_error
    if retries and row.state == "pending":
        last = retries[-1]
        return f"retry {last.number} at {last.next_at}: {last.error}"
    return None


def prompt_view(row: PromptRow, store: str | None = None) -> PromptView:
    """An open question. `store` is the path to name in the command, None for the default one."""
    closed = why_closed(row.param)
    param = row.param if isinstance(row.param, dict) and closed is None else {"question": closed or str(row.param)}
    choices, schema = param.get("choices"), param.get("json_schema")
    return PromptView(
        id=row.id,
        execution=row.execution,
        question=str(param.get("question", "")),
        title=_text(param.get("title")),
        context=_text(param.get("context")),
        choices=choices if isinstance(choices, list) else None,
        schema=schema if isinstance(schema, dict) else None,
        default=param.get("default"),
        has_default=bool(param.get("has_default")),
        created_at=_moment(row.created_at),
        timeout_at=iso(row.timeout_at),
        command=answer_command(row.id, store),
        form=str(param.get("form", "ask")),
        many=param.get("many") is True,
        initial=param.get("initial"),
        to=list(map(str, param.get("to") or ())),
        quorum=param.get("quorum", 1),
        reason=_text(param.get("reason")),
        secret=param.get("secret") is True,
    )


def answer_command(prompt_id: str, store: str | None) -> str:
    """The command that answers a prompt."""
    import shlex

    place = "" if store is None else f" --store {shlex.quote(store)}"
    return f"durable answer{place} {prompt_id} VALUE"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def session_view(row: SessionRow, served: ServedFunctions) -> SessionView:
    """A session and who holds it."""
    pid = served.pids.get(row.owner or "")
    state = "idle"
    if row.closed:
        state = "closed"
    elif row.open_executions:
        state = "busy" if pid is not None else "unfinished"
    return SessionView(
        name=row.name,
        state=state,
        executions=row.executions,
        unfinished=row.open_executions,
        owner=row.owner,
        owner_pid=pid,
        worker_pid=row.worker_pid if pid is not None else None,
        created_at=_moment(row.created_at),
    )


def promise_view(row: PromiseRow) -> PromiseView:
    """A promise's row."""
    return PromiseView(
        id=row.id,
        state=row.state,
        param=row.param,
        value=row.value,
        tags=row.tags,
        created_at=_moment(row.created_at),
        timeout_at=None if row.timeout_at >= TIME_MAX_MS else _moment(row.timeout_at),
        settled_at=None if row.settled_at is None else _moment(row.settled_at),
    )


def queue_view(row: QueueRow) -> QueueView:
    """A queue as it stands."""
    return QueueView(
        name=row.name,
        state=row.state,
        concurrency=row.concurrency,
        per_engine=row.per_engine,
        per_key=row.per_key,
        rate=None if row.rate is None else [*row.rate],
        delayed=row.delayed,
        waiting=row.waiting,
        running=row.running,
        started=row.started,
        age=None if row.oldest_at is None else _duration(row.oldest_at, None),
    )


def schedule_view(record: dict[str, Any]) -> ScheduleView:
    """A schedule's protocol record."""
    param, function = decode_value(record["promiseParam"]), record["promiseTags"].get("durable:function", "")
    last = record.get("lastRunAt")
    return ScheduleView(
        id=record["id"],
        cron=record["cron"],
        function=function,
        name=function.rpartition("::")[2].partition("@")[0] or record["promiseId"],
        arguments={key: param.get(key) for key in ("args", "kwargs")} if isinstance(param, dict) else param,
        missed=record["promiseTags"].get("durable:missed", "once"),
        created_at=_moment(record["createdAt"]),
        next_run_at=None if record.get("paused") else _moment(record["nextRunAt"]),
        last_run_at=None if last is None else _moment(last),
        overlap=record.get("overlap", "allow"),
        jitter=record.get("jitterMs", 0) / 1000,
        timeout=None if record["promiseTimeout"] >= TIME_MAX_MS else record["promiseTimeout"] / 1000,
        paused=record.get("paused", False),
        skipped=record.get("skipped", 0),
        last_execution=(record.get("lastPromise") or "").removeprefix(ids.PREFIX) or None,
    )


async def detail_view(
    reads: ReadsFace,
    row: ExecutionRow,
    served: ServedFunctions,
    store: str | None = None,
    *,
    prompts_max: int | None = None,
) -> DetailView:
    """Everything about one execution: its steps and calls with what they are, and its open questions, the oldest
    `prompts_max` of them."""
    children = await _all_under(reads, row.id)
    retries: dict[str, list[RetryView]] = {}
    awaited: set[str] = set()
    for child in children:
        if ":retry:" in child.id:
            view, step_id = retry_view(child), child.id.rpartition(":retry:")[0]
            retries.setdefault(step_id, []).append(view)
            if child.state == "pending":
                awaited.add(step_id)
    steps = []
    for child in children:
        if ":retry:" in child.id or POSITION in child.tags:  # what a step writes is in its stream
            continue
        is_execution = "resonate:target" in child.tags and "resonate:timer" not in child.tags
        execution = child.tags.get("durable:child", child.id if is_execution else "")
        task = await reads.get_execution(execution.removeprefix(ids.PREFIX)) if execution else None
        tried = sorted(retries.get(child.id, ()), key=lambda retry: retry.number)
        steps.append(step_view(child, task, tried, awaited=child.id in awaited))
    steps.sort(key=lambda step: step.created_at)
    prompts = _open_prompts(row.id, children)
    return await detail_of(reads, row, served, steps, [p.id for p in prompts], prompts[:prompts_max], store)


async def detail_of(
    reads: ReadsFace,
    row: ExecutionRow,
    served: ServedFunctions,
    steps: list[StepView],
    waits_for: Sequence[str],
    prompts: Sequence[PromptRow],
    store: str | None = None,
) -> DetailView:
    """One execution with its steps, and its open questions: all their ids, and those that are shown."""
    needed = await needed_by(reads, [row])
    error = None
    if row.state in PROMISE_OF:
        error = _rebuilt(PROMISE_OF[row.state], row.value, row.id)
    return DetailView(
        execution=execution_view(row, served, waits_for, needed=needed.get(row.session or "", {})),
        arguments=arguments_of(row),
        result=notation.shown(row.value) if row.state == "completed" else None,
        traceback=error.traceback or None if error is not None else None,
        steps=steps,
        discards=[DiscardView(_moment(each.at), each.step, each.reason) for each in await reads.discards(row.id)],
        prompts=[prompt_view(p, store) for p in prompts],
    )


def open_prompt(row: PromiseRow) -> PromptRow:
    """The promise of a question as one."""
    execution = row.id.removeprefix(ids.PREFIX).partition(":")[0]
    return PromptRow(row.id, execution, row.param, row.tags, row.created_at, row.timeout_at)


def _open_prompts(execution: str, children: Sequence[PromiseRow]) -> list[PromptRow]:
    """The open questions in the record of an execution, oldest first."""
    found = [open_prompt(child) for child in children if is_own_prompt(child, execution)]
    return sorted(found, key=lambda prompt: (prompt.created_at, prompt.id))


def is_own_prompt(row: PromiseRow | OutlineRow, execution: str) -> bool:
    """Whether a promise is an open question of an execution, or of an operation of it."""
    if row.state != "pending" or row.tags.get("durable:capability") != "input":
        return False
    asks = row.id.removeprefix(ids.PREFIX).partition(":")[0]
    return asks == execution or asks.startswith(f"{execution}.")


async def _all_under(reads: ReadsFace, execution: str) -> list[PromiseRow]:
    """The promises under an execution and under its child executions, up to SHOWN_MAX."""
    left, found, seen = [execution], list[PromiseRow](), set[str]()
    while left and len(found) < SHOWN_MAX:
        name = left.pop(0)
        if name in seen:
            continue
        seen.add(name)
        under = await reads.children(name)
        found += under
        left += [
            child.tags["durable:child"].removeprefix(ids.PREFIX) for child in under if "durable:child" in child.tags
        ]
    return found


def arguments_of(row: ExecutionRow) -> Any:
    """The recorded arguments of an execution, as surfaces show them; a cell's code and inputs."""
    if not isinstance(row.param, dict) or is_placeholder(row.param):
        return row.param
    args, kwargs = row.param.get("args") or [], row.param.get("kwargs") or {}
    if row.session is not None and args and isinstance(args[0], dict):
        return {"code": args[0].get("code", ""), "inputs": args[0].get("inputs") or {}}
    return {"args": notation.shown(args), "kwargs": notation.shown(kwargs)}
