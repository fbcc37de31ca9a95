"""The delivery of due tasks to engines here that serve them, and of `unblock` to listeners (specs/store.md, S7).

A task is offered in the transaction that made it due, by pushing its due time into the future: of several processes
only the one whose transaction did that sends the message. What nobody here may take stays due for the others. An engine
of this process whose loop goes on gets a function with its lease: the transaction acquires the task for it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from durable.core.definition_id import ANY_CAPABILITY, capability_id, is_served
from durable.core.limits import DISPATCH_RETRY_MS, LEASE_MS, OUTBOX_KEEP_MS, QUEUE_AHEAD_MS
from durable.store.operations import deployments
from durable.store.operations.listener_posts import URLS, is_url, post
from durable.store.operations.queue_entries import engine_has_room
from durable.store.operations.row_records import Queries, Row, dump
from durable.store.operations.settlement import lease_until
from durable.store.operations.transaction import ACQUIRE_TASK, DUE_TASK, BegunTask, MessageEnd, Tx
from durable.store.protocol.requests import Record

_DUE = f"{DUE_TASK} AND due <= ?1 AND grp IN (SELECT value FROM json_each(?2)) ORDER BY due"
_RATED = "SELECT name FROM queues WHERE rate_count IS NOT NULL AND running > 0 ORDER BY name"
_DUE_OF_QUEUE = (
    f"{DUE_TASK} AND queue=?1 AND queue IS NOT NULL AND due <= ?2 AND due > ?3"
    " ORDER BY due, (SELECT n FROM queue_entries WHERE queue_entries.id=tasks.id)"
)
"""What a rate has just let begin, of which many have the same time: in the order in which they got their places."""
_ANY_DUE = (
    "SELECT 1 FROM tasks WHERE state='pending' AND due IS NOT NULL AND due <= ?1"
    " AND grp IN (SELECT value FROM json_each(?2)) LIMIT 1"
)
_DEFINED = "CASE WHEN options = '' THEN NULL ELSE json_extract(options, '$.defined') END"
_defined = msgspec.json.Decoder(dict[str, str])

type Taken = Mapping[tuple[str, str], int]
_NONE_TAKEN: Taken = {}
_MAIL = "SELECT 1 FROM outbox WHERE address IN (SELECT value FROM json_each(?)) LIMIT 1"


def execute_message(task_id: str, version: int) -> str:
    """The message to an engine that may acquire a task."""
    return dump({"kind": "execute", "head": {}, "data": {"task": {"id": task_id, "version": version}}})


def unblock_message(promise: Record) -> str:
    """The message to a listener."""
    return dump({"kind": "unblock", "head": {}, "data": {"promise": promise}})


def offer(tx: Tx, task_ids: Iterable[str]) -> None:
    """Offer tasks that became due in this transaction; note those that are for other processes."""
    ids = list(dict.fromkeys(task_ids))
    if not ids:
        return
    if not with_slots(tx.ends):
        tx.effects.peers = True
        return
    found = tx.due_rows(ids)
    chosen = []
    taken = Counter[tuple[str, str]]()
    for row in found:
        end = _taking(tx, row, taken)
        if end is not None:
            chosen.append((end, row))
            taken[end.engine, row[8]] += 1
        else:
            tx.effects.peers = True
    promises = _promises_of(tx, [row for _, row in chosen])
    for end, row in chosen:
        _push(tx, end, row, promises)


def offer_all(tx: Tx) -> None:
    """Offer what is due in the groups of this process's connections, the oldest first, while they have slots."""
    if with_slots(tx.ends):
        for (queue,) in tx.rows(_RATED):
            _offer_each(tx, tx.rows(_DUE_OF_QUEUE, (queue, tx.now, tx.now - QUEUE_AHEAD_MS)))
    if with_slots(tx.ends):
        _offer_each(tx, tx.each(_DUE, (tx.now, _groups(tx.ends))))


