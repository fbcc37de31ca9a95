"""Executions as a whole: where one is loaded from, what functions are known by, records of other stores."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.definition_id import SOURCE, spellings
from durable.core.ids import PREFIX, RETRIED_AS, REWOUND_AS
from durable.core.limits import ALIAS_ROWS, CANCEL_GRACE_S, RECORD_BYTES_MAX
from durable.store.operations import deployments, execution_tags, queue_entries, queued_forks, signals, streams
from durable.store.operations.cancellation import reason_value
from durable.store.operations.children import begin, is_call_of, root_of
from durable.store.operations.promises import address_of, check_create, check_value, find, is_external
from durable.store.operations.row_records import PROMISE, dump, load_tags, load_value
from durable.store.operations.settlement import CHILD, ENDED, announce, settle
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    Answer,
    ExecutionImport,
    ExecutionSource,
    ExecutionUpgrade,
    FunctionAlias,
    PromiseCreate,
    RecordPromise,
    Refused,
    Rewound,
    Value,
)

FUNCTION = "durable:function"
_Tags = dict[str, str]


def note_source(tx: Tx, request: ExecutionSource) -> Answer:
    """Where an execution's function is loaded from now."""
    row = tx.row("SELECT tags FROM promises WHERE id=? AND state='pending'", (request.id,))
    if row is not None:
        tags = {**load_tags(row[0]), SOURCE: request.source}
        tx.execute("UPDATE promises SET tags=? WHERE id=?", (dump(tags), request.id))
    return Answer(200, {"noted": row is not None})


# -- functions that are known by another id ---------------------------------------------------------------------


def alias(tx: Tx, request: FunctionAlias) -> Answer:
    """Rename one batch of executions, and with the first batch the schedules; `last` is the next one's cursor."""
    schedules = _rename_schedules(tx, request) if not request.after else 0
    rows = tx.rows("SELECT id, function FROM tasks WHERE id > ? ORDER BY id LIMIT ?", (request.after, ALIAS_ROWS))
    executions = 0
    for task_id, function in rows:
        renamed = _renamed(function, request)
        if renamed is not None:
            _rename_execution(tx, task_id, renamed, request.source)
            executions += 1
    if executions:
        tx.effects.rescan = tx.effects.peers = True
    last = rows[-1][0] if len(rows) == ALIAS_ROWS else ""
    return Answer(200, {"executions": executions, "schedules": schedules, "last": last})


def _renamed(function: str, request: FunctionAlias) -> str | None:
    """The id that takes the place of a recorded one; None for another function's."""
    key, _, version = function.rpartition("@")
    old, old_version = _parted(request.old)
    new, new_version = _parted(request.new)
    if (old_version or version) != version or old not in spellings(key):
        return None
    return f"{new}@{new_version or version}"


def _parted(function: str) -> tuple[str, str]:
    """An id without its version, and the version, "" for none."""
    key, separator, version = function.rpartition("@")
    return (key, version) if separator and version.isdecimal() else (function, "")


def _rename_execution(tx: Tx, task_id: str, function: str, source: str) -> None:
    row = tx.row("SELECT tags, param_data FROM promises WHERE id=?", (task_id,))
    assert row is not None, f"a task has a promise: {task_id}"
    tags = _renamed_tags(load_tags(row[0]), function, source)
    tx.execute("UPDATE tasks SET function=? WHERE id=?", (function, task_id))
    queue_entries.rename(tx, task_id, function)
    data = tx.values.stored(_renamed_data(tx.values.whole(row[1]), function))
    tx.execute("UPDATE promises SET tags=?, param_data=? WHERE id=?", (dump(tags), data, task_id))


def _rename_schedules(tx: Tx, request: FunctionAlias) -> int:
    count = 0
    for schedule_id, tags_text, param_text in tx.rows("SELECT id, promise_tags, promise_param FROM schedules"):
        tags, param = load_tags(tags_text), load_value(param_text)
        renamed = _renamed(tags.get(FUNCTION, ""), request)
        if renamed is not None:
            param = Value(headers=param.headers, data=_renamed_data(param.data, renamed))
            tx.execute(
                "UPDATE schedules SET promise_tags=?, promise_param=? WHERE id=?",
                (dump(_renamed_tags(tags, renamed, request.source)), dump(param), schedule_id),
            )
            count += 1
    return count


def _renamed_tags(tags: _Tags, function: str, source: str) -> _Tags:
    kept = {name: text for name, text in tags.items() if name != SOURCE}
    return {**kept, FUNCTION: function, **({SOURCE: source} if source else {})}


