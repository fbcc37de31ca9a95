"""Actors: their mail in order, their state saved with their turns, their dead letters (specs/actors.md, Store).

An actor's mail is the cells of a session of its name, so that one message is at work at a time, in order of its number;
the fence of a turn is the version of its message's task. What is here is the rest.
"""

from __future__ import annotations

import msgspec

from durable.core.ids import health_of
from durable.core.limits import SWEEP_ROWS
from durable.store.operations import kv, sessions, tasks
from durable.store.operations.attempts import rejection
from durable.store.operations.row_records import Row, dump
from durable.store.operations.settlement import is_head, settle
from durable.store.operations.tasks import give_lease
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    ActorAt,
    ActorDelete,
    ActorFulfill,
    ActorJournal,
    ActorLetters,
    ActorList,
    ActorRestart,
    ActorSend,
    ActorStop,
    ActorSubscribe,
    ActorSubscriptions,
    Answer,
    CellSubmit,
    Record,
    Refused,
    SweepActors,
    Value,
)

_COLUMNS = (
    "name, kind, key, status, note, state, version, saved, restarts, restarted, parent, place, created_at, updated_at"
)
ROW = f"SELECT {_COLUMNS} FROM actors WHERE name=?"
_NAMES = tuple(_COLUMNS.split(", "))
_WAITING = "SELECT count(*) FROM (SELECT 1 FROM cells WHERE session=? AND settled=0 LIMIT ?) page"
_AT_WORK = (
    "SELECT 1 FROM cells c JOIN tasks t ON t.id=c.promise WHERE c.session=? AND c.settled=0 AND t.version>0 LIMIT 1"
)
_CHILD = "SELECT 1 FROM actors WHERE parent=? LIMIT 1"
_OLD = "SELECT name FROM actors WHERE name > ? AND status<>'running' AND updated_at < ? ORDER BY name LIMIT ?"
_LETTERS = "SELECT id FROM dead_letters WHERE at < ? ORDER BY at, id LIMIT ?"
COUNTED_MAX = 100_000
"""Messages that are counted in a mailbox without a bound."""

_restarts = msgspec.json.Decoder(list[float])


def _row(tx: Tx, actor: str) -> Row | None:
    return tx.row(ROW, (actor,))


def _find(tx: Tx, actor: str) -> Row:
    row = _row(tx, actor)
    if row is None:
        raise Refused(404, f"actor {actor!r} does not exist")
    return row


def record(row: Row) -> Record:
    """An actor from the columns of ROW."""
    found = dict(zip(_NAMES, row, strict=True))
    found["restarts"] = _restarts.decode(found["restarts"])
    return found


def _waiting(tx: Tx, actor: str, most: int = COUNTED_MAX) -> int:
    row = tx.row(_WAITING, (actor, most))
    assert row is not None
    return int(row[0])


def _make(tx: Tx, request: ActorSend | ActorFulfill | ActorSubscribe, parent: str | None = None) -> None:
    """Its row, behind the other children of its supervisor."""
    place = 0
    if parent is not None:
        tx.lock_session(parent)
        row = tx.row("SELECT coalesce(max(place), 0) + 1 FROM actors WHERE parent=?", (parent,))
        assert row is not None
        place = int(row[0])
    tx.execute(
        f"INSERT INTO actors ({_COLUMNS}) VALUES (?,?,?,'running','',NULL,0,0,'[]',0,?,?,?,?)",
        (request.actor, request.kind, request.key, parent, place, tx.now, tx.now),
    )


# -- mail -------------------------------------------------------------------------------------------------------------