def _offer_each(tx: Tx, rows: Iterable[Row]) -> None:
    """Offer tasks that anybody may offer, in this order, while connections here have slots."""
    chosen = []
    taken = Counter[tuple[str, str]]()
    for row in rows:
        end = _taking(tx, row, taken)
        if end is not None:
            chosen.append((end, row))
            taken[end.engine, row[8]] += 1
        elif not with_slots(tx.ends):
            break
    claimed = tx.claim([(row[0], row[2]) for _, row in chosen])
    promises = _promises_of(tx, [row for _, row in chosen if row[0] in claimed])
    for end, row in chosen:
        if row[0] in claimed:
            _push(tx, end, row, promises)
        elif end.slots is not None:
            end.slots.give()
            tx.taken.remove(end.slots)


def tell_listeners(tx: Tx) -> None:
    """Push to connections of this process; leave a message in the outbox for all others, URLs among them."""
    for address, promise in tx.effects.unblocked:
        if is_url(address):
            post(tx, address, unblock_message(promise))
            continue
        end = next((end for end in tx.ends.values() if address in end.addresses()), None)
        if end is not None:
            tx.effects.pushes.append((end, unblock_message(promise)))
        else:
            _mail(tx, address, unblock_message(promise))
    tx.effects.unblocked = []


def collect_mail(tx: Tx) -> None:
    """Take from the outbox what other processes left for connections of this one."""
    for end in tx.ends.values():
        for address in end.addresses():
            sql = "DELETE FROM outbox WHERE address=? RETURNING id, message"
            for _, message in sorted(tx.rows(sql, (address,))):
                tx.effects.pushes.append((end, message))


def anything(queries: Queries, now: int, ends: dict[str, MessageEnd]) -> bool:
    """Whether a look without the write lock finds work for this process."""
    if not ends:
        return False
    addresses = dump([address for end in ends.values() for address in end.addresses()])
    free = with_slots(ends)
    due = bool(free) and bool(queries.rows(_ANY_DUE, (now, _groups(free))))
    return due or bool(queries.rows(_MAIL, (addresses,)))


def _groups(ends: dict[str, MessageEnd]) -> str:
    return dump(sorted({end.group for end in ends.values()}))


def with_slots(ends: dict[str, MessageEnd]) -> dict[str, MessageEnd]:
    """The connections whose engines have room for another execution."""
    return {name: end for name, end in ends.items() if end.slots is None or end.slots.free()}


def room(ends: dict[str, MessageEnd]) -> int | None:
    """How many executions more the engines here take; None where one of them is not counted."""
    slots = [end.slots for end in ends.values()]
    return None if None in slots else sum(each.left for each in slots if each is not None)


def _promises_of(tx: Tx, rows: list[Row]) -> dict[str, Record]:
    """The promises of the tasks that may begin with their offer, by id."""
    if not tx.attended or all(end.begin is None for end in tx.ends.values()):
        return {}
    wanted = [row[0] for row in rows if row[6] and row[7] is None]
    made = tx.fences.made
    read = tx.promise_rows([task_id for task_id in wanted if task_id not in made])
    return {**made, **{task_id: tx.record(row) for task_id, row in read.items()}}


def _taking(tx: Tx, row: Row, taken: Taken = _NONE_TAKEN) -> MessageEnd | None:
    """The connection that gets the task, with a slot taken for it.

    taken: how many others each engine is about to get, by engine and queue.
    """
    end = _choose(tx, row, taken)
    if end is not None and end.slots is not None:
        if not end.slots.take():
            return None
        tx.taken.append(end.slots)
    return end


