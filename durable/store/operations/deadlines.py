"""The work of due times: promises time out, leases end, schedules fire.

Everything due is settled before any request of the same transaction is answered, so expiry is visible on every read.
"""

from __future__ import annotations

from durable.core.clock import TIME_MAX_MS
from durable.core.limits import HELD_ELSEWHERE_MS, QUEUE_AHEAD_MS, RETRY_MAX_MS
from durable.store.operations import queue_entries
from durable.store.operations.cancellation import overdue
from durable.store.operations.leases import asked_for
from durable.store.operations.row_records import load_tags
from durable.store.operations.settlement import Settled, end_attempt, lease_until, settle_pending
from durable.store.operations.transaction import Deadline, Tx


def _deadlines(behind: str) -> str:
    return (
        "SELECT id, timeout_at, tags, length(id) FROM promises"
        f" WHERE state='pending' AND timeout_at < {TIME_MAX_MS} AND timeout_at <= ?{behind}"
        " ORDER BY timeout_at, length(id), id LIMIT ?"
    )


_FIRST_DEADLINES = _deadlines("")
_NEXT_DEADLINES = _deadlines(" AND (timeout_at, length(id), id) > (?, ?, ?)")
DEADLINES_MAX = 2**53
"""More promises than are due at any time."""
_SCHEDULE_DUE = "SELECT 1 FROM schedules WHERE paused=0 AND next_run_at <= ? LIMIT 1"
_DEADLINE_LEASE = (
    "SELECT id, pid, version, ttl FROM tasks WHERE state='acquired' AND lease_at <= ? ORDER BY lease_at, id"
)


def sweep(tx: Tx, most: int = DEADLINES_MAX) -> bool:
    """Settle what timed out, at its deadline's time; fire schedules; end the attempts whose lease ran out.

    False when so many promises were settled as a transaction may, and the rest is still to be seen to.
    """
    done = _time_out(tx, most)
    tx.work_on(None)
    if not done:
        return False
    overdue(tx)
    queue_entries.ripen(tx)
    if not tx.debug and tx.row(_SCHEDULE_DUE, (tx.now,)) is not None:
        from durable.store.operations import schedules  # most stores have none

        schedules.fire(tx)
    for task_id, pid, version, ttl in tx.rows(_DEADLINE_LEASE, (tx.now,)):
        if not tx.lock_promise_if_free(task_id):
            tx.wake_at(tx.now + HELD_ELSEWHERE_MS)
            continue
        if tx.row("SELECT 1 FROM tasks WHERE id=? AND state='acquired' AND lease_at <= ?", (task_id, tx.now)) is None:
            continue  # likewise: one that is lost here ends what it began
        verdict = tx.leases.verdict(task_id, version, pid)
        if verdict == "over":
            end_attempt(tx, task_id, "died", f"{pid} stopped renewing its lease", claimed=True)
        elif verdict != "theirs":
            lease_at = lease_until(tx, ttl if verdict == "held" else asked_for(ttl))
            tx.execute("UPDATE tasks SET lease_at=? WHERE id=?", (lease_at, task_id))
    return True


def _time_out(tx: Tx, most: int) -> bool:
    """Settle the promises that timed out, unless others hold them just now. False when there may be more of them."""
    passed_over = bool(tx.passed)
    while True:
        rows = tx.rows(_NEXT_DEADLINES if tx.passed else _FIRST_DEADLINES, (tx.now, *tx.passed, most))
        due = [
            Deadline(id=promise_id, at=timeout_at, timer=load_tags(tags).get("resonate:timer") == "true")
            for promise_id, timeout_at, tags, _ in rows
        ]
        free = tx.hold_if_free(due)
        for deadline in due:
            if deadline.id in free:
                tx.work_on(deadline)
                state: Settled = "resolved" if deadline.timer else "rejected_timedout"
                # None, when it went with an execution that an earlier deadline ended.
                settle_pending(tx, deadline.id, state, at=deadline.at)
        passed_over = passed_over or len(free) < len(due)
        if len(due) < most:
            if passed_over:
                tx.wake_at(tx.now + HELD_ELSEWHERE_MS)
            return True
        promise_id, timeout_at, _, length = rows[-1]
        tx.passed = (timeout_at, length, promise_id)
        if free:
            return False


def follow_clock(tx: Tx) -> None:
    """Follow a clock that was set back: what was due within a delay from then is due within that delay from now."""
    tx.execute(
        "UPDATE tasks SET due=CASE WHEN not_before > ?1 THEN not_before ELSE ?1 END"
        " WHERE state='pending' AND due > ?1+?2 AND due > not_before",
        (tx.now, RETRY_MAX_MS),
    )
    tx.execute(
        "UPDATE tasks SET lease_at=?1+ttl WHERE state='acquired' AND lease_at > ?1 AND lease_at-ttl > ?1", (tx.now,)
    )
    tx.execute(
        "UPDATE queues SET next_start_at=?1+rate_ms WHERE rate_ms IS NOT NULL AND next_start_at > ?1+rate_ms+?2",
        (tx.now, QUEUE_AHEAD_MS),
    )
    if tx.row("SELECT 1 FROM schedules LIMIT 1", ()) is not None:
        from durable.store.operations import schedules

        schedules.follow_clock(tx)
    tx.effects.rescan = True