def send(tx: Tx, request: ActorSend) -> Answer:
    """Put a message into an actor's mailbox; the actor comes into being with its first. `refused` says why it was not.

    Where an engine asks and nothing is before it, its task is acquired at once.
    """
    tx.lock_session(request.actor)
    row = _row(tx, request.actor)
    submitted = CellSubmit(session=request.actor, id=request.id, promise=request.promise)
    if request.id is not None and tx.promise_row(f"exec:{request.actor}@{request.id}") is not None:
        return sessions.submit(tx, submitted)
    if row is not None and row[3] != "running":
        param = request.promise.param
        _bury(tx, request.actor, "", None if param is None else param.data, f"the actor was {row[3]} already")
        return Answer(200, {"promise": None, "refused": row[3], "note": row[4], "task": None})
    if request.capacity is not None and _waiting(tx, request.actor, request.capacity) >= request.capacity:
        return Answer(200, {"promise": None, "refused": "full", "note": "", "task": None})
    answer = sessions.submit(tx, submitted)
    if row is None:
        _make(tx, request, request.parent)
    promise, n = answer.data["promise"], answer.data["n"]
    assert isinstance(promise, dict)
    assert isinstance(n, int)
    if request.engine is not None and promise["state"] == "pending" and is_head(tx, request.actor, n):
        promise_id = str(promise["id"])
        tx.effects.ready = [each for each in tx.effects.ready if each != promise_id]
        answer.data["task"] = give_lease(tx, promise_id, 0, request.engine, request.ttl)
    return answer


def fulfill(tx: Tx, request: ActorFulfill) -> Answer:
    """Settle a turn, fenced as every task is, and save what it came to: state, restarts, status, a dead letter."""
    actor = request.actor
    answer = tasks.fulfill(tx, request.task)
    promise = answer.data["promise"]
    assert isinstance(promise, dict)
    if promise["state"] != request.task.action.data.state:
        return answer  # it was cancelled meanwhile: nothing of it counts
    if _row(tx, actor) is None:  # the first of its messages is a child of a function
        _make(tx, request)
    if request.state is not None:
        tx.execute(
            "UPDATE actors SET state=?, version=?, saved=saved+1, updated_at=? WHERE name=?",
            (request.state, request.version, tx.now, actor),
        )
    if request.restarts is not None:
        tx.execute(
            "UPDATE actors SET restarts=?, restarted=restarted+?, updated_at=? WHERE name=?",
            (dump(request.restarts), request.restarted, tx.now, actor),
        )
    if request.forget:
        kv.forget(tx, journal_of(actor))
    if request.journal is not None:
        kv.append(tx, journal_of(actor), request.journal)
    if request.dead is not None:
        param = promise["param"]
        assert isinstance(param, dict)
        _bury(tx, actor, request.task.id, param.get("data"), request.dead)
    if request.status != "running":
        _end(tx, actor, request.status, request.note, whole=True)
    return answer


def stop(tx: Tx, request: ActorStop) -> Answer:
    """Let an actor take no more messages: what waits is among the dead letters, a turn that has begun ends by itself.

    `force`: that one too.
    """
    _find(tx, request.actor)
    return Answer(200, {"letters": _end(tx, request.actor, request.status, request.note, whole=request.force)})


def _end(tx: Tx, actor: str, status: str, note: str, *, whole: bool) -> int:
    """The last message first: none is made due by the end of the one before it."""
    tx.execute("UPDATE actors SET status=?, note=?, updated_at=? WHERE name=?", (status, note, tx.now, actor))
    mail = tx.rows(
        "SELECT c.promise, p.param_data, t.version FROM cells c JOIN tasks t ON t.id=c.promise"
        " JOIN promises p ON p.id=c.promise WHERE c.session=? AND c.settled=0 ORDER BY c.n DESC",
        (actor,),
    )
    reason = f"the actor {'failed' if status == 'failed' else 'was stopped'}" + (f": {note}" if note else "")
    count = 0
    for promise_id, data, version in mail:
        open_still = "SELECT 1 FROM promises WHERE id=? AND state='pending'"
        if (version == 0 or whole) and tx.row(open_still, (promise_id,)) is not None:
            _bury(tx, actor, promise_id, tx.values.whole(data), reason)
            settle(tx, promise_id, "rejected", Value(data=rejection(_stopped(actor, note))))
            if version:
                tx.effects.cancelled.add(promise_id)  # its code, where it runs, is told
            count += 1
    return count


