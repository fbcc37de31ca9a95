"""A store that is only looked at: a mounted backup, or any file by a command that reads (specs/store.md, F2, F3)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core.clock import now_ms
from durable.core.errors import StoreError, StoreRefused
from durable.core.value_codec import ValueCodec
from durable.store import owner_check
from durable.store.operations.due_times import anything_due
from durable.store.operations.row_records import Row
from durable.store.sqlite import file
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.reads import SqliteReads
from durable.store.target import MEMORY, is_database, is_url, parsed

if TYPE_CHECKING:
    from durable.store.changes import StoreChange
    from durable.store.operations.leases import Held
    from durable.store.operations.request_table import Operation
    from durable.store.protocol.requests import Answer
    from durable.store.rows import PromiseRow

LOOK_S = 1.0
"""How often whoever watches is told to look again: another machine may write what is mounted read-only here."""


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


class ReadOnlyStore:
    """The face of a file that cannot be written: lists, searches and requests that only read. The rest is refused."""

    local = chunks = None
    codec: ValueCodec | None = None

    def __init__(self, path: Path, connection: sqlite3.Connection, reads: SqliteReads) -> None:
        self.path = path
        self.directory = Path(f"{path}.d")
        self.reads = reads
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._liveness = Liveness(self.directory)
        self._watchers: set[asyncio.TimerHandle] = set()

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

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer:
        """Answer a request that only reads. StoreRefused as any store; StoreError for one that writes."""
        from durable.store.operations.request_table import KINDS  # all that a writer can do: lists need none of it
        from durable.store.operations.searches import Unfinished

        known = KINDS.get(kind)
        if known is None:
            raise StoreRefused(kind, 400, f"unknown kind {kind!r}")
        try:
            request = msgspec.convert(data, known.request)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise StoreRefused(kind, 400, str(error)) from None
        outcome = self._run(kind, known.operation, request)
        return await self.reads.go_on(outcome) if isinstance(outcome, Unfinished) else outcome

    def _run(self, kind: str, operation: Operation, request: Any) -> Any:
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

    def post(
        self,
        kind: str,
        data: Mapping[str, object],
        *,
        awaited: bool = True,  # noqa: ARG002 - as any store
    ) -> asyncio.Future[Answer]:
        """`request`, begun at once."""
        return asyncio.ensure_future(self.request(kind, data))

    def connect(self, engine_id: str, group: str) -> Any:  # noqa: ARG002 - as any store
        """No engine runs anything on it."""
        raise self._refused()

    def keep_leases(self, engine: str, held: Held) -> None:  # noqa: ARG002 - as any store
        """No engine holds anything of it."""
        raise self._refused()

    def discarded(self, task_id: str, step: str, reason: str) -> None:
        """Nothing runs here, so nothing is thrown away."""

    def require(self, feature: str) -> None:
        """Nothing is lacking."""

    def engine_alive(self, engine: str) -> bool:
        """Whether an engine on this machine lives."""
        try:
            return self._liveness.alive(engine)
        except OSError:
            return False

    async def settled(
        self,
        promise_id: str,
        *,
        halts: bool = False,  # noqa: ARG002
        patient: bool = True,  # noqa: ARG002
        fresh: bool = False,  # noqa: ARG002
    ) -> PromiseRow:
        """The promise where it is settled; it cannot be waited for."""
        row = await self.reads.get_promise(promise_id)
        if row is None:
            raise StoreRefused("promise.get", 404, f"promise {promise_id!r} does not exist")
        if row.state == "pending":
            raise self._refused()
        return row

    def hurried(self) -> AbstractContextManager[None]:
        """Nothing waits for room here."""
        return nullcontext()

    def tell_of_trouble(self, error: StoreError, at: float) -> None:
        """Nobody waits."""

    def watch(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]:
        """Call back now and then; the answer ends it."""
        pending: list[asyncio.TimerHandle] = []

        from durable.store.changes import StoreChange

        def again() -> None:
            callback(StoreChange(foreign=True))
            begin()

        def begin() -> None:
            self._watchers.difference_update(pending)
            pending[:] = [self._loop.call_later(LOOK_S, again)]
            self._watchers.update(pending)

        def end() -> None:
            pending[0].cancel()

        begin()
        return end

    async def close(self) -> None:
        """Close both connections."""
        for handle in self._watchers:
            handle.cancel()
        await self.reads.close()
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