def _renamed_data(data: str | None, function: str) -> str | None:
    """The starting data of an execution, for the function of another id; unchanged where it is not ours."""
    try:
        call = msgspec.json.decode(base64.b64decode(data or "", validate=True))
    except (ValueError, msgspec.MsgspecError):
        return data
    if not isinstance(call, dict) or "func" not in call:
        return data
    key, version = _parted(function)
    call |= {"func": key, "version": int(version)}
    return base64.b64encode(msgspec.json.encode(call)).decode("ascii")


def upgrade(tx: Tx, request: ExecutionUpgrade) -> Answer:
    """Give an open execution another function. 409 where it has ended, runs, or has run since `version`."""
    row = tx.row(
        "SELECT state, version, due, deployment FROM tasks WHERE id=? AND session IS NULL AND timer=0", (request.id,)
    )
    if row is None:
        raise Refused(404, f"there is no execution {request.id!r} of a durable function")
    state, version, due, recorded = row
    if state in ("fulfilled", "acquired") or version != request.version:
        raise Refused(409, f"{request.id!r} is {state} in version {version}: it has gone on since it was checked")
    if request.deployment is not None:
        _check_move(tx, request.id, recorded, request.deployment, begun=version > 0)
        tx.execute("UPDATE tasks SET deployment=? WHERE id=?", (request.deployment, request.id))
    _rename_execution(tx, request.id, request.function, request.source)
    announce(tx, request.id, due)
    tx.effects.rescan = tx.effects.peers = True
    return Answer(200, {})


def _check_move(tx: Tx, task_id: str, recorded: str | None, deployment: str, *, begun: bool) -> None:
    """Refuse to give an execution to a deployment that is not there, and what new work still is."""
    if recorded is None and not begun:
        raise Refused(409, f"{task_id!r} has not begun: it goes to the deployment that new work goes to")
    if tx.row("SELECT 1 FROM deployments WHERE name=?", (deployment,)) is None and deployment:
        raise Refused(404, f"there is no deployment {deployment!r}")


# -- records of other stores ------------------------------------------------------------------------------------


def import_(tx: Tx, request: ExecutionImport) -> Answer:
    """Recreate an execution with all that is recorded under it: what has not ended runs again over its record."""
    root, *children = request.promises
    _check_record(root, children, begins=request.begins)
    own = root.id
    if tx.row("SELECT 1 FROM promises WHERE id=?", (own,)) is not None or _has_children(tx, own):
        raise Refused(409, f"execution {own.removeprefix(PREFIX)!r} exists in this store; nothing was imported")
    if request.rewinds is not None:
        _check_rewound(tx, request.rewinds)
    if request.retries is not None:
        _check_retried(tx, request.retries.id)
    place = None
    if request.begins and root.state == "pending":
        place = queued_forks.place_of(tx, root, None if request.rewinds is None else request.rewinds.id)
        root = root if place is not None else queued_forks.without_place(root)
    begins = place is None or place.begins
    children = [_with_new_child(tx, own, each) for each in children]
    if begins:
        children = [queued_forks.with_its_time(each, tx.now, root.timeout_at) for each in children]
    links = [each for each in children if each.state == "pending" and CHILD in each.tags]
    roots = [root_of(each.create()) for each in links]
    for promise in (root, *children):
        _insert(tx, promise)
    if request.lost and root.state == "rejected":
        tx.execute("UPDATE promises SET outcome='lost' WHERE id=?", (own,))
    version = max(request.starts, 1 if children else 0) if place is None else 0
    deployment = _given_to(tx, root) if begins and (version or place) else None
    _insert_task(tx, root, version=version, request=request, deployment=deployment, place=place)
    for child in children:
        if "resonate:target" in child.tags:
            _insert_task(tx, child, version=int(child.state != "pending"), request=None)
    streams.enter_recorded(tx, children)
    if begins:
        for link, root_of_child in zip(links, roots, strict=True):
            begin(tx, find(tx, link.id), root_of_child, deployment=deployments.of_child(tx, None, deployment))
    if place is not None:
        queued_forks.stand(tx, place)
    if request.rewinds is not None:
        _take_place(tx, request.rewinds, own)
    if request.retries is not None:
        _name(tx, request.retries.id, RETRIED_AS, own)
    return Answer(200, {"promises": len(request.promises), "queue": None if place is None else place.entry.queue})


