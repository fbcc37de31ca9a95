"""Results that were thrown away: an engine had them under a lease that was another's by then (specs/store.md, L5)."""

from __future__ import annotations

from durable.core.limits import DISCARDS_KEPT
from durable.store.operations.row_records import EVERY
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, FencedSettle, LeaseLost, TaskDiscard, TaskFence, TaskFulfill


def discarded(request: object, outcome: object) -> TaskDiscard | None:
    """The result that a refused request threw away; None when it was refused for something else, or held no result."""
    if not isinstance(outcome, LeaseLost):
        return None
    if isinstance(request, TaskFulfill):
        return TaskDiscard(id=request.id, version=request.version, step=request.id, reason=outcome.message)
    if isinstance(request, TaskFence) and isinstance(request.action, FencedSettle):
        step = request.action.data.id
        return TaskDiscard(id=request.id, version=request.version, step=step, reason=outcome.message)
    return None


def record(tx: Tx, request: TaskDiscard) -> Answer:
    """Note it beside the execution, of which the newest stay."""
    if tx.row("SELECT 1 FROM tasks WHERE id=?", (request.id,)) is None:
        return Answer(200, {})
    tx.execute(
        "INSERT INTO discards (execution, at, step, version, reason) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
        (request.id, tx.now, request.step, request.version, request.reason),
    )
    tx.execute(
        "DELETE FROM discards WHERE execution=?1 AND (at, step) IN"
        f" (SELECT at, step FROM discards WHERE execution=?1 ORDER BY at DESC, step DESC LIMIT {EVERY} OFFSET ?2)",
        (request.id, DISCARDS_KEPT),
    )
    return Answer(200, {})
