"""When something is due next: what deadlines.py does then is not needed to know it."""

from __future__ import annotations

from durable.core.clock import TIME_MAX_MS
from durable.core.limits import QUEUE_AHEAD_MS
from durable.store.operations.row_records import Queries

OVERDUE = (
    f"SELECT min(timeout_at) FROM promises WHERE state='pending' AND timeout_at < {TIME_MAX_MS}",
    "SELECT min(next_run_at) FROM schedules WHERE paused=0",
    "SELECT min(cancel_at) FROM tasks WHERE cancel_at IS NOT NULL",
    "SELECT min(ready_at) FROM queue_entries WHERE state='delayed'",
)
"""The times of what any engine deals with as soon as it is due."""
_LAPSED = "SELECT min(lease_at) FROM tasks WHERE state='acquired'"
_NEXT = " UNION ALL ".join(
    (
        *OVERDUE,
        f"{_LAPSED} AND lease_at > ?1",
        "SELECT min(due) FROM tasks WHERE state='pending' AND due IS NOT NULL AND due > ?1",
        f"SELECT min(next_start_at)-{QUEUE_AHEAD_MS} FROM queues"
        f" WHERE waiting > 0 AND next_start_at > ?1+{QUEUE_AHEAD_MS}",
    )
)


def next_deadline(queries: Queries, now: int) -> int:
    """The next time anything is due after now.

    An overdue task that nobody here serves does not count, nor does a lease that ran out and is another process's.
    """
    found = [row[0] for row in queries.rows(_NEXT, (now,))]
    return min((each for each in found if each is not None), default=TIME_MAX_MS)


def anything_due(queries: Queries, now: int) -> bool:
    """Whether a writer would change something now: what is overdue, and leases that ran out."""
    found = [row[0] for row in queries.rows(" UNION ALL ".join((*OVERDUE, _LAPSED)))]
    return any(each is not None and each <= now for each in found)
