"""A store in one SQLite file: opening it, its thread, its neighbours, closing it (specs/store.md)."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from durable.core.clock import Clock, now_ms
from durable.core.default_observer import log_event
from durable.core.errors import StoreError
from durable.store import owner_check
from durable.store.direct_store import DirectStore
from durable.store.operations.large_values import LargeValues
from durable.store.operations.leases import EngineLeases
from durable.store.sqlite import file
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.fault_points import Fault, watched
from durable.store.sqlite.idle_memory import Rest
from durable.store.sqlite.peer_notify import Peers
from durable.store.sqlite.point_reads import Glance
from durable.store.sqlite.reads import SqliteReads
from durable.store.sqlite.value_files import ValueFiles
from durable.store.sqlite.wal_room import LogRoom
from durable.store.sqlite.writer import Durability, SqliteWriter
from durable.store.upkeep.run_storage import sweep_directories

if TYPE_CHECKING:
    from durable.core.events import Observer


class Store(DirectStore):
    """One SQLite file, open. Made by `open`; bound to the running loop; closed by `close`."""

    glance: Glance
    writer_class = SqliteWriter
    _connection: sqlite3.Connection
    _liveness: Liveness
    _peers: Peers

    def __init__(self, path: Path, *, private: bool, observer: Observer) -> None:
        super().__init__(observer=observer)
        self.path = path
        self.name = str(path)
        self.directory = Path(f"{path}.d")
        self._private = private

    def sweep_run_files(self, *, dry_run: bool = False) -> int:
        return sweep_directories(self.path, dry_run=dry_run)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        durability: Durability = "power",
        clock: Clock = now_ms,
        create: bool = True,
        debug: bool = False,
        observer: Observer = log_event,
        fault: Fault | None = None,
    ) -> Store:
        """Open, or make, the store at `path` (`:memory:` is a private temporary file).

        `durability` says what an acknowledged write survives: the end of this process, or a power cut as well. `fault`
        is for crash tests. Raises StoreError with what is wrong and what to do, StoreNewer for a newer file.
        """
        located = await asyncio.to_thread(file.locate, path, create=create)
        self = cls(located, private=str(path) == ":memory:", observer=observer)
        try:
            await asyncio.to_thread(self._open_files, fault)
        except file.SQLITE_ERRORS as error:
            raise await asyncio.to_thread(file.explain, located, error) from error
        except OSError as error:
            raise file.unwritable(located, error) from error
        self.glance = Glance(located, clock)
        try:
            self.reads = await SqliteReads.open(located)
        except BaseException:
            self.glance.close()
            self._connection.close()
            self._peers.close()
            raise
        self._writer = self.writer_class(
            self._connection,
            clock=clock,
            durability=durability,
            deliver=self._deliver,
            liveness=self._liveness,
            leases=self._leases,
            values=LargeValues(ValueFiles(located), self.key),
            peers=self._peers,
            path=located,
            room=LogRoom(located),
            rest=Rest(self._rested),
            awaited=lambda: self._waiters.ids,
            told=lambda: self._waiters.halt_ids,
            debug=debug,
        )
        self._writer.start()
        self._loop.add_reader(self._peers.fileno(), self._noticed)
        return self

    def _open_files(self, fault: Fault | None) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._connection = file.connect(self.path, sqlite3.Connection if fault is None else watched(fault))
        try:
            owner_check.check(self.path)  # once more: what SQLite makes beside the file is there now
            self.key = file.load_key(self.path)
            self._liveness = Liveness(self.directory)
            self._leases = EngineLeases(self._liveness, self._loop)
            self._peers = Peers(self.directory)
        except BaseException:
            self._connection.close()
            raise

    @property
    def file(self) -> Store:
        """The store: its file is open in this process."""
        return self

    def _explained(self, error: Exception) -> StoreError | None:
        if isinstance(error, StoreError):
            return error
        return file.explain(self.path, error) if isinstance(error, file.SQLITE_ERRORS) else None

    def _gone(self) -> None:
        # What is committed stays; its engines are dead for others.
        self._liveness.release_all()

    async def _close(self) -> None:
        self._loop.remove_reader(self._peers.fileno())
        self.glance.close()
        self._writer.stop()
        await asyncio.to_thread(self._writer.join)
        await asyncio.sleep(0)  # the last answers were scheduled on this loop before the thread ended
        await self._end_searches()
        await self.reads.close()
        self._liveness.release_all()
        self._peers.close()
        self._fail_waiters()
        if self._private:
            import shutil

            await asyncio.to_thread(shutil.rmtree, self.path.parent, ignore_errors=True)

    def _noticed(self) -> None:
        if self._peers.read():
            self._writer.wake()

    def _rested(self, requests: int) -> None:
        """From the writer's thread."""
        from durable.core.events import MemoryGivenBack

        with suppress(RuntimeError):  # the loop ended without closing the store
            self._loop.call_soon_threadsafe(self._observe, MemoryGivenBack(requests))