def _stopped(actor: str, note: str) -> str:
    """The error document of mail that nobody answers."""
    text = f"actor {actor} is stopped" + (f": {note}" if note else "")
    return dump({"type": "error", "exception_type": "durable.ActorStopped", "exception_message": text})


def restart(tx: Tx, request: ActorRestart) -> Answer:
    """Let an actor go on with its last saved state, or with none, and with a clean record of restarts."""
    _find(tx, request.actor)
    if request.reset and tx.row(_AT_WORK, (request.actor,)) is not None:
        raise Refused(409, f"a turn of {request.actor!r} is at work, on the state that it was begun with")
    tx.execute(
        "UPDATE actors SET status='running', note='', restarts='[]', restarted=restarted+1, updated_at=? WHERE name=?",
        (tx.now, request.actor),
    )
    if request.reset:
        tx.execute("UPDATE actors SET state=NULL, version=0, saved=saved+1 WHERE name=?", (request.actor,))
        kv.forget(tx, journal_of(request.actor))
    return Answer(200, record(_find(tx, request.actor)))


# -- the journal of one that is a component ---------------------------------------------------------------------------


def journal_of(actor: str) -> str:
    """The namespace of an actor's journal; no code can name it, since names of namespaces have no space."""
    return f"journal of {actor}"


def journal(tx: Tx, request: ActorJournal) -> Answer:
    """A page of the entries, in order, each with its key."""
    rows = tx.rows(
        "SELECT key, value FROM kv WHERE namespace=? AND key > ? ORDER BY key LIMIT ?",
        (journal_of(request.actor), request.after, request.limit),
    )
    return Answer(200, {"entries": [list(row) for row in rows]})


# -- deleting ---------------------------------------------------------------------------------------------------------


def delete(tx: Tx, request: ActorDelete) -> Answer:
    """Forget an actor: its row with its state, its dead letters, subscriptions and values. Its messages stay.

    `force`: one that runs is stopped first, and its children are under nobody then.
    """
    row = _find(tx, request.actor)
    if request.force:
        _end(tx, request.actor, "stopped", "it is deleted", whole=True)
        tx.execute("UPDATE actors SET parent=NULL WHERE parent=?", (request.actor,))
    elif row[3] == "running":
        raise Refused(409, f"actor {request.actor!r} is running")
    elif _waiting(tx, request.actor, 1):
        raise Refused(409, f"a turn of {request.actor!r} is at work")
    elif tx.row(_CHILD, (request.actor,)) is not None:
        raise Refused(409, f"actor {request.actor!r} supervises others")
    return Answer(200, {"letters": _forget(tx, request.actor)})


def _forget(tx: Tx, actor: str) -> int:
    letters = tx.rows("DELETE FROM dead_letters WHERE actor=? RETURNING 1", (actor,))
    for sql in ("DELETE FROM actors WHERE name=?", "DELETE FROM subscriptions WHERE actor=?"):
        tx.execute(sql, (actor,))
    for namespace in (actor, journal_of(actor), health_of(actor)):
        kv.forget(tx, namespace)
    return len(letters)


def sweep(tx: Tx, request: SweepActors) -> Answer:
    """Forget the next actors that were stopped or failed before a time, with nothing under way and no children; then
    dead letters of before that time.
    """
    rows = tx.rows(_OLD, (request.after, request.before, SWEEP_ROWS))
    count = letters = 0
    for (name,) in rows:
        if not _waiting(tx, name, 1) and tx.row(_CHILD, (name,)) is None:
            count += 1
            letters += _later_letters(tx, name, request.before) if request.dry_run else _forget(tx, name)
    if len(rows) == SWEEP_ROWS:
        return Answer(200, {"next": rows[-1][0], "more": True, "actors": count, "letters": letters})
    old = tx.rows(_LETTERS, (request.before, COUNTED_MAX if request.dry_run else SWEEP_ROWS))
    if not request.dry_run:
        tx.execute_many("DELETE FROM dead_letters WHERE id=?", old)
    more = len(old) == SWEEP_ROWS and not request.dry_run
    last = rows[-1][0] if rows else request.after
    return Answer(200, {"next": last, "more": more, "actors": count, "letters": letters + len(old)})