def _push(tx: Tx, end: MessageEnd, row: Row, promises: dict[str, Record]) -> None:
    task_id, version, function, session, queue = row[0], row[1], row[6], row[7], row[8]
    if queue is not None:
        tx.execute("UPDATE queue_entries SET engine=? WHERE id=?", (end.engine, task_id))
    if end.begin is not None and tx.attended and function and session is None:
        deployment = deployments.of_engine(tx, end.engine) or None
        tx.execute_soon(ACQUIRE_TASK, (end.engine, LEASE_MS, lease_until(tx, LEASE_MS), deployment, task_id))
        tx.effects.begun.append(BegunTask(end, task_id, version + 1, promises[task_id]))
        return
    tx.execute("UPDATE tasks SET due=? WHERE id=?", (tx.now + DISPATCH_RETRY_MS, task_id))
    tx.wake_at(tx.now + DISPATCH_RETRY_MS)
    tx.effects.pushes.append((end, execute_message(task_id, version)))


def _choose(tx: Tx, row: Row, taken: Taken) -> MessageEnd | None:
    task_id, version, due, group, preferred, exclusive, function, session, queue, recorded, routes = row
    owner, needed = _owner(tx, session)
    able = [end for end in tx.ends.values() if end.group == group and _serves(tx, end, function, session, needed)]
    able = [end for end in able if _takes_from(tx, end, queue, taken)]
    if able and deployments.is_pinned(function, session):
        deployment = deployments.owner(tx, function, version, recorded, routes=bool(routes))
        able = [end for end in able if deployments.served_by(tx.served.get(end.engine), deployment)]
    if exclusive:
        able = [end for end in able if end.engine == preferred]
    able = [end for end in able if end.slots is None or end.slots.free()]
    if not able:
        return None
    wanted = owner or preferred
    local = next((end for end in able if end.engine == wanted), None)
    if local is not None:
        return local
    if owner is not None and tx.liveness.alive(owner):
        return None
    # A preferred engine elsewhere gets the first chance, and everybody the second.
    if (
        preferred is not None
        and preferred != owner
        and due > tx.now - DISPATCH_RETRY_MS
        and tx.liveness.alive(preferred)
    ):
        return None
    return able[zlib.crc32(task_id.encode()) % len(able)]


def _owner(tx: Tx, session: str | None) -> tuple[str | None, frozenset[str]]:
    """The owner of a session, and the capabilities that an engine must know to run its cells."""
    row = None if session is None else tx.row(f"SELECT owner, {_DEFINED} FROM sessions WHERE name=?", (session,))
    if row is None:
        return None, frozenset()
    return row[0], frozenset() if row[1] is None else frozenset(map(capability_id, _defined.decode(row[1])))


def _serves(tx: Tx, end: MessageEnd, function: str, session: str | None, needed: frozenset[str]) -> bool:
    if not function and session is None:
        return True
    served = tx.served.get(end.engine)
    if (
        served is None
        or (session is not None and not served.sessions)
        or (function and not is_served(function, served.functions))
    ):
        return False
    return needed <= served.functions or ANY_CAPABILITY in served.functions


def is_taken(tx: Tx, target: str, queue: str, deployment: str) -> bool:
    """Whether an engine here, of that deployment, has room for an execution of that group and function which comes from
    that queue."""
    group, _, function = target.partition(" ")
    return any(
        end.group == group
        and deployments.served_by(tx.served.get(end.engine), deployment)
        and _serves(tx, end, function, None, frozenset())
        and _takes_from(tx, end, queue)
        for end in with_slots(tx.ends).values()
    )


def _takes_from(tx: Tx, end: MessageEnd, queue: str | None, taken: Taken = _NONE_TAKEN) -> bool:
    """Whether an engine takes executions of that queue, or of none, and may run another one of it."""
    served = tx.served.get(end.engine)
    if served is not None and served.queues is not None and queue not in served.queues:
        return False
    return queue is None or engine_has_room(tx, queue, end.engine, more=taken.get((end.engine, queue), 0))


def _mail(tx: Tx, address: str, message: str) -> None:
    tx.execute("INSERT INTO outbox (address, message, created_at) VALUES (?,?,?)", (address, message, tx.now))
    tx.execute(
        f"DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT 8{tx.SKIP_LOCKED})"
        f" AND created_at < ? AND NOT ({URLS})",
        (tx.now - OUTBOX_KEEP_MS,),
    )
    tx.effects.peers = True