def _with_new_child(tx: Tx, own: str, promise: RecordPromise) -> RecordPromise:
    """The promise. A link to a child of a given name that has ended without a result is one to a child of its own."""
    if promise.state != "pending" or CHILD not in promise.tags:
        return promise
    row = tx.row("SELECT state, tags FROM promises WHERE id=?", (promise.tags[CHILD],))
    if row is None or row[0] in ("pending", "resolved") or not is_call_of(load_tags(row[1]), promise.tags):
        return promise
    place = promise.id.removeprefix(f"{own}.").replace(".", "-")
    return msgspec.structs.replace(promise, tags={**promise.tags, CHILD: f"{own}@@{place}"})


def _check_rewound(tx: Tx, rewound: Rewound) -> None:
    """Refuse to rewind what is none of ours, was rewound before, or has gone on since its record was read."""
    tx.lock_promise(rewound.id)
    row = tx.row(
        "SELECT p.tags FROM promises p JOIN tasks t ON t.id=p.id WHERE p.id=? AND t.session IS NULL AND t.timer=0",
        (rewound.id,),
    )
    if row is None:
        raise Refused(404, f"there is no execution {rewound.id!r} of a durable function")
    _refuse_successor(tx, rewound.id, load_tags(row[0]))
    sql = "SELECT id FROM promises WHERE state='pending' AND id IN (SELECT value FROM json_each(?))"
    if rewound.open and len(tx.rows(sql, (dump(rewound.open),))) < len(set(rewound.open)):
        raise Refused(412, f"{rewound.id!r} has gone on since its record was read: read it again")


def _check_retried(tx: Tx, retried: str) -> None:
    """Refuse a second retry of an execution."""
    tx.lock_promise(retried)
    row = tx.row("SELECT tags FROM promises WHERE id=?", (retried,))
    if row is None:
        raise Refused(404, f"there is no execution {retried!r}")
    _refuse_successor(tx, retried, load_tags(row[0]))


def _refuse_successor(tx: Tx, promise_id: str, tags: _Tags) -> None:
    for name, verb in ((REWOUND_AS, "rewound"), (RETRIED_AS, "retried")):
        if name in tags and tx.row("SELECT 1 FROM promises WHERE id=?", (PREFIX + tags[name],)) is not None:
            raise Refused(412, f"{promise_id!r} has been {verb} as {tags[name]!r}")


def _take_place(tx: Tx, rewound: Rewound, own: str) -> None:
    """Signals that nobody took go to the new execution, and the old one, which ends without clean-up, names it."""
    tx.execute("UPDATE signals SET execution=? WHERE execution=? AND taken=0", (own, rewound.id))
    _name(tx, rewound.id, REWOUND_AS, own)
    if tx.row("SELECT 1 FROM promises WHERE id=? AND state='pending'", (rewound.id,)) is not None:
        settle(tx, rewound.id, "rejected_canceled", reason_value(rewound.reason))


def _name(tx: Tx, promise_id: str, tag: str, successor: str) -> None:
    """Have an execution name the one that goes on in its place."""
    row = tx.row("SELECT tags FROM promises WHERE id=?", (promise_id,))
    assert row is not None
    tags = {**load_tags(row[0]), tag: successor.removeprefix(PREFIX)}
    tx.execute("UPDATE promises SET tags=? WHERE id=?", (dump(tags), promise_id))


def _given_to(tx: Tx, root: RecordPromise) -> str | None:
    """The deployment that goes on with a record: the one that new work goes to now. Its task counts as begun."""
    function = root.tags[FUNCTION]
    return deployments.routes_of(tx, [function]).get(function) if root.state == "pending" else None


def _has_children(tx: Tx, own: str) -> bool:
    sql = "SELECT 1 FROM promises WHERE (id > ? AND id < ?) OR (id > ? AND id < ?) LIMIT 1"
    return tx.row(sql, (f"{own}.", f"{own}/", f"{own}:", f"{own};")) is not None


def _check_record(root: RecordPromise, children: list[RecordPromise], *, begins: bool) -> None:
    """Refuse a record that no execution can have."""
    if not root.id.startswith(PREFIX) or "resonate:target" not in root.tags or not root.tags.get(FUNCTION):
        raise Refused(400, f"the first promise, {root.id!r}, is not the one of a durable function's execution")
    if "durable:session" in root.tags:
        raise Refused(400, f"{root.id!r} is a cell; its session's variables are moved with `durable checkpoint export`")
    own, seen, size = root.id, set[str](), 0
    for promise in (root, *children):
        if promise is not root and not promise.id.startswith((f"{own}.", f"{own}:")):
            raise Refused(400, f"the promise {promise.id!r} is not under {own!r}")
        if promise.id in seen:
            raise Refused(400, f"the promise {promise.id!r} is there twice")
        seen.add(promise.id)
        size += _check_promise(promise)
        waits_for_cell = promise.state == "pending" and "resonate:target" in promise.tags
        if promise.state == "pending" and CHILD in promise.tags and not begins:
            raise Refused(400, f"{promise.id!r} has not ended: it is a child execution, which a record does not hold")
        if promise is not root and waits_for_cell and promise.tags.get("resonate:timer") != "true":
            raise Refused(400, f"{promise.id!r} has not ended: it is run in a session, which a record does not hold")
    if size > RECORD_BYTES_MAX:
        raise Refused(400, f"the record's {size} bytes are over the limit of {RECORD_BYTES_MAX} (RECORD_BYTES_MAX)")