def _later_letters(tx: Tx, actor: str, before: int) -> int:
    row = tx.row("SELECT count(*) FROM dead_letters WHERE actor=? AND at >= ?", (actor, before))
    assert row is not None
    return int(row[0])


# -- what there is ------------------------------------------------------------------------------------------------


def get(tx: Tx, request: ActorAt) -> Answer:
    """An actor, with how many messages wait in its mailbox."""
    return Answer(200, {**record(_find(tx, request.actor)), "waiting": _waiting(tx, request.actor)})


def listing(tx: Tx, request: ActorList) -> Answer:
    """A page of actors in order of name, or of one supervisor's children in start order."""
    order, where, parameters = "name", "name > ?", list[object]([request.after])
    if request.parent is not None:
        order, where = "place, name", "parent = ? AND (place, name) > (?, ?)"
        parameters = [request.parent, request.place, request.after]
    for column, wanted in (("kind", request.kind), ("status", request.status)):
        if wanted is not None:
            where, parameters = f"{where} AND {column} = ?", [*parameters, wanted]
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM actors WHERE {where} ORDER BY {order} LIMIT ?", (*parameters, request.limit)
    )
    found = [{**record(row), "waiting": _waiting(tx, row[0])} for row in rows]
    return Answer(200, {"actors": found})


# -- dead letters ---------------------------------------------------------------------------------------------------


def _bury(tx: Tx, actor: str, promise: str, message: str | None, reason: str) -> None:
    tx.execute(
        "INSERT INTO dead_letters (actor, promise, message, reason, at) VALUES (?,?,?,?,?)",
        (actor, promise, message or "", reason, tx.now),
    )


def letters(tx: Tx, request: ActorLetters) -> Answer:
    """Dead letters, the newest first."""
    where, parameters = "id < ?", list[object]([request.before or 2**63 - 1])
    if request.actor is not None:
        where, parameters = f"actor = ? AND {where}", [request.actor, *parameters]
    rows = tx.rows(
        f"SELECT id, actor, promise, message, reason, at FROM dead_letters WHERE {where} ORDER BY id DESC LIMIT ?",
        (*parameters, request.limit),
    )
    names = ("id", "actor", "promise", "message", "reason", "at")
    return Answer(200, {"letters": [dict(zip(names, row, strict=True)) for row in rows]})


# -- topics -----------------------------------------------------------------------------------------------------------


def subscribe(tx: Tx, request: ActorSubscribe) -> Answer:
    """Have what is published on a pattern's topics sent to a method of an actor; without a method, no more."""
    if request.method is None:
        gone = tx.row(
            "DELETE FROM subscriptions WHERE pattern=? AND actor=? RETURNING 1", (request.pattern, request.actor)
        )
        return Answer(200, {"changed": gone is not None})
    if _row(tx, request.actor) is None:
        _make(tx, request)
    made = tx.row(
        "INSERT INTO subscriptions (pattern, actor, method) VALUES (?1,?2,?3)"
        " ON CONFLICT (pattern, actor) DO UPDATE SET method=?3 RETURNING 1",
        (request.pattern, request.actor, request.method),
    )
    return Answer(200, {"changed": made is not None})


def subscriptions(tx: Tx, request: ActorSubscriptions) -> Answer:
    """A page of subscriptions, in order of pattern and actor."""
    rows = tx.rows(
        "SELECT pattern, actor, method FROM subscriptions WHERE (pattern, actor) > (?, ?)"
        " ORDER BY pattern, actor LIMIT ?",
        (request.pattern, request.actor, request.limit),
    )
    names = ("pattern", "actor", "method")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return Answer(200, {"subscriptions": found})
