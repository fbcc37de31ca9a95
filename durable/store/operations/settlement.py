"""The transitions that pull others along: a promise settles, a task becomes pending, an attempt ends.


One transaction holds the whole cascade: the promise; its task fulfilled and the callbacks it held dropped; awaiters
resumed; listeners told; the next cell of its session made due.
"""

from __future__ import annotations

from typing import Literal

from durable.store.operations import queue_entries
from durable.store.operations.attempts import Cause, after_attempt, lost_value
from durable.store.operations.large_values import StoredText
from durable.store.operations.lock_keys import CHECKPOINTS
from durable.store.operations.row_records import Row, dump
from durable.store.operations.transaction import NOTE_PROGRESS, Tx
from durable.store.protocol.requests import EMPTY, Record, Value

type Settled = Literal["resolved", "rejected", "rejected_canceled", "rejected_timedout"]

ENDED: dict[str, str] = {
    "resolved": "completed",
    "rejected": "failed",
    "rejected_canceled": "cancelled",
    "rejected_timedout": "timed_out",
}
"""How an execution ended, in the words of every surface; `lost` where it was given up."""


CHILD = "durable:child"
"""Tag of a link: the promise of the child execution that it stands for (`children.py`)."""
DETACHED = "durable:detached"
"""Tag of a link whose child goes on when its parent has ended."""


def settle(
    tx: Tx, promise_id: str, state: Settled, value: Value = EMPTY, *, at: int | None = None, outcome: str | None = None
) -> Record:
    """Settle a pending promise and all that follows from it. `at` is the time of settlement, where it is not now."""
    record = settle_pending(tx, promise_id, state, value, at=at, outcome=outcome)
    assert record is not None, f"a terminal state never changes: {promise_id}"
    return record


def settle_pending(
    tx: Tx,
    promise_id: str,
    state: Settled,
    value: Value = EMPTY,
    *,
    at: int | None = None,
    outcome: str | None = None,
    by_child: bool = False,
) -> Record | None:
    """The same; None, and nothing happens, when no such promise is pending. by_child: it is a link, and its child
    settles."""
    tx.lock_promise(promise_id)
    headers = None if value.headers is None else dump(value.headers)
    data = tx.values.stored(value.data)
    row = tx.settle_promise(promise_id, (state, headers, data, tx.now if at is None else at, outcome))
    if row is None:
        return None
    record = tx.record(row)
    if CHILD in record["tags"] and not by_child:
        _unlink(tx, record)
    if row[10]:
        tx.effects.settled[promise_id] = record
        if CHILD not in record["tags"] or "resonate:target" in record["tags"]:  # a link is no task
            _end_task(tx, promise_id, outcome or ENDED[state])
        _tell_awaiters(tx, promise_id, record, data)
    else:
        tx.effects.internal[promise_id] = record
    return record


def _unlink(tx: Tx, link: Record) -> None:
    """A link was settled without its child, which leaves an orphan unless that is to go on."""
    tx.execute_soon("DELETE FROM callbacks WHERE awaiter=?", (link["id"],))
    if DETACHED not in link["tags"] and link["state"] in ("rejected_canceled", "rejected_timedout"):
        tx.effects.orphans[link["tags"][CHILD]] = "its parent goes on without it, or has ended"


def _end_task(tx: Tx, promise_id: str, ended: str) -> None:
    task = tx.end_task(promise_id, ended)
    if task is not None:
        tx.execute_soon("DELETE FROM callbacks WHERE awaiter=?", (promise_id,))
        if task[0] is not None:
            _close_cell(tx, promise_id, task[0], task[1])
        if task[2]:
            _close_open(tx, promise_id)
        if task[3] is not None:
            queue_entries.leave(tx, promise_id, task[3])


def _tell_awaiters(tx: Tx, promise_id: str, record: Record, stored: str | None) -> None:
    for awaiter in tx.take_awaiters(promise_id):
        if not resume(tx, awaiter):  # a link, which says what its child came to
            value = Value(data=None if stored is None else StoredText(stored))
            settle_pending(tx, awaiter, record["state"], value, by_child=True)
    for address in tx.take_listeners(promise_id):
        tx.effects.unblocked.append((address, record))


def _close_open(tx: Tx, execution: str) -> None:
    """Cancel what an ended execution of ours leaves open: its questions, calls, steps and child executions."""
    for promise_id in tx.open_under(execution):
        if tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (promise_id,)) is not None:
            settle(tx, promise_id, "rejected_canceled")


def link_to(tx: Tx, link: str, child: str) -> None:
    """A link is settled as its child will be: it stands among those that await that, and is no task."""
    tx.execute("INSERT INTO callbacks (awaited, awaiter) VALUES (?,?) ON CONFLICT DO NOTHING", (child, link))


def resume(tx: Tx, awaiter: str) -> bool:
    """Resume an awaiter whose promise settled: every unfinished task counts it, a suspended one becomes pending.

    False where the awaiter is no task, but a link.
    """
    tx.lock_promise(awaiter)
    row = tx.line_row(awaiter)
    if row is None:
        return False
    if row[0] == "fulfilled":
        return True
    if row[0] == "suspended":
        _line_up(tx, awaiter, row, delay_ms=0, settled_awaited=1)
    else:
        tx.execute("UPDATE tasks SET resumes=resumes+1 WHERE id=?", (awaiter,))
    return True


def make_pending(tx: Tx, task_id: str, *, delay_ms: int = 0) -> None:
    """Let a task be acquired: due after the delay, or not yet while another cell of its session is before it, or while
    it has no place in its queue."""
    tx.lock_promise(task_id)
    row = tx.line_row(task_id)
    assert row is not None, f"a task that is made pending exists: {task_id}"
    _line_up(tx, task_id, row, delay_ms=delay_ms, settled_awaited=0)