def _check_promise(promise: RecordPromise) -> int:
    """Refuse a promise that could not be; otherwise its size in bytes."""
    check_value(promise.value)
    check_create(
        PromiseCreate(id=promise.id, timeout_at=promise.timeout_at, param=promise.param, tags=promise.tags),
        promise.tags,
    )
    if (promise.state == "pending") != (promise.settled_at is None):
        raise Refused(400, f"{promise.id!r} is {promise.state}, which does not go with settledAt {promise.settled_at}")
    if promise.state == "pending" and promise.value != Value():
        raise Refused(400, f"{promise.id!r} is pending and has a value")
    return len(promise.param.data or "") + len(promise.value.data or "") + len(dump(promise.tags))


def _insert(tx: Tx, promise: RecordPromise) -> None:
    branch, tags = promise.tags.get("resonate:branch"), promise.tags
    tx.execute(
        f"INSERT INTO promises ({PROMISE}, external, branch, capability) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            promise.id,
            promise.state,
            *_columns(tx, promise.param),
            *_columns(tx, promise.value),
            dump(tags),
            promise.timeout_at,
            promise.created_at,
            promise.settled_at,
            is_external(tags),
            None if branch == promise.id else branch,
            tags.get("durable:capability"),
        ),
    )
    if promise.state == "pending":
        tx.wake_at(min(promise.timeout_at, TIME_MAX_MS))
        if tags.get("durable:capability") == "input":
            tx.effects.prompts.add(promise.id)
        if signals.SIGNAL in tags:
            signals.stand_in_line(tx, promise.id, tags)


def _columns(tx: Tx, value: Value) -> Iterator[str | None]:
    yield None if value.headers is None else dump(value.headers)
    yield tx.values.stored(value.data)


def _insert_task(
    tx: Tx,
    promise: RecordPromise,
    *,
    version: int,
    request: ExecutionImport | None,
    deployment: str | None = None,
    place: queued_forks.QueuePlace | None = None,
) -> None:
    """The task of the execution itself (`request`), or of what it waited for or waits for: a cell, a timer."""
    address = address_of(promise.tags["resonate:target"])
    timer = promise.tags.get("resonate:timer") == "true"
    pending = promise.state == "pending"
    halted = request is not None and request.halted and pending
    cancelled = request.cancelled if request is not None and pending else None
    begins = place is None or place.begins
    due = tx.now if pending and not timer and not halted and begins else None
    if due is not None and place is not None:
        due = max(due, place.entry.ready_at)
    cancel_at = None if cancelled is None else tx.now + int(CANCEL_GRACE_S * 1000)
    tx.execute(
        "INSERT INTO tasks (id, state, version, due, not_before, grp, preferred, exclusive, function, timer, note,"
        " logged, cancel_at, cancelled_at, cancel_reason, ended, created_at, deployment, queue)"
        " VALUES (?,?,?,?,0,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            promise.id,
            "fulfilled" if not pending else "halted" if halted else "pending",
            version,
            due,
            address and address["group"],
            address and address["pid"],
            bool(address and not address["any"]),
            promise.tags.get(FUNCTION, ""),
            timer,
            request.note if request is not None and halted else None,
            request.logged if request is not None else None,
            cancel_at,
            None if cancelled is None or request is None else request.cancelled_at or tx.now,
            cancelled,
            "lost"
            if request is not None and request.lost and promise.state == "rejected"
            else ENDED.get(promise.state),
            promise.created_at,
            deployment,
            None if place is None else place.entry.queue,
        ),
    )
    if cancel_at is not None:
        tx.wake_at(cancel_at)
    found = execution_tags.tags_of(promise.tags)
    if found and not timer:
        execution_tags.enter(tx, promise.id, found, promise.created_at)
    announce(tx, promise.id, due)
