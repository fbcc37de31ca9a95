"""The steps of an execution without their values: enough for its timeline and its tree, whatever the values weigh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable.core import ids
from durable.engine.views import SHOWN_MAX, is_own_prompt, kind_and_name, open_prompt, retry_view, step_id, step_view

if TYPE_CHECKING:
    from durable.records.view_models import StepView
    from durable.store.reads import Reads
    from durable.store.rows import OutlineRow, PromptRow
from durable.store.protocol.stream_tags import POSITION

_RETRY = ":retry:"


@dataclass(frozen=True, slots=True)
class StepOutline:
    """A step, child, call or question: what it is, when it was (ms), what it is under. `id` as in its StepView.

    retries: the promises of its tries after the first, in order. execution: what it is as an execution, with `exec:`.
    """

    id: str
    promise: str
    kind: str
    name: str
    parent: str
    created_at: int
    settled_at: int | None
    failed: bool
    execution: str
    retries: tuple[OutlineRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutionOutline:
    """The steps under an execution, oldest first, and the ids of its open questions, oldest first."""

    steps: list[StepOutline]
    prompts: list[str]


async def read_outline(reads: Reads, execution: str) -> ExecutionOutline:
    """The outline of what is under an execution and its child executions, up to SHOWN_MAX promises."""
    rows = await _all_under(reads, execution)
    retries: dict[str, list[OutlineRow]] = {}
    for row in rows:
        if _RETRY in row.id:
            retries.setdefault(row.id.rpartition(_RETRY)[0], []).append(row)
    steps = [
        _outline(row, retries.get(row.id, ())) for row in rows if _RETRY not in row.id and POSITION not in row.tags
    ]
    asked = sorted((row.created_at, row.id) for row in rows if is_own_prompt(row, execution))
    return ExecutionOutline(sorted(steps, key=lambda step: step.created_at), [id for _, id in asked])


def _outline(row: OutlineRow, retries: Sequence[OutlineRow]) -> StepOutline:
    call = ids.parse_call(row.id)
    kind, name = kind_and_name(row.tags, call)
    own = "resonate:target" in row.tags and "resonate:timer" not in row.tags
    return StepOutline(
        id=step_id(row),
        promise=row.id,
        kind=kind,
        name=name,
        parent=call.execution if call is not None else row.id.removeprefix(ids.PREFIX).rpartition(".")[0],
        created_at=row.created_at,
        settled_at=row.settled_at,
        failed=row.state not in ("pending", "resolved"),
        execution=row.tags.get("durable:child", row.id if own else ""),
        retries=tuple(sorted(retries, key=_number)),
    )


def _number(retry: OutlineRow) -> int:
    number = retry.id.rpartition(_RETRY)[2]
    return int(number) if number.isdigit() else 0


async def _all_under(reads: Reads, execution: str) -> list[OutlineRow]:
    found: list[OutlineRow] = []
    left, seen = [execution], set[str]()
    while left and len(found) < SHOWN_MAX:
        name = left.pop(0)
        if name in seen:
            continue
        seen.add(name)
        under = await reads.outline(name, SHOWN_MAX)
        found += under
        left += [row.tags["durable:child"].removeprefix(ids.PREFIX) for row in under if "durable:child" in row.tags]
    return found


async def step_views(
    reads: Reads, steps: Sequence[StepOutline], chars_max: int
) -> tuple[dict[str, StepView], set[str]]:
    """Some of the steps, by their ids, with those values that are at most `chars_max` characters as they are stored;
    and the ids of those with longer ones. One whose promise is gone meanwhile is left out."""
    wanted = [each for step in steps for each in (step.promise, *(retry.id for retry in step.retries))]
    short = await reads.short_promises(wanted, chars_max)
    rows, left_out = {row.id: row for row, _ in short}, {row.id for row, is_long in short if is_long}
    found = {}
    for step in steps:
        if step.promise not in rows:
            continue
        execution = step.execution.removeprefix(ids.PREFIX)
        task = await reads.get_execution(execution) if execution else None
        tried = [rows[retry.id] for retry in step.retries if retry.id in rows]
        views = [retry_view(row) for row in tried]
        awaited = any(row.state == "pending" for row in tried)
        found[step.id] = step_view(rows[step.promise], task, views, awaited=awaited)
    return found, {step.id for step in steps if step.promise in left_out}


async def prompt_rows(reads: Reads, prompts: Sequence[str]) -> list[PromptRow]:
    """Open questions by the ids of their promises, in this order."""
    rows = {row.id: row for row in await reads.promises(prompts)}
    return [open_prompt(rows[id]) for id in prompts if id in rows]
