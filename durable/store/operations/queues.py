"""Queues: made and changed, paused and drained, and executions put into them (specs/queues.md)."""

from __future__ import annotations

import msgspec

from durable.core.ids import FORKED_FROM, QUEUE
from durable.core.limits import QUEUE_ENTRIES_MAX
from durable.queues.states import EntryState, QueueEvent, QueueState, step_queue
from durable.store.operations import deployments, queue_entries
from durable.store.operations.event_notes import Note
from durable.store.operations.lock_keys import queue_key
from durable.store.operations.promises import Lease, address_of, check_create, check_value, create_promise
from durable.store.operations.queue_entries import QueueEntry
from durable.store.operations.row_records import dump, load_tags
from durable.store.operations.tasks import created_task
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    EMPTY,
    Answer,
    PromiseCreate,
    QueueBounds,
    QueueDeclare,
    QueueDelete,
    QueueEnqueue,
    QueueGet,
    QueueSet,
    QueueTurn,
    Record,
    Refused,
)

FUNCTION = "durable:function"
_CHANGING = ("durable:arguments", "durable:nonce", "durable:source")
"""Tags that say with what an execution begins: a debounced one has those of the last call."""
_STANDING = "name,state,concurrency,per_engine,per_key,rate_count,rate_ms,declared,delayed,waiting,running,started"


def record_of(tx: Tx, queue: str) -> Record | None:
    """A queue as answers show it, or None."""
    row = tx.row(f"SELECT {_STANDING} FROM queues WHERE name=?", (queue,))
    if row is None:
        return None
    return {
        "name": row[0],
        "state": row[1],
        "limits": {
            "concurrency": row[2],
            "per_engine": row[3],
            "per_key": row[4],
            "rate": None if row[5] is None else [row[5], row[6]],
        },
        "delayed": row[8],
        "waiting": row[9],
        "running": row[10],
        "started": row[11],
    }


def get(tx: Tx, request: QueueGet) -> Answer:
    return Answer(200, {"queue": _require(tx, request.queue)})


def _require(tx: Tx, queue: str) -> Record:
    record = record_of(tx, queue)
    if record is None:
        raise Refused(404, f"there is no queue {queue!r}")
    return record


def declare(tx: Tx, request: QueueDeclare) -> Answer:
    """Code says what limits a queue has. They take the place of others only where code said otherwise before."""
    tx.lock(queue_key(request.queue))
    declared = dump(request.limits)
    row = tx.row("SELECT declared FROM queues WHERE name=?", (request.queue,))
    if row is None:
        make_queue(tx, request.queue, request.limits)
    elif row[0] != declared:
        _limit(tx, request.queue, request.limits)
    if row is None or row[0] != declared:
        tx.execute("UPDATE queues SET declared=? WHERE name=?", (declared, request.queue))
    return Answer(200, {"queue": record_of(tx, request.queue)})


def change(tx: Tx, request: QueueSet) -> Answer:
    """Change limits while executions stand in the queue and run; what has begun goes on."""
    tx.lock(queue_key(request.queue))
    record = record_of(tx, request.queue)
    if record is None:
        make_queue(tx, request.queue, QueueBounds())
    before = QueueBounds() if record is None else msgspec.convert(record["limits"], QueueBounds)
    limits = msgspec.structs.replace(before, **{name: getattr(request.limits, name) for name in request.changes})
    _limit(tx, request.queue, limits)
    return Answer(200, {"queue": record_of(tx, request.queue)})


def turn(tx: Tx, request: QueueTurn) -> Answer:
    """Pause, resume or drain."""
    tx.lock(queue_key(request.queue))
    record = _require(tx, request.queue)
    state = step_queue(QueueState(record["state"]), QueueEvent(request.event))
    tx.execute("UPDATE queues SET state=? WHERE name=?", (state, request.queue))
    tx.effects.notes.append(Note("queue", request.queue, state=state))
    tx.effects.queue_changed(request.queue)
    return Answer(200, {"queue": record_of(tx, request.queue)})


_IN_LINE = "SELECT 1 FROM queue_entries WHERE queue=? AND state='waiting' LIMIT 1"
_NOT_IN_LINE = "SELECT 1 FROM queue_entries WHERE queue=? AND state<>'waiting' LIMIT 1"


