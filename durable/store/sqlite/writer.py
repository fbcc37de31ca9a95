"""The writing connection of a file: its syncs, its lock, and how others are noticed (specs/store.md, The writer)."""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from durable.core.errors import StoreFull
from durable.core.limits import BUSY_WAIT_S
from durable.store.operations.due_times import next_deadline
from durable.store.operations.transaction import Tx
from durable.store.sqlite.file import explain
from durable.store.sqlite.idle_memory import Rest
from durable.store.sqlite.peer_notify import Peers
from durable.store.sqlite.transaction import SqliteLook, SqliteTx
from durable.store.sqlite.wal_room import LogRoom
from durable.store.writer import Job, Writer

type Durability = Literal["power", "process"]

SYNC_LATER_S = 0.02
"""A cell whose record is synced later is so within this: most have ended by then, and one sync serves for both."""

_RETRY_FIRST_S = 0.0002
_RETRY_MAX_S = 0.005


class SqliteWriter(Writer):
    """One thread of each process writes the file, and of all processes one at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        path: Path,
        durability: Durability,
        peers: Peers,
        room: LogRoom,
        rest: Rest,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.queries = SqliteLook(connection)
        self._connection = connection
        self._path = path
        self._durability = durability
        self._peers = peers
        self._room = room
        self._rest = rest
        self._seen = -1
        self._synchronous = ""
        self._syncs_later = False
        self._changes_before = 0
        self._sync_at = math.inf
        """The monotonic time, in s, by which the log has to be synced."""

    def _begin(self, jobs: list[Job]) -> Tx:
        sync = not all(job.internal for job in jobs)
        wanted = "FULL" if sync and self._durability == "power" else "NORMAL"
        if wanted != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous={wanted}")
            self._synchronous = wanted
        self._retried(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        if wanted == "FULL":
            self._room.make()
        self._syncs_later = not sync and any(job.kind == "cell.submit" for job in jobs)
        self._changes_before = self._connection.total_changes
        self._tell_time()
        return SqliteTx(
            self._connection,
            self._now,
            self.ends,
            self._served,
            self._liveness,
            self._leases,
            self._values,
            debug=self._debug,
        )

    def _end(self, tx: Tx) -> None:  # noqa: ARG002 - the connection has one transaction
        self._retried(lambda: self._connection.execute("COMMIT"))
        if self._synchronous == "FULL":
            if self._connection.total_changes != self._changes_before:  # a commit that writes nothing syncs nothing
                self._sync_at = math.inf
        elif self._syncs_later and self._durability == "power":
            self._sync_at = min(self._sync_at, time.monotonic() + SYNC_LATER_S)

    def _sync_in(self) -> float:
        return self._sync_at - time.monotonic()

    def _sync(self) -> None:
        if time.monotonic() >= self._sync_at:
            self._sync_at = math.inf
            self._room.sync()

    def _undo(self, tx: Tx) -> None:  # noqa: ARG002
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _retried(self, action: Callable[[], object]) -> None:
        """Try again, soon and jittered, while another process holds the write lock; SQLite's own handler stalls."""
        deadline = time.monotonic() + BUSY_WAIT_S
        delay = _RETRY_FIRST_S
        while True:
            try:
                action()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                delay = min(delay * 2, _RETRY_MAX_S)
            else:
                return

    def _notice_others(self) -> None:
        """See whether another connection committed since the last look; its deadlines are ours to keep too."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen:
            self._seen = version
            self._foreign = True
            self._next_deadline = min(self._next_deadline, next_deadline(self.queries, self._now))

    def _tell_others(self) -> bool:
        return self._peers.notify()

    def _idle(self) -> None:
        self._rest.look(self._connection)

    def _worked(self, requests: int) -> None:
        self._rest.worked(requests)

    def _without_room(self, error: Exception) -> StoreFull | None:
        full = explain(self._path, error)
        return full if isinstance(full, StoreFull) else None

    def _disconnect(self) -> None:
        if self._sync_at < math.inf:
            self._room.sync()
        self._connection.close()
