"""Tasks: the right to run a promise's code, a lease fenced by a version that only acquiring bumps (S4-S6)."""

from __future__ import annotations

from resonate_base import PROTOCOL_VERSION

from durable.core.ids import may_be_recorded
from durable.core.limits import BEGUN_ROWS
from durable.store.operations import children, deployments, queue_entries
from durable.store.operations.cancellation import wished
from durable.store.operations.promises import (
    Lease,
    add_callbacks,
    check_create,
    check_value,
    create_promise,
    find,
    origin_of,
)
from durable.store.operations.row_records import PROMISE, TASK, Row, dump, load_tags, task_record
from durable.store.operations.searches import SEARCH_DEFAULT, Search, Unfinished, begin
from durable.store.operations.settlement import (
    CHILD,
    end_attempt,
    is_head,
    lease_until,
    make_pending,
    note_progress,
    settle,
    settle_pending,
)
from durable.store.operations.transaction import ACQUIRE_TASK, TASK_AT, Tx
from durable.store.protocol.requests import (
    EMPTY,
    Answer,
    ById,
    FencedCreate,
    FencedSettle,
    LeaseLost,
    Record,
    Refused,
    TaskAcquire,
    TaskAt,
    TaskCreate,
    TaskFail,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskHeartbeat,
    TaskSearch,
    TaskSuspend,
)


def _find(tx: Tx, task_id: str) -> Row:
    row = tx.task_row(task_id)
    if row is None:
        raise Refused(404, f"task {task_id!r} does not exist")
    return row


def _held(tx: Tx, task_id: str, version: int) -> Row:
    """The task, if it is acquired in that version: the fence of every write of a running execution.

    One whose lease lapsed, and that nobody has acquired since, counts as acquired (L4).
    """
    row = _find(tx, task_id)
    if row[2] != version or (row[1] != "acquired" and row[9] is None):
        refusal = LeaseLost if row[2] > version else Refused
        raise refusal(409, f"task {task_id!r} is {row[1]} in version {row[2]}, not acquired in version {version}")
    return row


def _held_again(tx: Tx, task_id: str, version: int) -> Row:
    """The same, with its lease renewed, for writes of which several follow each other: it is read once."""
    row = tx.fences.task
    if row is None or row[0] != task_id or row[2] != version:
        row = _held(tx, task_id, version)
        _renew(tx, row)
        tx.fences.task = row if row[1] == "acquired" else None
    return row


def _renew(tx: Tx, row: Row) -> None:
    """Its holder is at work after all: the lease that lapsed goes on, and nobody died (L4)."""
    if row[1] == "pending":
        tx.execute(
            "UPDATE tasks SET state='acquired', pid=lapsed_pid, ttl=lapsed_ttl, lease_at=?, lapsed_pid=NULL,"
            " lapsed_ttl=NULL, due=NULL,"
            " attempts_died=CASE WHEN attempts_died > 0 THEN attempts_died-1 ELSE 0 END WHERE id=?",
            (lease_until(tx, row[10]), row[0]),
        )


def preload(tx: Tx, task_id: str) -> list[Record]:
    """The other promises of the task's branch, so that a replay need not ask for each."""
    row = tx.row("SELECT tags FROM promises WHERE id=?", (task_id,))
    assert row is not None
    return _branch(tx, task_id, load_tags(row[0]).get("resonate:branch"))


def _branch(tx: Tx, task_id: str, branch: str | None) -> list[Record]:
    if branch is None:
        return []
    rows = tx.branch_rows(branch, task_id)
    if branch != task_id:
        own = tx.row(f"SELECT {PROMISE} FROM promises WHERE id=? AND branch IS NULL", (branch,))
        if own is not None and load_tags(own[6]).get("resonate:branch") == branch:
            rows = sorted([*rows, own], key=lambda each: each[0])
    return [tx.record(each) for each in rows]


def created_task(task_id: str, lease: Lease) -> Record:
    """The record of a task that was created as acquired."""
    return acquired_task(task_id, 1, lease.ttl, lease.pid)


def acquired_task(task_id: str, version: int, ttl: int, pid: str) -> Record:
    """The record of a task that was acquired just now."""
    return {"id": task_id, "state": "acquired", "version": version, "resumes": 0, "ttl": ttl, "pid": pid}