def delete(tx: Tx, request: QueueDelete) -> Answer:
    """Forget a queue with its limits; refused while an execution of it has not ended."""
    tx.lock(queue_key(request.queue))
    _require(tx, request.queue)
    if not forget_queue(tx, request.queue):
        raise Refused(409, f"executions of the queue {request.queue!r} have not ended: drain it first")
    return Answer(200, {})


def forget_queue(tx: Tx, queue: str) -> bool:
    """Delete a queue with its limits, if there is one; False while an execution of it has not ended."""
    tx.lock(queue_key(queue))
    if any(tx.row(sql, (queue,)) is not None for sql in (_IN_LINE, _NOT_IN_LINE)):
        return False
    tx.execute("DELETE FROM queue_starts WHERE queue=?", (queue,))
    tx.execute("DELETE FROM queues WHERE name=?", (queue,))
    return True


def make_queue(tx: Tx, queue: str, limits: QueueBounds) -> None:
    """Make a queue that is not there, with these limits."""
    tx.execute(
        "INSERT INTO queues (name, state, declared, delayed, waiting, running, turn, started, next_start_at,"
        " created_at) VALUES (?,'open','',0,0,0,0,0,0,?)",
        (queue, tx.now),
    )
    _limit(tx, queue, limits)


def _limit(tx: Tx, queue: str, limits: QueueBounds) -> None:
    count, rate_ms = limits.rate or (None, None)
    tx.execute(
        "UPDATE queues SET concurrency=?, per_engine=?, per_key=?, rate_count=?, rate_ms=? WHERE name=?",
        (limits.concurrency, limits.per_engine, limits.per_key, count, rate_ms, queue),
    )
    load = queue_entries.load_of(tx, queue)
    assert load is not None
    queue_entries.note_rate(tx, queue, load.started, count, rate_ms)
    tx.execute(
        "UPDATE queue_lines SET open=CASE WHEN (SELECT k.running FROM queue_keys k WHERE k.queue=queue_lines.queue"
        " AND k.key=queue_lines.key) < ? THEN 1 ELSE 0 END WHERE queue=?",
        (2**62 if limits.per_key is None else limits.per_key, queue),
    )
    tx.effects.notes.append(Note("queue", queue, state=load.state))
    tx.effects.queue_changed(queue)
    tx.effects.rescan = True


# -- executions -------------------------------------------------------------------------------------------------


def enqueue(tx: Tx, request: QueueEnqueue) -> Answer:
    """Put an execution into a queue: its promise is there from then on, and its task is due when it has a place.

    `made` is false where one of this id, or of this `dedupe`, is there already; that is the answer then.
    """
    tags = request.promise.tags or {}
    _check(request, tags)
    tx.lock(queue_key(request.queue))
    queue = _require(tx, request.queue)
    found = tx.promise_row(request.promise.id)
    if found is None and request.dedupe is not None:
        same = tx.row("SELECT id FROM queue_entries WHERE queue=? AND dedupe=?", (request.queue, request.dedupe))
        if same is not None:
            return _same(tx, request, same[0])
    if found is not None:
        return Answer(200, {"promise": tx.record(found), "made": False, "task": None, "preload": []})
    if queue["state"] == QueueState.DRAINING:
        raise Refused(409, f"the queue {request.queue!r} is drained: it takes nothing new until it is resumed")
    if queue["delayed"] + queue["waiting"] >= QUEUE_ENTRIES_MAX:
        raise Refused(429, f"the queue {request.queue!r} holds {QUEUE_ENTRIES_MAX} executions (QUEUE_ENTRIES_MAX)")
    return _enter(tx, request, tags)


def _check(request: QueueEnqueue, tags: dict[str, str]) -> None:
    check_create(request.promise, tags)
    if tags.get(QUEUE) != request.queue:
        raise Refused(400, f"an execution of a queue has the tag {QUEUE}: {request.queue}")
    if "resonate:target" not in tags or not tags.get(FUNCTION) or "durable:session" in tags:
        raise Refused(400, f"{request.promise.id!r} is no execution of a durable function: a queue takes no others")
    if request.debounce_ms is not None and request.dedupe is None:
        raise Refused(400, "debounce needs dedupe, which says what calls are one")


