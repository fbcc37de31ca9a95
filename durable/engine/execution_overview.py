"""Executions of a list as they stand: what each waits for, whether it is stuck, when a step of it is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable.core import ids
from durable.engine.stuck_workers import stuck_workers
from durable.engine.views import ServedFunctions, execution_view, needed_by, retry_view
from durable.records.view_models import ExecutionView, RetryView
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow


async def overview(store: StoreFace, rows: Sequence[ExecutionRow]) -> list[ExecutionView]:
    """The views of these executions, in the same order."""
    living = ServedFunctions.by(await store.reads.engines(), store.engine_alive)
    is_open = any(row.settled_at is None for row in rows)
    prompts = _by_execution(await _open_prompts(store) if is_open else [])
    retries: dict[str, RetryView] = {}
    for promise in await store.reads.retries():
        retry = retry_view(promise)
        for each in _above(retry.step):
            retries.setdefault(each, retry)
    stuck = await stuck_workers(store, living, rows)
    needed = await needed_by(store.reads, rows)
    signals: dict[str, list[str]] = {}
    waiting = [row.id for row in rows if row.state == "waiting" and row.session is None]
    for execution, name in await store.reads.signal_waits(executions=waiting) if waiting else ():
        signals.setdefault(execution, []).append(name)
    return [
        execution_view(
            row,
            living,
            prompts.get(row.id, ()),
            stuck.get(row.id),
            retries.get(row.id),
            needed.get(row.session or "", {}),
            [*dict.fromkeys(signals.get(row.id, ()))],
        )
        for row in rows
    ]


async def _open_prompts(store: StoreFace) -> list[str]:
    """The ids of all open questions, alone where the store is here: what they ask may be long."""
    if store.local is not None or store.file is not None:
        reads: Any = store.reads
        found: list[str] = await reads.open_prompts()
        return found
    return [prompt.id for prompt in await store.reads.prompts()]


def _by_execution(prompts: Sequence[str]) -> dict[str, list[str]]:
    """The open prompts of each execution, and of each that has one of these under it in its own record."""
    found: dict[str, list[str]] = {}
    for prompt in prompts:
        execution = prompt.removeprefix(ids.PREFIX).partition(":")[0]
        for each in (execution, *_above(execution)):
            found.setdefault(each, []).append(prompt)
    return found


def _above(step: str) -> list[str]:
    """The ids that a nested id stands under: `a.1.2` under `a.1` and `a`."""
    parts = step.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
