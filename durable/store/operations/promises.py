"""Promises: create, get, settle, callbacks, listeners, search (specs/store.md, S1-S3)."""

from __future__ import annotations

import re
from typing import NamedTuple

from durable.core.clock import TIME_MAX_MS
from durable.core.ids import DEPLOYMENT
from durable.core.limits import TAGS_BYTES_MAX, VALUE_BYTES_MAX
from durable.store.operations import deployments, execution_tags, signals, streams
from durable.store.operations.listener_posts import is_url
from durable.store.operations.row_records import PROMISE, dump, promise_record
from durable.store.operations.searches import SEARCH_DEFAULT, Search, Unfinished, begin, tagged
from durable.store.operations.settlement import ENDED, announce, is_head, lease_until, settle_pending
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    EMPTY,
    Answer,
    ById,
    PromiseCreate,
    PromiseSearch,
    PromiseSettle,
    Record,
    Refused,
    RegisterCallback,
    RegisterListener,
    Value,
)
from durable.store.protocol.stream_tags import is_write

_ADDRESS = re.compile(r"poll://(?:(?P<any>any)@|uni@(?=[^/]+/))(?P<group>[^/@\s]+)(?:/(?P<pid>[^\s]+))?\Z")


def address_of(text: str) -> re.Match[str] | None:
    """The parts `any`, `group` and `pid` of an address; None for what is none."""
    return _ADDRESS.match(text)


def origin_of(promise_id: str) -> str:
    """The part of a promise's id before the first colon."""
    return promise_id.partition(":")[0]


def is_external(tags: dict[str, str]) -> bool:
    """Whether others than the task that made it may await, hear of and settle the promise.

    scope=global counts too: the TypeScript SDK's bare promises carry only that.
    """
    return (
        tags.get("resonate:external") == "true"
        or "resonate:target" in tags
        or tags.get("resonate:timer") == "true"
        or tags.get("resonate:scope") == "global"
    )


def check_value(value: Value | None) -> None:
    """Refuse what is over the limit, naming it, and what is no text."""
    if value is None:
        return
    if value.data is not None:
        _check_text(value.data)
    if value.data is not None and len(value.data) > VALUE_BYTES_MAX:
        raise Refused(
            400, f"a value of {len(value.data)} bytes is over the limit of {VALUE_BYTES_MAX} bytes (VALUE_BYTES_MAX)"
        )
    for name, text in (value.headers or {}).items():
        _check_text(name + text)
    if value.headers and len(dump(value.headers)) > TAGS_BYTES_MAX:
        raise Refused(400, f"headers are over the limit of {TAGS_BYTES_MAX} bytes (TAGS_BYTES_MAX)")


