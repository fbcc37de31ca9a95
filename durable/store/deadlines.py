"""What happens by itself, when the next due time has come: promises time out, leases end, schedules fire.

Everything due is settled before any request of the same transaction is answered, so expiry is visible on every read.
"""

from __future__ import annotations

import sqlite3

from durable.core.clock import TIME_MAX_MS
from durable.store import cancellation
from durable.store.cancellation import overdue
from durable.store.cascade import Settled, end_attempt, settle
from durable.store.records import load_tags
from durable.store.schedules import fire
from durable.store.transaction import Tx

_DEADLINE_PROMISE = (
    "SELECT id, timeout_at, tags FROM promises"
    f" WHERE state='pending' AND timeout_at < {TIME_MAX_MS} AND timeout_at <= ? ORDER BY timeout_at, length(id), id"
)
_DEADLINE_LEASE = "SELECT id, pid FROM tasks WHERE state='acquired' AND lease_at <= ? ORDER BY lease_at, id"
_NEXT = (
    f"SELECT min(timeout_at) FROM promises WHERE state='pending' AND timeout_at < {TIME_MAX_MS}",
    "SELECT min(lease_at) FROM tasks WHERE state='acquired'",
    "SELECT min(next_run_at) FROM schedules",
    cancellation.NEXT,
)
_NEXT_DUE = "SELECT min(due) FROM tasks WHERE state='pending' AND due IS NOT NULL AND due > ?"


def sweep(tx: Tx) -> None:
    """Settle what timed out, at its deadline's time; fire schedules; end the attempts whose lease ran out."""
    for promise_id, timeout_at, tags in tx.rows(_DEADLINE_PROMISE, (tx.now,)):
        if tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (promise_id,)) is None:
            continue  # it went with an execution that an earlier deadline of this sweep ended
        timer = load_tags(tags).get("resonate:timer") == "true"
        state: Settled = "resolved" if timer else "rejected_timedout"
        settle(tx, promise_id, state, at=timeout_at)
    overdue(tx)
    if not tx.debug:
        fire(tx)
    for task_id, pid in tx.rows(_DEADLINE_LEASE, (tx.now,)):
        if tx.row("SELECT 1 FROM tasks WHERE id=? AND state='acquired'", (task_id,)) is None:
            continue  # likewise: one that is lost here ends what it began
        end_attempt(tx, task_id, "died", f"{pid} stopped renewing its lease")


def next_deadline(connection: sqlite3.Connection, now: int) -> int:
    """The next time anything is due after now; an overdue task that nobody here serves does not count."""
    found = [connection.execute(sql).fetchone()[0] for sql in _NEXT]
    found.append(connection.execute(_NEXT_DUE, (now,)).fetchone()[0])
    return min((each for each in found if each is not None), default=TIME_MAX_MS)
