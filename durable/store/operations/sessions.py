"""Sessions: one owner, an epoch that fences its writes, a place in line for each cell (specs/store.md, S9)."""

from __future__ import annotations

import msgspec

from durable.store.operations import kv, policies
from durable.store.operations.attempts import lost_value, rejection
from durable.store.operations.promises import Lease, add_callback, check_create, create_promise, next_n, settle_request
from durable.store.operations.row_records import PROMISE, Row, dump
from durable.store.operations.settlement import forget_checkpoints, note_progress, settle
from durable.store.operations.tasks import created_task
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    Answer,
    CallCreate,
    CallList,
    CellSubmit,
    PromiseCreate,
    Record,
    Refused,
    Session,
    SessionAt,
    SessionOpen,
    SessionTake,
    SessionWorker,
    Value,
)

_COLUMNS = "name, owner, epoch, options, worker_pid, worker_start, closed, next_n"
OWN = "session/"
"""A session's own namespace of values is this and its name; it goes with the session."""
RUN = "run"
"""In the options of a session that is one run of sandboxed code: its execution id. No other session ever has its name,
and no execution is recorded in it, so nothing of it stays.
"""

_options = msgspec.json.Decoder(dict[str, object])


SESSION = f"SELECT {_COLUMNS} FROM sessions WHERE name=?"
"""The row of a session: by its epoch every write of it is fenced."""


def _find(tx: Tx, session: str) -> Row:
    row = tx.row(SESSION, (session,))
    if row is None:
        raise Refused(404, f"session {session!r} does not exist")
    return row


def _worker(row: Row) -> Record | None:
    return None if row[4] is None else {"pid": row[4], "start": row[5]}


def _record(row: Row, *, created: bool) -> Answer:
    return Answer(
        200,
        {
            "session": row[0],
            "owner": row[1],
            "epoch": row[2],
            "created": created,
            "options": _options.decode(row[3]) if row[3] else {},
            "worker": _worker(row),
            "closed": bool(row[6]),
            "next_n": row[7],
        },
    )


def require_epoch(tx: Tx, session: str, epoch: int) -> Row:
    """Fence: the session still has the owner of that epoch."""
    row = _find(tx, session)
    if row[2] != epoch:
        raise Refused(409, f"session {session!r} moved: its epoch is {row[2]}, not {epoch}")
    return row


def open_(tx: Tx, request: SessionOpen) -> Answer:
    """Make it when missing, closed, or only named so far; take it when an engine asks and nobody alive has it."""
    row = tx.row(f"SELECT {_COLUMNS} FROM sessions WHERE name=?", (request.session,))
    created = row is None or bool(row[6]) or row[3] == ""
    if created:
        tx.execute(
            "INSERT INTO sessions (name, epoch, options, next_n, created_at) VALUES (?1,0,?2,1,?3)"
            " ON CONFLICT (name) DO UPDATE"
            " SET options=?2, epoch=sessions.epoch+sessions.closed, closed=0, created_at=?3",
            (request.session, dump(request.options), tx.now),
        )
    row = _find(tx, request.session)
    owner = row[1]
    if request.engine is not None and owner != request.engine and (owner is None or not tx.liveness.alive(owner)):
        _own(tx, request.session, request.engine)
    return _record(_find(tx, request.session), created=created)


def _own(tx: Tx, session: str, engine: str) -> None:
    tx.execute("UPDATE sessions SET owner=?, epoch=epoch+1 WHERE name=?", (engine, session))
    tx.effects.sessions.add(session)


def take(tx: Tx, request: SessionTake) -> Answer:
    """Become the owner. The old worker stays on record until the new one is, so that a second taker still finds it."""
    row = _find(tx, request.session)
    owner = row[1]
    if owner != request.engine:
        if owner is not None and tx.liveness.alive(owner):
            raise Refused(409, f"session {request.session!r} is owned by {owner}, which is alive")
        _own(tx, request.session, request.engine)
    epoch = _find(tx, request.session)[2]
    return Answer(200, {"epoch": epoch, "previous_worker": _worker(row)})


def worker(tx: Tx, request: SessionWorker) -> Answer:
    """Record the process that holds the namespace, so that whoever takes over can end it."""
    require_epoch(tx, request.session, request.epoch)
    tx.execute(
        "UPDATE sessions SET worker_pid=?, worker_start=? WHERE name=?", (request.pid, request.start, request.session)
    )
    return Answer(200, {})


def give(tx: Tx, request: SessionAt) -> Answer:
    """Give it up: no owner, no worker."""
    require_epoch(tx, request.session, request.epoch)
    tx.execute("UPDATE sessions SET owner=NULL, worker_pid=NULL, worker_start=NULL WHERE name=?", (request.session,))
    tx.effects.sessions.add(request.session)
    tx.effects.rescan = tx.effects.peers = True
    return Answer(200, {})


def close(tx: Tx, request: Session) -> Answer:
    """End it, cancel what has not ended in it, forget its variables. Its number stays, so that no id is used again."""
    options = _find(tx, request.session)[3]
    _cancel_cells(tx, request.session)
    forget_checkpoints(
        tx, [row[0] for row in tx.rows("SELECT id FROM checkpoints WHERE session=?", (request.session,))]
    )
    tx.execute("DELETE FROM policies WHERE name=?", (request.session,))
    tx.effects.policies.add(request.session)
    kv.forget(tx, f"{OWN}{request.session}")
    if RUN in _options.decode(options or "{}"):
        tx.execute("DELETE FROM sessions WHERE name=?", (request.session,))
    else:
        tx.execute(
            "UPDATE sessions SET closed=1, owner=NULL, epoch=epoch+1, worker_pid=NULL, worker_start=NULL WHERE name=?",
            (request.session,),
        )
    tx.effects.sessions.add(request.session)
    return Answer(200, {})