def _check_text(text: str) -> None:
    """Refuse lone surrogates; ASCII, which nearly everything is, costs nothing."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Refused(400, f"text that cannot be written as UTF-8: {error}") from error


def check_target(target: str) -> None:
    """Refuse a target that nobody would deliver to: engines and SDKs fetch their work, none of it is sent."""
    if target.startswith(("http://", "https://")):
        raise Refused(400, f"the resonate:target {target!r} would never be called; targets here are poll://…")


def check_create(request: PromiseCreate, tags: dict[str, str]) -> None:
    """The rules of ids and tags: an id equals or extends its declared origin, branch and parent."""
    check_value(request.param)
    text = "".join([*tags, *tags.values()])
    _check_text(text)
    if len(text) > TAGS_BYTES_MAX:
        raise Refused(400, f"tags are over the limit of {TAGS_BYTES_MAX} characters (TAGS_BYTES_MAX)")
    if not origin_of(request.id):
        raise Refused(400, f"the id {request.id!r} has no origin before its first colon")
    if tags.get("resonate:target") == "":
        raise Refused(400, "resonate:target is empty")
    check_target(tags.get("resonate:target", ""))
    execution_tags.check(execution_tags.tags_of(tags))
    if ":" in tags.get("resonate:origin", ""):
        raise Refused(
            400, f"resonate:origin {tags['resonate:origin']!r} holds a colon, which only separates it from the rest"
        )
    for tag in ("resonate:origin", "resonate:branch", "resonate:parent"):
        ancestor = tags.get(tag)
        if ancestor is not None and not _extends(request.id, ancestor):
            raise Refused(400, f"the id {request.id!r} does not equal or extend its {tag} {ancestor!r}")
    _delay(tags)
    if signals.SIGNAL in tags:
        signals.check_wait(request.id, tags)
    if is_write(tags):
        streams.check_write(request.id, tags)


def _extends(promise_id: str, ancestor: str) -> bool:
    separator = "." if ":" in ancestor else ":"
    return promise_id == ancestor or promise_id.startswith(ancestor + separator)


def _delay(tags: dict[str, str]) -> int:
    text = tags.get("resonate:delay")
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > TIME_MAX_MS:
        raise Refused(400, f"resonate:delay {text!r} is not a time in milliseconds since the epoch")
    return int(text)


class Lease(NamedTuple):
    """The holder of a task from its creation on. `ttl` in milliseconds."""

    pid: str
    ttl: int


def create_promise(
    tx: Tx, request: PromiseCreate, lease: Lease | None = None, *, queue: str | None = None, n: int | None = None
) -> tuple[Record, bool]:
    """Create it with its task, or find it as it is: the record, and whether it is new. `check_create` goes before.

    With a `lease` the new task is acquired at once; no unsettled cell of its session may then be before it. One of a
    `queue` is not due before that gives it a place. n: the next number of its session, where that is known.
    """
    tags = request.tags or {}
    text = dump(tags)
    param = request.param or EMPTY
    headers = None if param.headers is None else dump(param.headers)
    expired = request.timeout_at <= tx.now
    state = "pending" if not expired else "resolved" if tags.get("resonate:timer") == "true" else "rejected_timedout"
    created_at, settled_at = (request.timeout_at, request.timeout_at) if expired else (tx.now, None)
    external = is_external(tags)
    branch = tags.get("resonate:branch")
    tx.lock_promise(request.id)
    own = (external, None if branch == request.id else branch, tags.get("durable:capability"))
    if is_write(tags):
        return streams.write(tx, request, tags, own)
    data = tx.values.stored(param.data)
    row = (request.id, state, headers, data, None, None, text, request.timeout_at, created_at, settled_at)
    if not tx.insert_promise((*row, *own)):
        found = tx.promise_row(request.id)
        assert found is not None
        return tx.record(found), False
    if not expired:
        tx.wake_at(request.timeout_at)
    if not expired and tags.get("durable:capability") == "input":
        tx.effects.prompts.add(request.id)
    if "resonate:target" in tags:
        _create_task(tx, request.id, tags, ended=ENDED[state] if expired else None, lease=lease, queue=queue, n=n)
    record = tx.record(row, tags)
    if "resonate:target" in tags:
        tx.fences.made[request.id] = record
    if expired and external:
        tx.effects.settled[request.id] = record
    if signals.SIGNAL in tags and not expired:
        record = signals.wait(tx, request.id, tags) or record
    return record, True


def _create_task(
    tx: Tx,
    task_id: str,
    tags: dict[str, str],
    *,
    ended: str | None,
    lease: Lease | None,
    queue: str | None,
    n: int | None,
) -> None:
    address = address_of(tags["resonate:target"])
    timer = tags.get("resonate:timer") == "true"
    not_before = _delay(tags)
    session = tags.get("durable:session")
    deployment = tags.get(DEPLOYMENT)
    due: int | None = None
    if session is not None:
        if n is None:
            n = next_n(tx, session)
        else:
            tx.execute_soon("UPDATE sessions SET next_n=next_n+1 WHERE name=?", (session,))
        tx.execute_soon(
            "INSERT INTO cells (session, n, promise, settled) VALUES (?,?,?,?)",
            (session, n, task_id, ended is not None),
        )
        tx.effects.sessions.add(session)
    state, version, pid, ttl, lease_at = "pending" if ended is None else "fulfilled", 0, None, None, None
    if lease is not None and ended is None:
        state, version, pid, ttl, lease_at = "acquired", 1, lease.pid, lease.ttl, lease_until(tx, lease.ttl)
        if deployments.is_pinned(tags.get("durable:function", ""), session):
            deployment = deployment or deployments.of_engine(tx, lease.pid) or None
    elif ended is None and not timer and queue is None and (session is None or is_head(tx, session, n or 0)):
        due = max(tx.now, not_before)
    tx.execute_soon(
        "INSERT INTO tasks (id, state, version, pid, ttl, lease_at, due, not_before, grp, preferred, exclusive,"
        " function, session, n, timer, created_at, ended, queue, deployment)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            task_id,
            state,
            version,
            pid,
            ttl,
            lease_at,
            due,
            not_before,
            address and address["group"],
            address and address["pid"],
            bool(address and not address["any"]),
            tags.get("durable:function", ""),
            session,
            n,
            timer,
            tx.now,
            ended,
            queue,
            deployment,
        ),
    )
    found = execution_tags.tags_of(tags)
    if found and not timer:
        execution_tags.enter(tx, task_id, found, tx.now)
    announce(tx, task_id, due)


def next_n(tx: Tx, session: str) -> int:
    """Take the session's next number; one that nobody opened yet, or that was closed, comes into being, unowned."""
    tx.lock_session(session)
    row = tx.row(
        "INSERT INTO sessions (name, epoch, options, next_n, created_at) VALUES (?,0,'',2,?)"
        " ON CONFLICT (name) DO UPDATE SET next_n=sessions.next_n+1,"
        " options=CASE WHEN sessions.closed=0 THEN sessions.options ELSE '' END, closed=0 RETURNING next_n-1",
        (session, tx.now),
    )
    assert row is not None
    return int(row[0])


