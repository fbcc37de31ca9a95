"""Invariants of a store's file whenever its process may have died: SQLite's own check, and specs/store.md's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from durable.store.upkeep.invariants import broken

TABLES = (
    "promises", "tasks", "callbacks", "listeners", "outbox", "schedules", "engines", "sessions", "cells", "output",
    "rewinds", "checkpoints", "checkpoint_uses", "chunks", "policies", "audit", "kv", "kv_usage",
    "queues", "queue_entries", "queue_keys", "queue_lines", "queue_starts",
)  # fmt: skip


def check(path: Path) -> None:
    """AssertionError names the rule and the rows that break it."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = broken(connection.execute)
        assert not found, found
    finally:
        connection.close()


def contents(path: Path, tables: Sequence[str] = TABLES) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, sorted: what one state of the store is."""
    connection = sqlite3.connect(path)
    try:
        return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}
    finally:
        connection.close()
