"""Streams that executions write, and values that they publish: promises that are settled as they are made.

The tables say which promise stands where; the data is the promises' own (specs/streams.md).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import msgspec

from durable.core.limits import STREAM_NAME_CHARS_MAX
from durable.store.operations.row_records import PROMISE, dump
from durable.store.operations.signals import EXECUTION
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import EMPTY, PromiseCreate, Record, RecordPromise, Refused
from durable.store.protocol.stream_tags import ITEM, ITEMS, POSITION, PUBLISH, STEP, STREAM, is_write

_OF_P = ", ".join(f"p.{column}" for column in PROMISE.split(","))
_keys = msgspec.json.Decoder(list[str])


def check_write(promise_id: str, tags: dict[str, str]) -> None:
    """Refuse a write that no execution can have made."""
    execution = tags.get(EXECUTION, "")
    if not execution or not promise_id.startswith((f"{execution}.", f"{execution}:")):
        raise Refused(400, f"the write {promise_id!r} is not under its {EXECUTION} {execution!r}")
    names = [tags[STREAM]] if STREAM in tags else _keys_of(tags)
    if not names or not all(0 < len(name) <= STREAM_NAME_CHARS_MAX and "\0" not in name for name in names):
        raise Refused(400, f"names of streams and keys have 1 to {STREAM_NAME_CHARS_MAX} characters")
    for tag in (ITEMS, POSITION):
        if not tags.get(tag, "1").isdecimal() or not 1 <= int(tags.get(tag, "1")) < 2**31:
            raise Refused(400, f"{tag} {tags[tag]!r} is not a number from 1")
    if (STEP in tags) != (POSITION in tags) or (STEP in tags and not promise_id.startswith(f"{tags[STEP]}:")):
        raise Refused(400, f"{promise_id!r} is not a write of the step {tags.get(STEP)!r}")


def _keys_of(tags: dict[str, str]) -> list[str]:
    try:
        return _keys.decode(tags[PUBLISH])
    except msgspec.MsgspecError:
        raise Refused(400, f"{PUBLISH} {tags[PUBLISH]!r} is not a list of keys") from None


def write(tx: Tx, request: PromiseCreate, tags: dict[str, str], own: tuple[object, ...]) -> tuple[Record, bool]:
    """Make the promise of a write, settled, at the end of its stream: its record, and whether it is new.

    What a step writes again is not new (T4). own: the columns of the promise beside its record.
    """
    known = _written_before(tx, tags)
    if known is not None:
        return known, False
    n = _next(tx, tags)
    param = request.param or EMPTY
    headers = None if param.headers is None else dump(param.headers)
    value = base64.b64encode(str(n).encode()).decode()
    at = tx.now
    data = tx.values.stored(param.data)
    row = (request.id, "resolved", headers, data, None, value, dump(tags), request.timeout_at, at, at)
    if not tx.insert_promise((*row, *own)):
        found = tx.promise_row(request.id)
        assert found is not None
        return tx.record(found), False
    _enter(tx, request.id, tags, n)
    tx.effects.streams.add(tags[EXECUTION])
    return tx.record(row), True


def _written_before(tx: Tx, tags: dict[str, str]) -> Record | None:
    """The write that stands at this position of the step, where it has the same content."""
    if STEP not in tags:
        return None
    found = tx.row(
        f"SELECT {_OF_P} FROM stream_items i JOIN promises p ON p.id=i.promise"
        " WHERE i.execution=? AND i.name=? AND i.step=? AND i.position=?",
        (tags[EXECUTION], tags[STREAM], tags[STEP], int(tags[POSITION])),
    )
    record = None if found is None else tx.record(found)
    return record if record is not None and record["tags"].get(ITEM) == tags.get(ITEM) else None


def _next(tx: Tx, tags: dict[str, str]) -> int:
    """The offset of the next item, or the number of the next publication."""
    if STREAM in tags:
        row = tx.row("SELECT next_n FROM streams WHERE execution=? AND name=?", (tags[EXECUTION], tags[STREAM]))
        return 0 if row is None else int(row[0])
    row = tx.row("SELECT n FROM published WHERE execution=? ORDER BY n DESC LIMIT 1", (tags[EXECUTION],))
    return 1 if row is None else int(row[0]) + 1


def _enter(tx: Tx, promise_id: str, tags: dict[str, str], n: int) -> None:
    """Put a write into its place: behind all that was entered before it."""
    execution = tags[EXECUTION]
    if PUBLISH in tags:
        for key in _keys_of(tags):
            tx.execute(
                "INSERT INTO published (execution, key, n, promise) VALUES (?1,?2,?3,?4)"
                " ON CONFLICT (execution, key) DO UPDATE SET n=?3, promise=?4",
                (execution, key, n, promise_id),
            )
        return
    name, step, items = tags[STREAM], tags.get(STEP), int(tags.get(ITEMS, "1"))
    position = None if step is None else int(tags[POSITION])
    if step is not None:
        tx.execute(
            "DELETE FROM stream_items WHERE execution=? AND name=? AND step=? AND position>=?",
            (execution, name, step, position),
        )
    tx.execute(
        "INSERT INTO stream_items (execution, name, n, items, promise, step, position) VALUES (?,?,?,?,?,?,?)",
        (execution, name, n, items, promise_id, step, position),
    )
    tx.execute(
        "INSERT INTO streams (execution, name, next_n) VALUES (?1,?2,?3)"
        " ON CONFLICT (execution, name) DO UPDATE SET next_n=?3",
        (execution, name, n + items),
    )


def enter_recorded(tx: Tx, promises: Iterable[RecordPromise]) -> None:
    """Put the writes of an imported record into their places, in the order in which they were made."""
    found = [(_offset(each), each) for each in promises if is_write(each.tags)]
    for n, promise in sorted(found, key=lambda pair: pair[0]):
        check_write(promise.id, promise.tags)
        _enter(tx, promise.id, promise.tags, n)


def _offset(promise: RecordPromise) -> int:
    try:
        n = msgspec.json.decode(base64.b64decode(promise.value.data or "", validate=True), type=int)
    except (ValueError, msgspec.MsgspecError):
        n = -1
    if promise.state != "resolved" or not 0 <= n < 2**53:
        raise Refused(400, f"the write {promise.id!r} does not say where in its stream it is")
    return n


def forget(tx: Tx, execution: str) -> None:
    """Delete what an execution that is deleted has of streams."""
    for table in ("streams", "stream_items", "published"):
        tx.execute(f"DELETE FROM {table} WHERE execution=?", (execution,))