def acquired(tx: Tx, task_id: str, version: int, pid: str, ttl: int, *, record: bool = False) -> Answer:
    """Give the lease, and with it the promise.

    version: the task's before that. record: with the beginning of what is recorded in place of the preload.
    """
    data: Record = {"promise": find(tx, task_id)}
    if record:
        recorded = may_be_recorded(version + 1, data["promise"]["tags"])
        data["record"] = tx.begun_record(*tx.calls(task_id, "", BEGUN_ROWS)) if recorded else None
    else:
        data["preload"] = preload(tx, task_id)
    data["task"] = give_lease(tx, task_id, version, pid, ttl)
    return Answer(200, data)


def give_lease(tx: Tx, task_id: str, version: int, pid: str, ttl: int) -> Record:
    """Give the lease: a new version, which is the fence of everything that this attempt writes. The task's record."""
    deployment = deployments.of_engine(tx, pid) or None
    tx.execute_soon(ACQUIRE_TASK, (pid, ttl, lease_until(tx, ttl), deployment, task_id))
    return acquired_task(task_id, version + 1, ttl, pid)


def _require_head(tx: Tx, row: Row) -> None:
    if row[6] is not None and not is_head(tx, row[6], row[7]):
        raise Refused(409, f"task {row[0]!r} has an unfinished execution of session {row[6]!r} before it")


def _require_place(tx: Tx, row: Row, pid: str) -> None:
    if row[12] is not None:
        queue_entries.require_place(tx, row[12], row[0], pid)


def _require_deployment(tx: Tx, row: Row, pid: str) -> None:
    if row[6] is None:
        deployments.require(tx, row[0], row[13], row[2], pid)


def get(tx: Tx, request: ById) -> Answer:
    return Answer(200, {"task": task_record(_find(tx, request.id))})


def create(tx: Tx, request: TaskCreate) -> Answer:
    """Create a promise and acquire its task in one; an existing pending task is acquired."""
    action = request.action.data
    tags = action.tags or {}
    if "resonate:target" not in tags:
        raise Refused(400, "task.create needs a resonate:target")
    if "resonate:delay" in tags:
        raise Refused(400, "task.create cannot be delayed")
    check_create(action, tags)
    session = tags.get("durable:session")
    if session is not None and tx.row("SELECT 1 FROM promises WHERE id=?", (action.id,)) is None:
        _require_free_session(tx, session)
    record, created = create_promise(tx, action, Lease(request.pid, request.ttl))
    if created and record["state"] == "pending":
        task = created_task(action.id, Lease(request.pid, request.ttl))
        others = _branch(tx, action.id, tags.get("resonate:branch"))
        return Answer(200, {"task": task, "promise": record, "preload": others})
    row = tx.row(f"SELECT {TASK_AT} FROM tasks WHERE id=?", (action.id,))
    if row is None:
        raise Refused(422, f"promise {action.id!r} exists and has no task")
    if row[1] == "pending":
        _require_head(tx, row)
        _require_place(tx, row, request.pid)
        _require_deployment(tx, row, request.pid)
        return acquired(tx, action.id, row[2], request.pid, request.ttl)
    if row[1] != "fulfilled":
        raise Refused(409, f"task {action.id!r} is {row[1]}")
    return Answer(200, {"task": task_record(row), "promise": find(tx, action.id), "preload": preload(tx, action.id)})


def _require_free_session(tx: Tx, session: str) -> None:
    if not is_head(tx, session, 2**63 - 1):
        raise Refused(409, f"session {session!r} has unfinished executions")


def acquire(tx: Tx, request: TaskAcquire) -> Answer:
    row = _find(tx, request.id)
    if row[1] != "pending" or row[2] != request.version:
        raise Refused(
            409, f"task {request.id!r} is {row[1]} in version {row[2]}, not pending in version {request.version}"
        )
    _require_head(tx, row)
    _require_place(tx, row, request.pid)
    _require_deployment(tx, row, request.pid)
    return acquired(tx, request.id, row[2], request.pid, request.ttl, record=request.record)


def release(tx: Tx, request: TaskAt) -> Answer:
    """Give the lease back without a result: the attempt counts unless it made progress."""
    _renew(tx, _held(tx, request.id, request.version))
    end_attempt(tx, request.id, "failed", None)
    return Answer(200, {})