def _enter(tx: Tx, request: QueueEnqueue, tags: dict[str, str]) -> Answer:
    delay_ms = request.delay_ms if request.debounce_ms is None else max(request.delay_ms, request.debounce_ms)
    begins = request.engine is not None and not delay_ms and _begins(tx, request, request.engine)
    lease = Lease(request.engine, request.ttl) if begins and request.engine is not None else None
    record, _ = create_promise(tx, request.promise, lease, queue=request.queue)
    if record["state"] != "pending":  # its deadline had passed
        return Answer(200, {"promise": record, "made": True, "task": None, "preload": []})
    address = address_of(tags["resonate:target"])
    state = EntryState.ADMITTED if begins else EntryState.DELAYED if delay_ms else EntryState.WAITING
    entry = QueueEntry(
        request.promise.id,
        request.queue,
        request.key,
        queue_entries.target_of(address and address["group"], tags[FUNCTION]),
        -request.priority,
        0,
        state,
        tx.now + delay_ms,
    )
    latest = None if request.debounce_ms is None else tx.now + (request.debounce_max_ms or 2**52)
    queue_entries.put(
        tx, entry, dedupe=request.dedupe, debounce_until=latest, engine=request.engine if begins else None
    )
    task = None if lease is None else created_task(request.promise.id, lease)
    return Answer(200, {"promise": record, "made": True, "task": task, "preload": []})


def _begins(tx: Tx, request: QueueEnqueue, engine: str) -> bool:
    """Whether nothing is before it and there is room: then whoever asks has it at once."""
    load = queue_entries.load_of(tx, request.queue)
    assert load is not None
    if load.waiting or not load.lets_begin(tx.now):
        return False
    key = tx.row("SELECT running FROM queue_keys WHERE queue=? AND key=?", (request.queue, request.key))
    served = tx.served.get(engine)
    takes = served is None or served.queues is None or request.queue in served.queues
    function = (request.promise.tags or {})[FUNCTION]
    routed = deployments.routes_of(tx, [function]).get(function, "")
    return (
        takes
        and deployments.of_engine(tx, engine) == routed
        and load.key_is_open(0 if key is None else key[0])
        and queue_entries.engine_has_room(tx, request.queue, engine)
    )


def _same(tx: Tx, request: QueueEnqueue, promise_id: str) -> Answer:
    """Another call of what is there: nothing is made. Debounced, it begins later, with these arguments."""
    tx.lock_promise(promise_id)
    found = tx.promise_row(promise_id)
    entry = queue_entries.find(tx, promise_id)
    assert found is not None
    own_tags = load_tags(found[6])
    own, function = own_tags[FUNCTION], (request.promise.tags or {})[FUNCTION]
    if own.partition("@")[0] != function.partition("@")[0]:
        raise Refused(409, f"{request.dedupe!r} of the queue {request.queue!r} is a call of {own}, not of {function}")
    assert entry is not None, f"what is to be found by its dedupe is in the queue: {promise_id}"
    begun = entry.state not in (EntryState.DELAYED, EntryState.WAITING) or FORKED_FROM in own_tags
    if request.debounce_ms is None or begun:
        return Answer(200, {"promise": tx.record(found), "made": False, "task": None, "preload": []})
    record = _replace_arguments(tx, request.promise, tx.record(found))
    if entry.state is EntryState.DELAYED:
        row = tx.row("SELECT debounce_until FROM queue_entries WHERE id=?", (promise_id,))
        assert row is not None
        ready_at = tx.now + max(request.debounce_ms, request.delay_ms)
        queue_entries.postpone(tx, entry, ready_at if row[0] is None else min(ready_at, row[0]))
    return Answer(200, {"promise": record, "made": False, "task": None, "preload": []})


def _replace_arguments(tx: Tx, promise: PromiseCreate, record: Record) -> Record:
    """The promise with which a debounced execution begins: that of the last call, under the id of the first."""
    before, after = record["tags"], promise.tags or {}
    if before.get(FUNCTION) != after.get(FUNCTION):
        raise Refused(409, f"{record['id']!r} is of {before.get(FUNCTION)}, not of {after.get(FUNCTION)}")
    param = promise.param or EMPTY
    check_value(param)
    tags = {**before, **{name: after[name] for name in _CHANGING if name in after}}
    data = tx.values.stored(param.data)
    tx.execute(
        "UPDATE promises SET param_headers=?, param_data=?, tags=? WHERE id=?",
        (None if param.headers is None else dump(param.headers), data, dump(tags), record["id"]),
    )
    return {**record, "param": msgspec.to_builtins(param), "tags": load_tags(dump(tags))}
