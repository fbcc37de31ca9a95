"""Forks, retries and rewinds of what was put into a queue: they stand in it themselves (specs/queues.md, Q16-Q19).

One that waits has a record and has not begun: its operations that are open begin with it, when it gets a place.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.ids import PREFIX, QUEUE, QUEUE_DEDUPE, QUEUE_KEY, QUEUE_PRIORITY, WHOLE_TIME
from durable.core.limits import QUEUE_ENTRIES_MAX
from durable.queues.states import EntryState, QueueState
from durable.store.operations import children, deployments, queue_entries
from durable.store.operations.lock_keys import queue_key
from durable.store.operations.promises import address_of, find
from durable.store.operations.queue_entries import QueueEntry
from durable.store.operations.row_records import dump
from durable.store.operations.settlement import CHILD
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import QueueKey, QueueName, QueuePriority, RecordPromise, Refused

_PLACE = (QUEUE, QUEUE_KEY, QUEUE_PRIORITY, QUEUE_DEDUPE)


class _Words(msgspec.Struct, frozen=True):
    """The place of an execution as its tags say it; a request can have any tags."""

    queue: QueueName
    key: QueueKey = ""
    priority: QueuePriority = 0
    dedupe: QueueKey | None = None


class QueuePlace(NamedTuple):
    """The place of a fork: at the end of the line of `entry`, or, where `of` names one, that execution's own."""

    entry: QueueEntry
    dedupe: str | None = None
    of: str | None = None

    @property
    def begins(self) -> bool:
        """Whether it need not wait."""
        return self.entry.state is EntryState.ADMITTED


def place_of(tx: Tx, root: RecordPromise, rewound: str | None) -> QueuePlace | None:
    """The place that a fork gets, before anything is written; None where it stands in no queue. Refused: 422 where its
    queue takes nothing new, or has another one of its `dedupe`; 429 where it is full."""
    if rewound is not None:
        entry = queue_entries.find(tx, rewound)
        if entry is not None:
            tx.lock(queue_key(entry.queue))
            entry = queue_entries.find(tx, rewound)
        if entry is not None:
            row = tx.row("SELECT coalesce(admitted_at, ready_at) FROM queue_entries WHERE id=?", (rewound,))
            assert row is not None
            return QueuePlace(entry._replace(id=root.id, ready_at=row[0]), of=rewound)
    words = _words(root.tags)
    if words is None:
        return None
    tx.lock(queue_key(words.queue))
    load = queue_entries.load_of(tx, words.queue)
    if load is None:  # it was deleted, and its limits with it
        return None
    if load.state == QueueState.DRAINING:
        raise Refused(422, f"the queue {words.queue!r} is drained: it takes nothing new until it is resumed")
    if load.delayed + load.waiting >= QUEUE_ENTRIES_MAX:
        raise Refused(429, f"the queue {words.queue!r} holds {QUEUE_ENTRIES_MAX} executions (QUEUE_ENTRIES_MAX)")
    if words.dedupe is not None:
        same = tx.row("SELECT id FROM queue_entries WHERE queue=? AND dedupe=?", (words.queue, words.dedupe))
        if same is not None:
            raise Refused(
                422,
                f"{same[0].removeprefix(PREFIX)} is the call of dedupe={words.dedupe!r} in the queue {words.queue!r},"
                " and has not ended",
            )
    group = address_of(root.tags["resonate:target"])
    target = queue_entries.target_of(group and group["group"], root.tags["durable:function"])
    entry = QueueEntry(root.id, words.queue, words.key, target, -words.priority, 0, EntryState.WAITING, tx.now)
    return QueuePlace(entry, words.dedupe)


def _words(tags: dict[str, str]) -> _Words | None:
    if QUEUE not in tags:
        return None
    found = dict(zip(("queue", "key", "priority", "dedupe"), map(tags.get, _PLACE), strict=True))
    try:
        return msgspec.convert({name: text for name, text in found.items() if text is not None}, _Words, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, f"the tags of a place in a queue are none: {error}") from error


def without_place(root: RecordPromise) -> RecordPromise:
    """The promise of a fork that stands in no queue."""
    tags = {name: text for name, text in root.tags.items() if name not in _PLACE}
    return msgspec.structs.replace(root, tags=tags)


def stand(tx: Tx, place: QueuePlace) -> None:
    """Give a fork, which was recorded just now, its place."""
    if place.of is None:
        queue_entries.put(tx, place.entry, dedupe=place.dedupe)
    else:
        queue_entries.hand_over(tx, place.entry, place.of)


# -- what begins with it ----------------------------------------------------------------------------------------


def with_its_time(promise: RecordPromise, now: int, limit: int) -> RecordPromise:
    """An operation whose time begins now. limit: when its execution times out."""
    if WHOLE_TIME not in promise.tags:
        return promise
    tags = dict(promise.tags)
    whole_ms = tags.pop(WHOLE_TIME)
    until = now + min(int(whole_ms), TIME_MAX_MS) if whole_ms.isdecimal() else limit
    return msgspec.structs.replace(promise, tags=tags, timeout_at=min(until, limit), created_at=now)


def begin(tx: Tx, execution: str, deployment: str | None) -> None:
    """A fork gets a place: its children begin, and the time of what is begun again. deployment: the one that it goes
    to, where there is one."""
    row = tx.row("SELECT created_at, timeout_at FROM promises WHERE id=?", (execution,))
    assert row is not None, f"an entry is of a promise: {execution}"
    waited_ms, limit = max(0, tx.now - row[0]), row[1]
    tx.execute("UPDATE tasks SET deployment=coalesce(?, deployment) WHERE id=?", (deployment, execution))
    for promise_id in tx.open_under(execution):
        promise = msgspec.convert(find(tx, promise_id), RecordPromise)
        begun = with_its_time(_later(promise, waited_ms), tx.now, limit)
        if begun is not promise:
            sql = "UPDATE promises SET tags=?, timeout_at=?, created_at=? WHERE id=?"
            tx.execute(sql, (dump(begun.tags), begun.timeout_at, begun.created_at, promise_id))
            tx.wake_at(begun.timeout_at)
        if CHILD in begun.tags:
            root = children.root_of(begun.create())
            children.begin(tx, find(tx, promise_id), root, deployment=deployments.of_child(tx, None, deployment))


def _later(promise: RecordPromise, ms: int) -> RecordPromise:
    """An operation; of a child execution, one that has its own time from when it begins."""
    until = promise.tags.get(children.UNTIL, "")
    if CHILD not in promise.tags or not until.isdecimal() or int(until) >= TIME_MAX_MS:
        return promise
    tags = {**promise.tags, children.UNTIL: str(int(until) + ms)}
    return msgspec.structs.replace(promise, tags=tags, created_at=promise.created_at + ms)
