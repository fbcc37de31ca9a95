"""The whole store at once, for the contract suite; refused unless the store was opened with debug=True."""

from __future__ import annotations

from durable.store.operations.deadlines import sweep
from durable.store.operations.row_records import PROMISE, TASK, task_record
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, DebugTick, Nothing, Refused

_TABLES = (
    "promises", "tasks", "callbacks", "listeners", "outbox", "schedules", "sessions", "cells", "output",
    "rewinds", "checkpoints", "checkpoint_uses", "chunks", "policies", "audit", "kv", "kv_usage",
    "discards", "signals", "signal_waits", "execution_tags",
    "queues", "queue_entries", "queue_keys", "queue_lines", "queue_starts",
    "streams", "stream_items", "published",
)  # fmt: skip


def _allow(tx: Tx) -> None:
    if not tx.debug:
        raise Refused(403, "this store was not opened for debugging")


def reset(tx: Tx, _request: Nothing) -> Answer:
    """Empty every table."""
    _allow(tx)
    for table in _TABLES:
        tx.execute(f"DELETE FROM {table}")
    return Answer(200, {})


def tick(tx: Tx, request: DebugTick) -> Answer:
    """Apply every deadline up to that time; the store's time does not go back behind it."""
    _allow(tx)
    tx.now = max(tx.now, request.time)
    sweep(tx)
    return Answer(200, {})


def snap(tx: Tx, _request: Nothing) -> Answer:
    """All promises, tasks, callbacks and listeners, sorted."""
    _allow(tx)
    return Answer(
        200,
        {
            "promises": [tx.record(row) for row in tx.rows(f"SELECT {PROMISE} FROM promises ORDER BY id")],
            "tasks": [task_record(row) for row in tx.rows(f"SELECT {TASK} FROM tasks ORDER BY id")],
            "callbacks": [
                {"awaited": row[0], "awaiter": row[1]}
                for row in tx.rows("SELECT awaited, awaiter FROM callbacks ORDER BY awaited, awaiter")
            ],
            "listeners": [
                {"awaited": row[0], "address": row[1]}
                for row in tx.rows("SELECT awaited, address FROM listeners ORDER BY awaited, address")
            ],
        },
    )
