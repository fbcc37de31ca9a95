"""Values that code keeps under names, one namespace for each session and each shared name (specs/capability.md, kv)."""

from __future__ import annotations

from durable.store.operations.lock_keys import values_key
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, KvAt, KvList, KvNamespace, KvSet, Refused

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


def put(tx: Tx, request: KvSet) -> Answer:
    """Set a key; 413 when the namespace would hold more than `quota` bytes."""
    size = len(request.key.encode()) + len(request.value.encode())
    row = tx.row("SELECT bytes FROM kv WHERE namespace=? AND key=?", (request.namespace, request.key))
    used, keys = _usage(tx, request.namespace)
    now = used + size - (0 if row is None else row[0])
    if now > request.quota and now > used:
        raise Refused(413, f"{now} bytes would be kept, {request.quota} are allowed")
    tx.execute(
        "INSERT INTO kv (namespace, key, value, bytes) VALUES (?1,?2,?3,?4)"
        " ON CONFLICT (namespace, key) DO UPDATE SET value=?3, bytes=?4",
        (request.namespace, request.key, request.value, size),
    )
    _count(tx, request.namespace, now, keys + (row is None))
    return Answer(200, {})


def delete(tx: Tx, request: KvAt) -> Answer:
    """Remove a key; whether there was one."""
    sql = "DELETE FROM kv WHERE namespace=? AND key=? RETURNING bytes"
    row = tx.row(sql, (request.namespace, request.key))
    if row is not None:
        used, keys = _usage(tx, request.namespace)
        _count(tx, request.namespace, used - row[0], keys - 1)
    return Answer(200, {"deleted": row is not None})


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