def find(tx: Tx, promise_id: str) -> Record:
    """The promise's record, or 404."""
    row = tx.promise_row(promise_id)
    if row is None:
        raise Refused(404, f"promise {promise_id!r} does not exist")
    return tx.record(row)


def settle_promise(tx: Tx, request: PromiseSettle) -> tuple[Record, bool]:
    """Settle it, or echo how it was settled: the record, and whether this request did it."""
    check_value(request.value)
    record = settle_pending(tx, request.id, request.state, request.value or EMPTY)
    return (find(tx, request.id), False) if record is None else (record, True)


def get(tx: Tx, request: ById) -> Answer:
    return Answer(200, {"promise": find(tx, request.id)})


def create(tx: Tx, request: PromiseCreate) -> Answer:
    check_create(request, request.tags or {})
    return Answer(200, {"promise": create_promise(tx, request)[0]})


def settle_request(tx: Tx, request: PromiseSettle) -> Answer:
    return Answer(200, {"promise": settle_promise(tx, request)[0]})


def register_callback(tx: Tx, request: RegisterCallback) -> Answer:
    """Resume the awaiter's task when the awaited promise settles; nothing is recorded when it has."""
    if request.awaited == request.awaiter:
        raise Refused(400, "a promise cannot await itself")
    if origin_of(request.awaited) != origin_of(request.awaiter):
        raise Refused(400, "awaited and awaiter have different origins")
    record = find(tx, request.awaited)
    if tx.row("SELECT 1 FROM tasks WHERE id=?", (request.awaiter,)) is None:
        raise Refused(422, f"the awaiter {request.awaiter!r} does not exist or has no target")
    _require_external(record)
    if record["state"] == "pending":
        add_callback(tx, request.awaited, request.awaiter)
    return Answer(200, {"promise": record})


_CALL_BACK = (
    "INSERT INTO callbacks (awaited, awaiter)"
    " SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM tasks WHERE id=?2 AND state<>'fulfilled') ON CONFLICT DO NOTHING"
)


def add_callback(tx: Tx, awaited: str, awaiter: str) -> None:
    """Record it once, unless the awaiter is finished and could never be resumed."""
    tx.execute(_CALL_BACK, (awaited, awaiter))


def add_callbacks(tx: Tx, awaited: list[str], awaiter: str) -> None:
    """The same for each of them."""
    if len(awaited) == 1:
        add_callback(tx, awaited[0], awaiter)
    else:
        tx.execute_many(_CALL_BACK, [(promise_id, awaiter) for promise_id in awaited])


def _require_external(record: Record) -> None:
    tags = record["tags"]
    assert isinstance(tags, dict)
    if not is_external(tags):
        raise Refused(422, f"promise {record['id']!r} is not external: only the execution that made it can wait for it")


def register_listener(tx: Tx, request: RegisterListener) -> Answer:
    """Push `unblock` to the address when the promise settles; nothing is recorded when it has."""
    if _ADDRESS.match(request.address) is None and not is_url(request.address):
        raise Refused(
            400,
            f"{request.address!r} is not an address: poll://uni@<group>/<pid>, poll://any@<group>[/<pid>],"
            " or an http(s) URL without a user",
        )
    record = find(tx, request.awaited)
    _require_external(record)
    if record["state"] == "pending":
        tx.execute(
            "INSERT INTO listeners (awaited, address) VALUES (?,?) ON CONFLICT DO NOTHING",
            (request.awaited, request.address),
        )
    return Answer(200, {"promise": record})


def search(tx: Tx, request: PromiseSearch) -> Answer | Unfinished:
    """A page in order of id."""
    where, parameters = tagged("promises.tags", request.tags)
    if request.state is not None:
        where, parameters = ("state = ?", *where), (request.state, *parameters)
    limit = request.limit or SEARCH_DEFAULT
    asked = Search("promises", "promises", PROMISE, promise_record, limit, where, parameters)
    return begin(tx, asked, request.cursor)
