"""The numbers that an operator watches of a store, for `/metrics` (specs/telemetry.md, M2).

They count whole tables, on a connection that only reads: 1.4 s of a processor at a million executions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields

from durable.store.operations.row_records import Row
from durable.store.rows import StoreFigures

_EXECUTIONS_COUNTED = (
    "SELECT function, listed, count(*) FROM tasks INDEXED BY tasks_function WHERE listed IS NOT NULL"
    " GROUP BY function, listed"
)

_FIGURES = """
    SELECT (SELECT count(*) FROM tasks WHERE state = 'pending' AND due IS NOT NULL AND due <= ?1),
        (SELECT min(due) FROM tasks WHERE state = 'pending' AND due IS NOT NULL AND due <= ?1),
        (SELECT count(*) FROM tasks WHERE state = 'acquired'),
        (SELECT count(*) FROM promises WHERE capability = 'input' AND state = 'pending'),
        (SELECT min(created_at) FROM promises WHERE capability = 'input' AND state = 'pending'),
        (SELECT count(*) FROM sessions WHERE closed = 0),
        (SELECT count(*) FROM sessions WHERE closed = 0 AND worker_pid IS NOT NULL),
        (SELECT count(*) FROM checkpoints),
        (SELECT count(*) FROM schedules)"""


async def read_figures(
    rows: Callable[[str, Sequence[object]], Awaitable[list[Row]]], now: int, engines: tuple[str, ...]
) -> StoreFigures:
    """The figures by a runner of statements. now: ms since the epoch."""
    executions = await rows(_EXECUTIONS_COUNTED, [])
    counts = (await rows(_FIGURES, [now]))[0]
    by_state = tuple((str(row[0] or ""), str(row[1]), int(row[2])) for row in executions)
    names = (each.name for each in fields(StoreFigures) if each.type == "int")
    numbers = {name: int(count or 0) for name, count in zip(names, counts, strict=True)}
    return StoreFigures(executions=by_state, engines=engines, **numbers)