def _cancel_cells(tx: Tx, session: str) -> None:
    """The last one first: none is made due by the end of the one before it."""
    open_cells = tx.rows("SELECT promise FROM cells WHERE session=? AND settled=0 ORDER BY n DESC", (session,))
    value = Value(data=rejection(f"session {session!r} was closed"))
    for (promise_id,) in open_cells:
        if tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (promise_id,)) is not None:
            settle(tx, promise_id, "rejected_canceled", value)  # else it went with one of the others, which made it


def get(tx: Tx, request: Session) -> Answer:
    return _record(_find(tx, request.session), created=False)


STANDING = (
    "SELECT closed, next_n, owner, EXISTS (SELECT 1 FROM cells WHERE session=name AND settled=0),"
    " EXISTS (SELECT 1 FROM promises WHERE id='exec:' || name || '@' || CAST(next_n AS text))"
    " FROM sessions WHERE name=?"
)
"""The facts that decide a new cell's place; the last two: whether one has not ended, whether its id is somebody's."""


def submit(tx: Tx, request: CellSubmit) -> Answer:
    """Append an execution to the session: its number, its promise and its task in one."""
    tags = request.promise.tags or {}
    if "resonate:target" not in tags:
        raise Refused(400, "a cell needs a resonate:target")
    tx.lock_session(request.session)
    row = tx.row(STANDING, (request.session,))
    if row is not None and row[0]:
        raise Refused(409, f"session {request.session!r} is closed; open it again first")
    n: int = 1 if row is None else row[1]
    free = row is None or not row[3]
    if request.id is not None:
        found = tx.promise_row(f"exec:{request.session}@{request.id}")
        if found is not None:
            return Answer(200, {"promise": tx.record(found), "n": None, "id": found[0], "task": None, "existed": True})
    known = row is not None and not row[4]
    while not known and tx.row("SELECT 1 FROM promises WHERE id=?", (f"exec:{request.session}@{n}",)) is not None:
        n = next_n(tx, request.session) + 1  # somebody made a promise of that id by hand
    if request.alone and not free:
        raise Refused(423, f"session {request.session!r} has an execution that has not ended")
    promise_id = f"exec:{request.session}@{n if request.id is None else request.id}"
    own = {
        "resonate:origin": "exec",
        "resonate:branch": promise_id,
        "resonate:parent": promise_id,
        "resonate:scope": "global",
    }
    tags = {**own, **tags, "durable:session": request.session}
    promise = PromiseCreate(
        id=promise_id, timeout_at=request.promise.timeout_at, param=request.promise.param, tags=tags
    )
    check_create(promise, tags)
    lease = None
    if request.engine is not None and row is not None and row[2] == request.engine and free:
        lease = Lease(request.engine, request.ttl)
    record, created = create_promise(tx, promise, lease, n=n if known else None)
    assert created
    data: Record = {"promise": record, "n": n, "id": promise_id, "task": None}
    if lease is not None and record["state"] == "pending":
        data["task"] = created_task(promise_id, lease)
    return Answer(200, data)


def submit_again(tx: Tx, request: CellSubmit, promise_id: str) -> Answer:
    """Record a cell once more that a server lost in a crash, before it was synced, and that an engine runs already.

    Where its id is another's by now, the engine is to hear that the session moved, and whoever waits for the cell that
    it is lost: nothing of it may count for the other one.
    """
    n = promise_id.rpartition("@")[2]
    row = tx.row(STANDING, (request.session,))
    free = row is not None and not row[0] and (request.id == n or str(row[1]) == n)
    if free and tx.promise_row(promise_id) is None:
        return submit(tx, request)
    if row is not None and row[2] is not None:
        _own(tx, request.session, row[2])
    value = lost_value(promise_id, 1, "the server crashed, and another cell has its place")
    lost = (promise_id, "rejected", None, None, None, value, "{}", request.promise.timeout_at, tx.now, tx.now)
    tx.effects.settled[promise_id] = tx.record(lost)
    return Answer(200, {"id": None})


def create_call(tx: Tx, request: CallCreate) -> Answer:
    """Record a call of the running execution and let its answer wake it."""
    require_epoch(tx, request.session, request.epoch)
    task = tx.row("SELECT state FROM tasks WHERE id=?", (request.awaiter,))
    if task is None:
        raise Refused(422, f"the execution {request.awaiter!r} does not exist")
    if task[0] == "fulfilled":
        raise Refused(409, f"the execution {request.awaiter!r} is over")
    check_create(request.promise, request.promise.tags or {})
    if request.policy is not None and policies.version_of(tx, request.session) != request.policy:
        found = tx.row(f"SELECT {PROMISE} FROM promises WHERE id=?", (request.promise.id,))
        if found is None:  # what is recorded was decided when it was new
            return Answer(200, {"promise": None, "created": False})
    record, created = create_promise(tx, request.promise)
    if created:
        note_progress(tx, request.awaiter)
        if request.settle is not None:
            answer = settle_request(tx, request.settle)
            return Answer(200, {"promise": answer.data["promise"], "created": True})
    if record["state"] == "pending":
        add_callback(tx, request.promise.id, request.awaiter)
    return Answer(200, {"promise": record, "created": created})


def list_calls(tx: Tx, request: CallList) -> Answer:
    """Everything under an execution: its calls (`:`), its steps and children (`.`), in order of id."""
    return Answer(200, tx.calls_record(*tx.calls(request.execution, request.after, request.limit)))
