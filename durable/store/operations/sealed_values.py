"""Sealed values as they lie in the store: found by the key that sealed them, written anew (specs/codec.md, E9).

The store opens none: which key sealed a value stands in its head.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from durable.core.limits import REKEY_BYTES, REKEY_ROWS
from durable.core.value_codec import sealed_by
from durable.store.operations.large_values import is_reference
from durable.store.operations.promises import check_value
from durable.store.operations.row_records import Row, dump, load_value
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, Integer, Refused, SealedPage, Value, ValueReseal


class _Place(NamedTuple):
    """Where values lie: pages of rows, and the statements for one of them, whose parameters are its key."""

    key: tuple[type, ...]
    first: str
    after: str
    one: str
    write: str


_HEAD = "substr({}, 1, 120)"  # a whole reference, or the head of what is sealed
_PROMISES = "SELECT id, {head} FROM promises{where} ORDER BY id LIMIT ?"
_SIGNALS = "SELECT execution, name, n, {head} FROM signals{where} ORDER BY execution, name, n LIMIT ?"
_SCHEDULES = "SELECT id, promise_param FROM schedules{where} ORDER BY id LIMIT ?"
_LETTERS = "SELECT id, {head} FROM dead_letters{where} ORDER BY id LIMIT ?"
_AFTER, _AFTER_SIGNAL = " WHERE id > ?", " WHERE (execution, name, n) > (?, ?, ?)"


def _place(key: tuple[type, ...], pages: str, after: str, column: str, one: str, write: str) -> _Place:
    head = _HEAD.format(column)
    return _Place(key, pages.format(head=head, where=""), pages.format(head=head, where=after), one, write)


_PLACES = {
    "param": _place(
        (str,), _PROMISES, _AFTER, "param_data",
        "SELECT param_data FROM promises WHERE id=?", "UPDATE promises SET param_data=? WHERE id=?",
    ),
    "value": _place(
        (str,), _PROMISES, _AFTER, "value_data",
        "SELECT value_data FROM promises WHERE id=?", "UPDATE promises SET value_data=? WHERE id=?",
    ),
    "signal": _place(
        (str, str, int), _SIGNALS, _AFTER_SIGNAL, "data",
        "SELECT data FROM signals WHERE execution=? AND name=? AND n=?",
        "UPDATE signals SET data=? WHERE execution=? AND name=? AND n=?",
    ),
    "schedule": _place(
        (str,), _SCHEDULES, _AFTER, "promise_param",
        "SELECT promise_param FROM schedules WHERE id=?", "UPDATE schedules SET promise_param=? WHERE id=?",
    ),
    "letter": _place(
        (int,), _LETTERS, _AFTER, "message",
        "SELECT message FROM dead_letters WHERE id=?", "UPDATE dead_letters SET message=? WHERE id=?",
    ),
}  # fmt: skip
_ORDER = [*_PLACES]


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    place: str = _ORDER[0]
    key: list[str | Integer] = []


def _cursor(after: str) -> _Cursor:
    """The cursor that a page gave; the first one of "". Refused."""
    try:
        cursor = msgspec.json.decode(after, type=_Cursor) if after else _Cursor()
    except msgspec.MsgspecError:
        raise Refused(400, "the cursor is none: take it from `next` of the page before") from None
    if cursor.place not in _PLACES or cursor.key:
        _check_place(cursor.place, cursor.key)
    return cursor


def _check_place(place: str, key: list[str | int]) -> None:
    if place not in _PLACES or tuple(map(type, key)) != _PLACES[place].key:
        raise Refused(400, f"{place!r} with the key {key!r} is no place of a value")


def page(tx: Tx, request: SealedPage) -> Answer:
    """The next values that a key sealed, but for `but`: `{place, key, sealed_by}`, and with `whole` their `data`.

    `next` is the cursor of the next page, "" behind the last one.
    """
    cursor = _cursor(request.after)
    place = _PLACES[cursor.place]
    sql = place.after if cursor.key else place.first
    rows = tx.rows(sql, (*cursor.key, REKEY_ROWS))
    found, size, last = list[dict[str, Any]](), 0, cursor.key
    for row in rows:
        last = list(row[:-1])
        text = _begun(tx, cursor.place, row) or ""
        key_id, size = sealed_by(text), size + len(text)
        if key_id is not None and key_id != request.but:
            value: dict[str, Any] = {"place": cursor.place, "key": last, "sealed_by": key_id}
            if request.whole:
                value["data"] = _data(tx, cursor.place, last)
                size += len(value["data"] or "")
            found.append(value)
        if size > REKEY_BYTES:
            break
    else:
        if len(rows) < REKEY_ROWS:
            following = _ORDER.index(cursor.place) + 1
            after = dump(_Cursor(_ORDER[following])) if following < len(_ORDER) else ""
            return Answer(200, {"values": found, "next": after})
    return Answer(200, {"values": found, "next": dump(_Cursor(cursor.place, last))})


def _begun(tx: Tx, place: str, row: Row) -> str | None:
    """A row's value, or the beginning of it: all of one that lies in a blob was read for that."""
    text = load_value(row[-1]).data if place == "schedule" else row[-1]
    return tx.values.told(text) if text is not None and is_reference(text) else text


def _data(tx: Tx, place: str, key: list[Any]) -> str | None:
    """A value as it is recorded now; None where it is gone."""
    row = tx.row(_PLACES[place].one, tuple(key))
    if row is None or row[0] is None:
        return None
    return load_value(row[0]).data if place == "schedule" else tx.values.told(row[0])


def reseal(tx: Tx, request: ValueReseal) -> Answer:
    """Write a value anew, if it still is the one whose digest is given: `changed` says whether."""
    _check_place(request.place, request.key)
    place = _PLACES[request.place]
    check_value(Value(data=request.data))
    if request.place != "letter":
        tx.lock_promise(str(request.key[0]))
    data = _data(tx, request.place, request.key)
    if data is None or hashlib.sha256(data.encode()).hexdigest() != request.before or sealed_by(data) is None:
        return Answer(200, {"changed": False})
    if request.place == "schedule":
        row = tx.row(place.one, tuple(request.key))
        assert row is not None, "it was read just now"
        text = dump(Value(headers=load_value(row[0]).headers, data=request.data))
    else:
        text = tx.values.stored(request.data) or ""
    tx.execute(place.write, (text, *request.key))
    return Answer(200, {"changed": True})
