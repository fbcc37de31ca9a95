"""The tables that `durable copy` takes along, and its two ends as it sees them (specs/store.md, "Copy")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from durable.store.operations.listener_posts import URLS
from durable.store.operations.row_records import Row

TABLES = (
    "promises", "tasks", "callbacks", "listeners", "schedules", "sessions", "cells", "output", "rewinds", "checkpoints",
    "checkpoint_uses", "chunks", "policies", "audit", "kv", "kv_usage", "discards",
    "signals", "signal_waits", "execution_tags",
    "streams", "stream_items", "published",
    "actors", "dead_letters", "subscriptions",
    "queues", "queue_entries", "queue_keys", "queue_lines", "queue_starts", "outbox",
    "deployments", "deployment_routes", "retentions",
)  # fmt: skip
"""All but those of processes that are alive (engines, their leases, messages for them), of which a copy has none."""
NUMBERED = ("checkpoints", "audit", "dead_letters", "outbox")
"""Tables whose ids are numbers that are never used again."""
WANTED = {"outbox": f"WHERE {URLS}"}
"""The rows of a table that are copied, where that is not all of them."""
BLOBS = "blobs"
"""Large chunks and values, in the counts: rows in a database, files beside a file."""

USED_BLOBS = """
    SELECT digest FROM checkpoint_uses
    UNION SELECT substr(param_data, 2, 64) FROM promises WHERE substr(param_data, 1, 1) = '@'
    UNION SELECT substr(value_data, 2, 64) FROM promises WHERE substr(value_data, 1, 1) = '@'
    UNION SELECT substr(data, 2, 64) FROM signals WHERE substr(data, 1, 1) = '@'"""
"""The addresses of all blobs that something refers to. Of data that only begins as a reference does come more."""


class Readable(Protocol):
    """An end of a copy, as it is read."""

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns that hold what was recorded, not what follows from it."""

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """All rows of a table, in any order."""

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Large chunks and values that something refers to, by digest."""


class CopySource(Readable, Protocol):
    """The store that is copied, held against writing."""

    key: bytes

    def living(self) -> list[str]:
        """The engines that are alive."""

    def last_number(self, table: str) -> int:
        """The last id that was given in a table of NUMBERED; 0 for none."""


class CopyTarget(Readable, Protocol):
    """The store that is made, in a transaction that is undone unless it is finished."""

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Write rows."""

    def put_blobs(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """Keep large chunks."""

    def finish(self, key: bytes, last_numbers: dict[str, int]) -> None:
        """Forget who held what, take the key, and commit: from then on it is a store."""