def fail(tx: Tx, request: TaskFail) -> Answer:
    """Release, saying why: the last reason is what `lost` will show."""
    _renew(tx, _held(tx, request.id, request.version))
    end_attempt(tx, request.id, request.cause, request.error)
    return Answer(200, {})


_CANCELLING = "SELECT 1 FROM tasks WHERE id=? AND cancel_at IS NOT NULL"


def suspend(tx: Tx, request: TaskSuspend) -> Answer:
    """Wait, holding nothing, until any awaited promise settles; 300 and the preload if one has."""
    awaited = [action.data.awaited for action in request.actions]
    if not awaited:
        raise Refused(400, "task.suspend needs something to wait for")
    for action in request.actions:
        if action.data.awaiter != request.id:
            raise Refused(400, f"the awaiter {action.data.awaiter!r} is not the task {request.id!r}")
        if action.data.awaited == request.id:
            raise Refused(400, "a task cannot await itself")
        if origin_of(action.data.awaited) != origin_of(request.id):
            raise Refused(400, "awaited and awaiter have different origins")
    if len(set(awaited)) != len(awaited):
        raise Refused(400, "a promise is awaited twice")
    task = _held(tx, request.id, request.version)
    standing = _standing(tx, awaited)
    for promise_id in awaited:
        if not standing.get(promise_id, ("", 0))[1]:
            raise Refused(422, f"promise {promise_id!r} does not exist or is not external")
    settled = any(state != "pending" for state, _ in standing.values())
    _renew(tx, task)
    # One that is to be cancelled, and whose pass did not hear of it, has something to go on with as well.
    unheard = request.cancelled is False and tx.row(_CANCELLING, (request.id,)) is not None
    if settled or unheard:
        if task[3]:
            tx.execute("UPDATE tasks SET resumes=0 WHERE id=?", (request.id,))
        return Answer(300, {"preload": preload(tx, request.id)})
    add_callbacks(tx, awaited, request.id)
    tx.execute(
        "UPDATE tasks SET state='suspended', pid=NULL, ttl=NULL, lease_at=NULL, resumes=0,"
        " attempts_failed=0, attempts_died=0, last_error=NULL, logged=coalesce(?, logged) WHERE id=?",
        (request.logged, request.id),
    )
    if task[12] is not None:
        queue_entries.off_engine(tx, request.id)
    tx.effects.stopped.add(request.id)
    return Answer(200, {})


def _standing(tx: Tx, promise_ids: list[str]) -> dict[str, tuple[str, int]]:
    """The state of each of these promises, and whether it is external."""
    if len(promise_ids) == 1:
        row = tx.row("SELECT state, external FROM promises WHERE id=?", (promise_ids[0],))
        return {} if row is None else {promise_ids[0]: (row[0], row[1])}
    sql = "SELECT id, state, external FROM promises WHERE id IN (SELECT value FROM json_each(?))"
    return {row[0]: (row[1], row[2]) for row in tx.rows(sql, (dump(promise_ids),))}


def fulfill(tx: Tx, request: TaskFulfill) -> Answer:
    """Settle the task's own promise, fenced."""
    action = request.action.data
    if action.id != request.id:
        raise Refused(400, f"task {request.id!r} can only settle its own promise, not {action.id!r}")
    check_value(action.value)
    task = _held(tx, request.id, request.version)
    if request.epoch is not None:
        _require_epoch(tx, request.id, request.epoch)
    cancelled = None if task[11] is None else wished(tx, request.id)
    if cancelled is not None:
        return Answer(200, {"promise": cancelled})
    return Answer(200, {"promise": settle(tx, request.id, action.state, action.value or EMPTY)})


EPOCH = "SELECT s.epoch FROM tasks t JOIN sessions s ON s.name = t.session WHERE t.id=?"
"""The epoch of a cell's session."""


def _require_epoch(tx: Tx, task_id: str, epoch: int) -> None:
    row = tx.row(EPOCH, (task_id,))
    if row is not None and row[0] != epoch:
        raise Refused(409, f"the session of {task_id!r} moved: its epoch is {row[0]}, not {epoch}")


