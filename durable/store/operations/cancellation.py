"""Cancelling an execution: a function that runs or waits gets time to clean up, everything else ends at once (S16).

The wish to cancel is recorded with a deadline before anybody is told of it, so it survives the engine that hears it.
Whatever the function then comes to, its promise is settled as cancelled.
"""

from __future__ import annotations

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.ids import MAILBOX, PREFIX
from durable.core.limits import HELD_ELSEWHERE_MS
from durable.store.operations.attempts import rejection
from durable.store.operations.promises import find
from durable.store.operations.row_records import Row, load_tags
from durable.store.operations.settlement import CHILD, DETACHED, make_pending, settle
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, ExecutionCancel, Record, Refused, Value

_functions = msgspec.json.Decoder(list[str])

DUE = "SELECT id FROM tasks WHERE cancel_at IS NOT NULL AND cancel_at <= ? ORDER BY cancel_at, id"


def cancel(tx: Tx, request: ExecutionCancel) -> Answer:
    """Begin to cancel: whether that had an effect, and the promise as it is."""
    promise = tx.row("SELECT state FROM promises WHERE id=?", (request.id,))
    if promise is None:
        raise Refused(404, f"promise {request.id!r} does not exist")
    if promise[0] != "pending":
        return _answer(find(tx, request.id), cancelled=False)
    task = tx.row("SELECT state, version, pid, function, session, cancel_at FROM tasks WHERE id=?", (request.id,))
    if task is not None and task[5] is not None:
        return _answer(find(tx, request.id), cancelled=True)
    if task is None or not request.grace_ms or not _cleans_up(tx, task, comes=request.serves):
        return _answer(settle(tx, request.id, "rejected_canceled", reason_value(request.reason)), cancelled=True)
    deadline = min(tx.now + request.grace_ms, TIME_MAX_MS)
    tx.execute(
        "UPDATE tasks SET cancel_at=?, cancelled_at=?, cancel_reason=? WHERE id=?",
        (deadline, tx.now, request.reason, request.id),
    )
    tx.wake_at(deadline)
    if task[0] != "acquired":
        make_pending(tx, request.id)
    _cancel_children(tx, request.id, request.reason)
    tx.effects.cancelled.add(request.id)
    tx.effects.peers = True
    return _answer(find(tx, request.id), cancelled=True)


def _cancel_children(tx: Tx, execution: str, reason: str) -> None:
    """The children of an execution that is to be cancelled are too, at the same time."""
    for link in tx.open_under(execution):
        row = tx.row("SELECT tags FROM promises WHERE id=? AND state='pending'", (link,))
        tags = load_tags(row[0]) if row is not None and CHILD in row[0] else {}
        if CHILD in tags and DETACHED not in tags:
            tx.effects.orphans[tags[CHILD]] = reason or f"{execution.removeprefix(PREFIX)} is cancelled"


def overdue(tx: Tx) -> None:
    """Settle the executions whose time to clean up is over."""
    for (task_id,) in tx.rows(DUE, (tx.now,)):
        if not tx.lock_promise_if_free(task_id):
            tx.wake_at(tx.now + HELD_ELSEWHERE_MS)
            continue
        wished(tx, task_id)


def wished(tx: Tx, task_id: str) -> Record | None:
    """Settle an execution as cancelled if that was wished: whatever else it came to. None if it was not."""
    row = tx.row("SELECT cancel_reason FROM tasks WHERE id=? AND cancel_at IS NOT NULL", (task_id,))
    if row is None or tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (task_id,)) is None:
        return None
    return settle(tx, task_id, "rejected_canceled", reason_value(row[0] or ""))


def reason_value(reason: str) -> Value:
    """The value that a cancelled promise is settled with."""
    return Value(data=rejection(reason or "cancelled"))


def _cleans_up(tx: Tx, task: Row, *, comes: bool) -> bool:
    """Whether the task is a function that has begun, and somebody who is alive can run its clean-up, or `comes` to."""
    state, version, pid, function, session, _ = task
    cell = session is not None and not session.startswith(MAILBOX)
    if not function or cell or version == 0 or state not in ("acquired", "suspended", "pending"):
        return False
    if comes:
        return True
    if state == "acquired":
        return bool(tx.liveness.alive(pid))
    engines = tx.rows("SELECT engine, functions FROM engines")
    return any(function in _functions.decode(functions) and tx.liveness.alive(engine) for engine, functions in engines)


def _answer(promise: Record, *, cancelled: bool) -> Answer:
    return Answer(200, {"promise": promise, "cancelled": cancelled})
