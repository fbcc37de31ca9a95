"""Values that code keeps under names, one namespace for each session and each shared name (specs/capability.md, kv)."""

from __future__ import annotations

from durable.store.operations.lock_keys import values_key
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, KvAt, KvDelete, KvList, KvNamespace, KvSet, KvWrite, Refused

KEY_CHARS = 12
"""Of a number as a key: enough for as many values as anybody appends, in the order of their text."""


def _usage(tx: Tx, namespace: str) -> tuple[int, int]:
    row = tx.row("SELECT bytes, keys FROM kv_usage WHERE namespace=?", (namespace,))
    return (0, 0) if row is None else (row[0], row[1])


def _count(tx: Tx, namespace: str, used: int, keys: int) -> None:
    tx.execute(
        "INSERT INTO kv_usage (namespace, bytes, keys) VALUES (?1,?2,?3)"
        " ON CONFLICT (namespace) DO UPDATE SET bytes=?2, keys=?3",
        (namespace, used, keys),
    )


def get(tx: Tx, request: KvAt) -> Answer:
    """The JSON text under a key; `found` false when there is none."""
    row = tx.row("SELECT value FROM kv WHERE namespace=? AND key=?", (request.namespace, request.key))
    return Answer(200, {"found": row is not None, "value": None if row is None else row[0]})


def _bytes(tx: Tx, namespace: str, key: str) -> int | None:
    """The bytes of a key and its value; None where there is none."""
    row = tx.row("SELECT bytes FROM kv WHERE namespace=? AND key=?", (namespace, key))
    return None if row is None else int(row[0])


def _value(tx: Tx, namespace: str, key: str) -> str:
    row = tx.row("SELECT value FROM kv WHERE namespace=? AND key=?", (namespace, key))
    return "" if row is None else str(row[0])


def _size(key: str, value: str) -> int:
    return len(key.encode()) + len(value.encode())


def _set(tx: Tx, namespace: str, values: dict[str, str], before: dict[str, int | None], quota: int) -> None:
    """Set keys, of which there were so many bytes before; nothing where they would be more than the quota."""
    used, keys = _usage(tx, namespace)
    now = used + sum(_size(key, value) - (before[key] or 0) for key, value in values.items())
    if now > quota and now > used:
        raise Refused(413, f"{now} bytes would be kept, {quota} are allowed")
    for key, value in values.items():
        tx.execute(
            "INSERT INTO kv (namespace, key, value, bytes) VALUES (?1,?2,?3,?4)"
            " ON CONFLICT (namespace, key) DO UPDATE SET value=?3, bytes=?4",
            (namespace, key, value, _size(key, value)),
        )
    _count(tx, namespace, now, keys + sum(before[key] is None for key in values))


def put(tx: Tx, request: KvSet) -> Answer:
    """Set a key; 413 when the namespace would hold more than `quota` bytes."""
    before = {request.key: _bytes(tx, request.namespace, request.key)}
    _set(tx, request.namespace, {request.key: request.value}, before, request.quota)
    return Answer(200, {})


def delete(tx: Tx, request: KvDelete) -> Answer:
    """Remove a key, where it has the value that is said, if one is; whether it was removed."""
    sql = "DELETE FROM kv WHERE namespace=?1 AND key=?2 AND value=coalesce(?3, value) RETURNING bytes"
    row = tx.row(sql, (request.namespace, request.key, request.value))
    if row is not None:
        used, keys = _usage(tx, request.namespace)
        _count(tx, request.namespace, used - row[0], keys - 1)
    return Answer(200, {"deleted": row is not None})


def write(tx: Tx, request: KvWrite) -> Answer:
    """Set and then remove keys, all or none of them; 413 as for one. Gives which of `fill` were set."""
    before = {key: _bytes(tx, request.namespace, key) for key in {**request.fill, **request.greatest, **request.put}}
    filled = {key: value for key, value in request.fill.items() if before[key] is None and key not in request.put}
    risen = {key: value for key, value in request.greatest.items() if value > _value(tx, request.namespace, key)}
    values = {**filled, **risen, **request.put}
    if values:
        _set(tx, request.namespace, values, before, request.quota)
    for key in request.delete:
        delete(tx, KvDelete(namespace=request.namespace, key=key))
    return Answer(200, {"filled": list(filled)})


def listing(tx: Tx, request: KvList) -> Answer:
    """Keys that begin with a prefix, in order."""
    rows = tx.rows(
        "SELECT key FROM kv WHERE namespace=?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2 ORDER BY key LIMIT ?3",
        (request.namespace, request.prefix, request.limit),
    )
    return Answer(200, {"keys": [row[0] for row in rows]})


def usage(tx: Tx, request: KvNamespace) -> Answer:
    """Bytes of keys and values, and how many keys."""
    used, keys = _usage(tx, request.namespace)
    return Answer(200, {"used": used, "keys": keys})


def append(tx: Tx, namespace: str, value: str) -> None:
    """Put a value behind all others of a namespace whose keys are numbers, in order of their text."""
    tx.lock(values_key(namespace))
    row = tx.row("SELECT max(key) FROM kv WHERE namespace=?", (namespace,))
    key = f"{0 if row is None or row[0] is None else int(row[0]) + 1:0{KEY_CHARS}d}"
    size = len(key) + len(value.encode())
    tx.execute("INSERT INTO kv (namespace, key, value, bytes) VALUES (?,?,?,?)", (namespace, key, value, size))
    used, keys = _usage(tx, namespace)
    _count(tx, namespace, used + size, keys + 1)


def forget(tx: Tx, namespace: str) -> None:
    """Remove a namespace whole."""
    tx.lock(values_key(namespace))
    tx.execute("DELETE FROM kv WHERE namespace=?", (namespace,))
    tx.execute("DELETE FROM kv_usage WHERE namespace=?", (namespace,))
