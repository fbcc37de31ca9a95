"""A page of the steps under an execution, each with its retries and the execution that it is."""

from __future__ import annotations

from durable.core import ids
from durable.engine.views import retry_view, step_view
from durable.records.view_models import RetryView, StepView
from durable.store.reads import Reads
from durable.store.rows import ExecutionRow, PromiseRow

_RETRY = ":retry:"


async def step_page(reads: Reads, row: ExecutionRow, after: str, limit: int) -> tuple[list[StepView], str | None]:
    """At most `limit` steps behind the promise `after`; the promise behind which the next page begins, None at the end.

    Retries are no steps: each stands with its step, so that a page may have fewer than `limit`.
    """
    found = await reads.children_page(row.id, after, limit)
    last = found[-1].id if len(found) == limit else None
    steps = [promise for promise in found if _RETRY not in promise.id]
    retries: dict[str, list[PromiseRow]] = {}
    for each in await reads.retries_of([promise.id for promise in steps]):
        retries.setdefault(each.id.rpartition(_RETRY)[0], []).append(each)
    return [await _step(reads, promise, retries.get(promise.id, [])) for promise in steps], last


async def _step(reads: Reads, promise: PromiseRow, tried: list[PromiseRow]) -> StepView:
    own = "resonate:target" in promise.tags and "resonate:timer" not in promise.tags
    execution = promise.tags.get("durable:child", promise.id if own else "")
    task = await reads.get_execution(execution.removeprefix(ids.PREFIX)) if execution else None
    views: list[RetryView] = sorted(map(retry_view, tried), key=lambda retry: retry.number)
    return step_view(promise, task, views, awaited=any(each.state == "pending" for each in tried))