def fence(tx: Tx, request: TaskFence) -> Answer:
    """Create or settle another promise for a running execution. No preload: with every fence it would be quadratic."""
    action = request.action
    if action.data.id == request.id:
        raise Refused(400, "a fenced action is about another promise than the task's own")
    if isinstance(action, FencedCreate):
        check_create(action.data, action.data.tags or {})
        child = children.root_of(action.data) if CHILD in (action.data.tags or {}) else None
        task = _held_again(tx, request.id, request.version)
        record, changed = create_promise(tx, action.data)
        if child is not None and changed and record["state"] == "pending":
            record = children.begin(tx, record, child, deployment=deployments.of_child(tx, task[6], task[13]))
    else:
        check_value(action.data.value)
        task = _held_again(tx, request.id, request.version)
        settled = settle_pending(tx, action.data.id, action.data.state, action.data.value or EMPTY)
        changed = settled is not None
        if action.data.id not in tx.effects.internal:  # what follows may be about the task itself
            tx.fences.task = None
        if settled is None:
            row = tx.promise_row(action.data.id)
            if row is None:
                return _fenced(action, 404, f"promise {action.data.id!r} does not exist")
            settled = tx.record(row)
        record = settled
    if changed and not task[8]:
        note_progress(tx, request.id)
        if tx.fences.task is not None:
            tx.fences.task = (*task[:8], True, *task[9:])
    return _fenced(action, 200, {"promise": record})


def _fenced(action: FencedCreate | FencedSettle, status: int, data: object) -> Answer:
    """The action's outcome, whole, as an answer of its own: the TypeScript SDK checks it like one."""
    kind = "promise.create" if isinstance(action, FencedCreate) else "promise.settle"
    corr_id = "" if action.head is None else action.head.corr_id or ""
    head: Record = {"corrId": corr_id, "status": status, "version": PROTOCOL_VERSION}
    return Answer(200, {"action": {"kind": kind, "head": head, "data": data}, "preload": []})


def heartbeat(tx: Tx, request: TaskHeartbeat) -> Answer:
    """Renew leases; a task that is not held by that pid in that version is skipped."""
    if len({origin_of(task.id) for task in request.tasks}) > 1:
        raise Refused(400, "the tasks of one heartbeat have different origins")
    for task in request.tasks:
        lapsed = tx.row(
            f"SELECT {TASK_AT} FROM tasks WHERE id=? AND version=? AND lapsed_pid=?",
            (task.id, task.version, request.pid),
        )
        if lapsed is not None:
            _renew(tx, lapsed)
        tx.execute(
            "UPDATE tasks SET lease_at=CASE WHEN ttl > ?1 THEN 9223372036854775807 ELSE ?2+ttl END"
            " WHERE id=?3 AND state='acquired' AND version=?4 AND pid=?5",
            (2**63 - 1 - tx.now, tx.now, task.id, task.version, request.pid),
        )
    return Answer(200, {})


def halt(tx: Tx, request: TaskHalt) -> Answer:
    """Keep a task from running until it is continued; a running attempt loses its lease."""
    row = _find(tx, request.id)
    if row[1] == "fulfilled":
        raise Refused(409, f"task {request.id!r} is fulfilled")
    if request.version is not None:
        _held(tx, request.id, request.version)
    tx.execute(
        "UPDATE tasks SET state='halted', pid=NULL, ttl=NULL, lease_at=NULL, lapsed_pid=NULL, lapsed_ttl=NULL,"
        " due=NULL, note=coalesce(?, note) WHERE id=?",
        (request.note, request.id),
    )
    if row[12] is not None:
        queue_entries.hold(tx, request.id, row[12])
    tx.effects.stopped.add(request.id)
    tx.effects.halted[request.id] = request.note or ""
    return Answer(200, {})


def resume(tx: Tx, request: ById) -> Answer:
    """Let a halted task go on, with a clean record of attempts."""
    row = _find(tx, request.id)
    if row[1] != "halted":
        raise Refused(409, f"task {request.id!r} is {row[1]}, not halted")
    tx.execute(
        "UPDATE tasks SET note=NULL, attempts_failed=0, attempts_died=0, last_error=NULL WHERE id=?", (request.id,)
    )
    make_pending(tx, request.id)
    return Answer(200, {})


def search(tx: Tx, request: TaskSearch) -> Answer | Unfinished:
    """A page in order of id."""
    where, parameters = (("state = ?",), (request.state,)) if request.state is not None else ((), ())
    limit = request.limit or SEARCH_DEFAULT
    return begin(tx, Search("tasks", "tasks", TASK, task_record, limit, where, parameters), request.cursor)
