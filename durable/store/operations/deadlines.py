"""The work of due times: promises time out, leases end, schedules fire.

Everything due is settled before any request of the same transaction is answered, so expiry is visible on every read.
"""

from __future__ import annotations

from durable.core.clock import TIME_MAX_MS
from durable.core.limits import HELD_ELSEWHERE_MS, RETRY_MAX_MS
from durable.store.operations import cancellation, queue_admission, queue_entries
from durable.store.operations.cancellation import overdue
from durable.store.operations.leases import asked_for
from durable.store.operations.row_records import Queries, load_tags
from durable.store.operations.schedules import fire
from durable.store.operations.settlement import Settled, end_attempt, lease_until, settle
from durable.store.operations.transaction import Tx

_DEADLINE_PROMISE = (
    "SELECT id, timeout_at, tags FROM promises"
    f" WHERE state='pending' AND timeout_at < {TIME_MAX_MS} AND timeout_at <= ? ORDER BY timeout_at, length(id), id"
)
_DEADLINE_LEASE = (
    "SELECT id, pid, version, ttl FROM tasks WHERE state='acquired' AND lease_at <= ? ORDER BY lease_at, id"
)
OVERDUE = (
    f"SELECT min(timeout_at) FROM promises WHERE state='pending' AND timeout_at < {TIME_MAX_MS}",
    "SELECT min(next_run_at) FROM schedules WHERE paused=0",
    cancellation.NEXT,
    queue_admission.RIPE,
)
"""The times of what any engine deals with as soon as it is due."""
_NEXT = " UNION ALL ".join(
    (
        *OVERDUE,
        "SELECT min(lease_at) FROM tasks WHERE state='acquired' AND lease_at > ?1",
        "SELECT min(due) FROM tasks WHERE state='pending' AND due IS NOT NULL AND due > ?1",
        queue_admission.NEXT,
    )
)


def sweep(tx: Tx) -> None:
    """Settle what timed out, at its deadline's time; fire schedules; end the attempts whose lease ran out."""
    for promise_id, timeout_at, tags in tx.rows(_DEADLINE_PROMISE, (tx.now,)):
        if not tx.lock_promise_if_free(promise_id):
            tx.wake_at(tx.now + HELD_ELSEWHERE_MS)
            continue
        if tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (promise_id,)) is None:
            continue  # it went with an execution that an earlier deadline of this sweep ended
        timer = load_tags(tags).get("resonate:timer") == "true"
        state: Settled = "resolved" if timer else "rejected_timedout"
        settle(tx, promise_id, state, at=timeout_at)
    overdue(tx)
    queue_entries.ripen(tx)
    if not tx.debug:
        fire(tx)
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
        "UPDATE queues SET next_start_at=?1+rate_ms WHERE rate_ms IS NOT NULL AND next_start_at > ?1+rate_ms", (tx.now,)
    )
    tx.effects.rescan = True


def next_deadline(queries: Queries, now: int) -> int:
    """The next time anything is due after now.

    An overdue task that nobody here serves does not count, nor does a lease that ran out and is another process's.
    """
    found = [row[0] for row in queries.rows(_NEXT, (now,))]
    return min((each for each in found if each is not None), default=TIME_MAX_MS)