def _line_up(tx: Tx, task_id: str, row: Row, *, delay_ms: int, settled_awaited: int) -> None:
    """Make a task pending. row: its `line_row`; settled_awaited: how many promises it waits for settled just now."""
    _, session, n, not_before, timer, queue = row
    due: int | None = max(tx.now + delay_ms, not_before)
    if timer or (session is not None and not is_head(tx, session, n)):
        due = None
    if queue is not None and queue_entries.take_back(tx, task_id, queue, not_before):
        due = None
    tx.line_up(task_id, due, settled_awaited)
    announce(tx, task_id, due)


def announce(tx: Tx, task_id: str, due: int | None) -> None:
    """A pending task got a due time: offer it after this transaction's work, or wake up for it."""
    if due is None:
        return
    if due <= tx.now:
        tx.effects.ready.append(task_id)
    else:
        tx.wake_at(due)


def lease_until(tx: Tx, ttl: int) -> int:
    """When a lease that is given now ends, and the deadlines have to be looked at. ttl: ms."""
    lease_at = min(tx.now + ttl, 2**63 - 1)
    tx.wake_at(lease_at)
    return lease_at


def is_head(tx: Tx, session: str, n: int) -> bool:
    """Whether no unsettled cell of the session comes before n: only that one may run."""
    tx.lock_session(session)
    row = tx.row("SELECT 1 FROM cells WHERE session=? AND settled=0 AND n<? LIMIT 1", (session, n))
    return row is None


NEXT_CELL = (
    "SELECT c.promise FROM tasks t JOIN cells c ON c.session = t.session"
    " WHERE t.id=? AND c.settled=0 AND c.n <> t.n ORDER BY c.n LIMIT 1"
)
"""The first unsettled cell of a cell's session but itself."""


def _close_cell(tx: Tx, promise_id: str, session: str, n: int) -> None:
    tx.lock_session(session)
    tx.execute_soon("UPDATE cells SET settled=1 WHERE session=? AND n=?", (session, n))
    tx.effects.sessions.add(session)
    head = tx.row(NEXT_CELL, (promise_id,))
    if head is None:
        return
    blocked = "SELECT 1 FROM tasks WHERE id=? AND state='pending' AND due IS NULL AND timer=0"
    if tx.row(blocked, (head[0],)) is not None:
        make_pending(tx, head[0])


def end_attempt(tx: Tx, task_id: str, cause: Cause, error: str | None, *, claimed: bool = False) -> None:
    """An acquired task's attempt ended without result: another after a delay, or the promise is settled as lost.

    `claimed`: its engine may be at it still, unheard of: until somebody else acquires the task it may go on (L4).
    """
    tx.lock_promise(task_id)
    row = tx.row(
        "SELECT attempts_failed, attempts_died, progress, last_error, function, pid, ttl FROM tasks WHERE id=?",
        (task_id,),
    )
    assert row is not None, f"an attempt belongs to a task: {task_id}"
    attempts = after_attempt(row[0], row[1], progress=bool(row[2]), cause=cause)
    last_error = error if error is not None else (row[3] if row[3] is not None else "released without a reason")
    tx.execute(
        "UPDATE tasks SET attempts_failed=?, attempts_died=?, progress=0, last_error=? WHERE id=?",
        (attempts.failed, attempts.died, last_error, task_id),
    )
    # A task of another SDK, which names no function of ours, is offered for ever, as any Resonate server does.
    if attempts.lost and row[4] and not tx.debug:
        value = Value(data=lost_value(task_id, attempts.failed + attempts.died, last_error))
        settle(tx, task_id, "rejected", value, outcome="lost")
    else:
        make_pending(tx, task_id, delay_ms=attempts.delay_ms)
        if claimed and row[4]:
            tx.execute("UPDATE tasks SET lapsed_pid=?, lapsed_ttl=? WHERE id=?", (row[5], row[6], task_id))


def note_progress(tx: Tx, task_id: str) -> None:
    """Note that this attempt recorded something new, so it will not count."""
    tx.execute_soon(NOTE_PROGRESS, (task_id,))


def forget_checkpoints(tx: Tx, checkpoints: list[int]) -> list[str]:
    """Delete checkpoints and the chunks that only they used; returns those chunks, which may lie in files too."""
    tx.lock(CHECKPOINTS)
    unused = (
        "SELECT DISTINCT u.digest FROM checkpoint_uses u"
        " WHERE u.checkpoint IN (SELECT CAST(value AS BIGINT) FROM json_each(?1))"
        " AND NOT EXISTS (SELECT 1 FROM checkpoint_uses o WHERE o.digest=u.digest"
        " AND o.checkpoint NOT IN (SELECT CAST(value AS BIGINT) FROM json_each(?1))) ORDER BY u.digest"
    )
    dropped = [row[0] for row in tx.rows(unused, (dump(checkpoints),))] if checkpoints else []
    drop_checkpoints(tx, checkpoints, dropped)
    return dropped


def drop_checkpoints(tx: Tx, checkpoints: list[int], unused: list[str]) -> None:
    """Delete checkpoints, and these chunks."""
    for checkpoint in checkpoints:
        tx.execute("DELETE FROM checkpoint_uses WHERE checkpoint=?", (checkpoint,))
        tx.execute("DELETE FROM checkpoints WHERE id=?", (checkpoint,))
    if unused:
        tx.execute("DELETE FROM chunks WHERE digest IN (SELECT value FROM json_each(?))", (dump(unused),))
