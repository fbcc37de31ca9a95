"""A file that is only looked at: a mounted backup, or any by a command that reads (specs/store.md, F2, F3)."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable.core.clock import now_ms
from durable.core.errors import StoreError, StoreRefused
from durable.store import owner_check
from durable.store.operations.due_times import anything_due
from durable.store.operations.row_records import Row
from durable.store.read_only import ReadOnly
from durable.store.sqlite import file
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.reads import SqliteReads
from durable.store.target import MEMORY, is_database, is_url, parsed

if TYPE_CHECKING:
    from durable.store.operations.request_table import Operation


def is_read_only(target: str | Path) -> bool:
    """Whether there is a store's file that cannot be written here."""
    named = parsed(target)
    if named == MEMORY or is_url(target) or is_database(target):
        return False
    path = Path(named).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    log = Path(f"{path}-wal")
    return not os.access(path, os.W_OK) or (not log.exists() and not os.access(path.parent, os.W_OK))


class ReadOnlyStore(ReadOnly):
    """The face of a file, on two connections that only read."""

    def __init__(self, path: Path, connection: sqlite3.Connection, reads: SqliteReads) -> None:
        super().__init__()
        self.path = path
        self.directory = Path(f"{path}.d")
        self.reads = reads
        self._connection = connection
        self._liveness = Liveness(self.directory)

    @property
    def file(self) -> ReadOnlyStore:
        """The store: its file is open in this process."""
        return self

    @classmethod
    async def open(cls, target: str | Path) -> ReadOnlyStore:
        """Open it. StoreError where it cannot be read as it is."""
        path = Path(parsed(target)).expanduser().absolute()
        owner_check.check(path)
        connection, uri = _connected(path)
        try:
            _check_schema(connection, path)
            return cls(path, connection, await SqliteReads.open(path, uri=uri))
        except file.SQLITE_ERRORS as error:
            connection.close()
            raise file.explain(path, error) from error
        except BaseException:
            connection.close()
            raise

    @property
    def key(self) -> bytes:
        """The key beside the file."""
        return file.load_key(self.path, create=False)

    async def _run(self, kind: str, operation: Operation, request: Any) -> Any:
        from durable.store.operations.large_values import LargeValues
        from durable.store.operations.leases import EngineLeases
        from durable.store.protocol.requests import Refused
        from durable.store.sqlite.transaction import SqliteTx
        from durable.store.sqlite.value_files import ValueFiles

        leases = EngineLeases(self._liveness, self._loop)
        values = LargeValues(ValueFiles(self.path), b"")  # none is written
        try:
            self._connection.execute("BEGIN")
            try:
                tx = SqliteTx(self._connection, now_ms(), {}, {}, self._liveness, leases, values)
                return operation(tx, request)
            finally:
                self._connection.execute("ROLLBACK")
        except Refused as refused:
            raise StoreRefused(kind, refused.status, refused.message) from None
        except file.SQLITE_ERRORS as error:
            raise file.explain(self.path, error) from error

    def engine_alive(self, engine: str) -> bool:
        """Whether an engine on this machine lives."""
        try:
            return self._liveness.alive(engine)
        except OSError:
            return False

    async def close(self) -> None:
        """Close both connections."""
        await super().close()
        self._connection.close()  # the last one, which leaves the log as it is

    def nothing_to_do(self) -> bool:
        """Whether a writer of the file would have nothing to do in it now. Errors of SQLite."""
        engines = self._connection.execute("SELECT engine FROM engines").fetchall()
        return all(self.engine_alive(row[0]) for row in engines) and not anything_due(self, now_ms())

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """All rows of a statement that reads. Errors of SQLite."""
        return self._connection.execute(sql, parameters).fetchall()

    def _refused(self) -> StoreError:
        return StoreError(
            f"store {str(self.path)!r}: read-only; nothing can go on here. Copy it to where you may write"
        )


async def open_to_look(target: str | Path) -> ReadOnlyStore | None:
    """A reader of the file, where a writer would have nothing to do in it; None where it takes a writer to look (F3).

    What is wrong with the file is for the writer to say, whose messages are the same for all commands.
    """
    path = Path(parsed(target)).expanduser().absolute()
    if parsed(target) == MEMORY or not path.is_file() or is_read_only(target):
        return None
    owner_check.check(path)
    whole = _is_whole(path)
    uri = f"{file.address(path)}?mode=rw"  # a reader, too, may have to make the log's index
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
    except file.SQLITE_ERRORS:
        return None
    try:
        connection.execute("PRAGMA query_only=ON")
        if not whole:
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # what a crash left stays as it is
        if not file.is_current(connection):
            connection.close()
            return None
        store = ReadOnlyStore(path, connection, await SqliteReads.open(path, uri=uri))
    except (StoreError, *file.SQLITE_ERRORS):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    try:
        looked_at = store if store.nothing_to_do() else None
    except (StoreError, *file.SQLITE_ERRORS):
        looked_at = None
    if looked_at is None:
        await store.close()
    return looked_at


def _connected(path: Path) -> tuple[sqlite3.Connection, str]:
    """A connection, and the address that it was opened by.

    Without a log the file is whole, and cannot change while its file system is read-only. With one, SQLite reads both,
    as far as it finds or can make what it needs beside them.
    """
    uri = f"{file.address(path)}?mode=ro" + ("&immutable=1" if _is_whole(path) else "")
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except file.SQLITE_ERRORS as error:
        connection.close()
        raise file.explain(path, error) from error
    return connection, uri


def _is_whole(path: Path) -> bool:
    """Whether nothing of the store is in its log."""
    log = Path(f"{path}-wal")
    return not log.exists() or log.stat().st_size == 0


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    file.claim(connection, path)
    version, newest = connection.execute("PRAGMA user_version").fetchone()[0], len(file.migrations())
    if version < newest:
        raise StoreError(
            f"store {str(path)!r} is read-only and has schema version {version}, this durable-exec reads {newest};"
            " copy it to where you may write: opening it there brings it up to date"
        )
    file.check_version(path, version, newest)
