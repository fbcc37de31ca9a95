"""A store in which many one-step executions have ended: written as rows, since running them takes an hour."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.ids import mint_execution_id
from durable.records.values import pack
from durable.store.sqlite.store import Store

PROMISES_EACH = 2
"""The execution's own promise, and its step's."""

FUNCTION = "benchmarks.contenders.durable_functions::one_step@1"
SOME_DIGEST = uuid.UUID(int=1).hex

_DATA = pack({"func": "one_step", "args": [1], "kwargs": {}, "version": 1})
_VALUE = pack(2)


async def fill(path: Path, promises: int) -> None:
    """Make a store with that many settled promises, and their tasks."""
    await (await Store.open(path, durability="process")).close()
    now = now_ms()
    ids = sorted(f"exec:{mint_execution_id()}" for _ in range(promises // PROMISES_EACH))  # in order: faster
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")  # nobody else has the file; opening it brings the log back
        connection.execute("PRAGMA synchronous=OFF")
        connection.executemany(
            "INSERT INTO promises (id, state, param_data, value_data, tags, timeout_at, created_at, settled_at,"
            " external, branch) VALUES (?, 'resolved', ?, ?, ?, ?, ?, ?, ?, ?)",
            (row for id in ids for row in _promises(id, now)),
        )
        connection.executemany(
            "INSERT INTO tasks (id, state, ended, version, not_before, grp, exclusive, function, timer, created_at)"
            f" VALUES (?, 'fulfilled', 'completed', 1, 0, 'default', 0, '{FUNCTION}', 0, ?)",
            ((id, now) for id in ids),
        )
        connection.commit()


def _promises(id: str, now: int) -> Iterator[tuple[Any, ...]]:
    common = f'"resonate:origin":"exec","resonate:branch":"{id}","resonate:parent":"{id}"'
    root = (
        f'{{"resonate:scope":"global","resonate:target":"poll://any@default",{common},"durable:function":"{FUNCTION}",'
        f'"durable:arguments":"{SOME_DIGEST}","durable:nonce":"{SOME_DIGEST}"}}'
    )
    step = (
        f'{{"resonate:scope":"local",{common},"durable:kind":"step","durable:name":"step",'
        f'"durable:digest":"{SOME_DIGEST}"}}'
    )
    yield id, _DATA, _VALUE, root, TIME_MAX_MS, now, now, 1, None
    yield f"{id}.1", None, _VALUE, step, TIME_MAX_MS, now, now, 0, id
