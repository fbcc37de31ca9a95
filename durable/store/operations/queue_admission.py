"""Admission: entries of queues get a place while there is room, and are offered to engines here (specs/queues.md).

Only what can be offered at once is admitted, so that a place is never held by what nobody here could begin.
"""

from __future__ import annotations

from collections.abc import Collection

from durable.core.limits import QUEUE_AHEAD_MS
from durable.queues.queue_load import QueueLoad
from durable.store.operations import deployments, dispatch
from durable.store.operations.lock_keys import queue_key
from durable.store.operations.queue_entries import admit, load_of, next_entry, open_targets
from durable.store.operations.row_records import Queries
from durable.store.operations.transaction import Tx

_DUE = (
    "SELECT id FROM tasks WHERE queue=? AND state='pending' AND due IS NOT NULL AND queue IS NOT NULL AND due <= ?"
    " ORDER BY due"
)
_WAITING = "SELECT name FROM queues WHERE waiting > 0"
_ADMISSIBLE = (
    "SELECT q.name FROM queues q WHERE q.waiting > 0 AND q.next_start_at <= ? AND q.state<>'paused'"
    " AND (q.concurrency IS NULL OR q.running < q.concurrency)"
    " AND EXISTS (SELECT 1 FROM queue_lines l WHERE l.queue=q.name AND l.open=1) LIMIT 1"
)


def anything(queries: Queries, now: int) -> bool:
    """Whether something waits that may begin, as far as its queue goes."""
    return bool(queries.rows(_ADMISSIBLE, (now + QUEUE_AHEAD_MS,)))


def admit_all(tx: Tx) -> None:
    """Admit from every queue in which something waits."""
    admit_from(tx, [row[0] for row in tx.rows(_WAITING)])


def admit_changed(tx: Tx) -> None:
    """Admit from the queues that this transaction changed, before the next request: so what begins does not depend on
    which requests are committed together."""
    while tx.effects.admissible:
        queues, tx.effects.admissible = tx.effects.admissible, set()
        admit_from(tx, queues)


def admit_from(tx: Tx, queues: Collection[str]) -> None:
    """Admit from these queues, one entry of each in turn, until nothing more may begin or nobody here has room."""
    turns = [turn for turn in (_Turn.of(tx, name) for name in sorted(queues)) if turn is not None]
    while turns:
        turns = [turn for turn in turns if turn.admit_one(tx)]


class _Turn:
    """A queue from which entries are admitted in this transaction."""

    def __init__(self, queue: str, targets: list[str]) -> None:
        self.queue = queue
        self.targets = targets
        self._routes: dict[str, str] | None = None

    @classmethod
    def of(cls, tx: Tx, queue: str) -> _Turn | None:
        """The turn of a queue from which something may be admitted; None where nothing may.

        What has a place, and found every engine at its limit when it was to go on, is offered first.
        """
        load = load_of(tx, queue)
        if load is not None and load.per_engine is not None:
            dispatch.offer(tx, [row[0] for row in tx.rows(_DUE, (queue, tx.now))])
        if _begins_at(tx, queue, load) is None:
            return None
        tx.lock(queue_key(queue))
        return cls(queue, open_targets(tx, queue))

    def admit_one(self, tx: Tx) -> bool:
        """Admit the next entry, and offer it. False when nothing more may begin here."""
        begins_at = _begins_at(tx, self.queue, load_of(tx, self.queue))
        if begins_at is None:
            return False
        if self._routes is None:
            self._routes = deployments.routes_of(tx, [target.partition(" ")[2] for target in self.targets])
        routes = self._routes
        here = [
            target
            for target in self.targets
            if dispatch.is_taken(tx, target, self.queue, routes.get(target.partition(" ")[2], ""))
        ]
        found = next_entry(tx, self.queue, here)
        if found is None:
            return False
        entry, is_recorded = found
        tx.lock_promise(entry.id)
        admit(tx, entry, begins_at)
        tx.execute(
            "UPDATE tasks SET due=CASE WHEN not_before > ?1 THEN not_before ELSE ?1 END WHERE id=?2",
            (begins_at, entry.id),
        )
        if is_recorded:
            from durable.store.operations import queued_forks  # a kernel need not import it

            queued_forks.begin(tx, entry.id, routes.get(entry.target.partition(" ")[2]))
        if begins_at > tx.now:
            tx.wake_at(begins_at)
        else:
            dispatch.offer(tx, [entry.id])
        return True


def _begins_at(tx: Tx, queue: str, load: QueueLoad | None) -> int | None:
    """When the next entry of a queue begins if it is admitted now; None where none is."""
    if load is None or not load.waiting:
        return None
    begins_at = load.begins_at(tx.now)
    if begins_at is None and load.has_place:
        tx.wake_at(load.next_start_at - QUEUE_AHEAD_MS)
    if begins_at is not None and begins_at > tx.now and not _has_room_ahead(tx, queue, load):
        tx.wake_at(begins_at)
        return None
    return begins_at


def _has_room_ahead(tx: Tx, queue: str, load: QueueLoad) -> bool:
    """Whether engines here have more room than those need that were admitted and begin in a moment."""
    free = dispatch.room(tx.ends)
    if free is None:
        return True
    row = tx.row("SELECT at FROM queue_starts WHERE queue=? AND n=?", (queue, load.started + 1 - free))
    return row is None or row[0] <= tx.now
