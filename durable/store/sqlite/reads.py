"""Lists and searches of a file, on a connection and a thread of their own: they never delay the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from durable.core.limits import READ_CACHE_KIB
from durable.store.operations.row_records import Row
from durable.store.page_reads import not_text
from durable.store.reads import Reads
from durable.store.sqlite.file import SQLITE_ERRORS, explain
from durable.store.sqlite.value_files import ValueFiles


class SqliteReads(Reads):
    """The read side of one open file."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._values = ValueFiles(path)

    @classmethod
    async def open(cls, path: Path, *, uri: str | None = None) -> SqliteReads:
        """Open a connection that cannot write; its errors are StoreError. uri: SQLite's, where the path needs one."""
        connecting = aiosqlite.connect(uri or path, uri=uri is not None, isolation_level=None, cached_statements=128)
        # A program that fails before it closes the store has to end all the same: this thread only reads.
        thread: Any = getattr(connecting, "_thread", connecting)
        thread.daemon = True
        connection = await connecting
        try:
            await connection.execute("PRAGMA query_only=ON")
            await connection.execute("PRAGMA busy_timeout=5000")
            await connection.execute(f"PRAGMA cache_size=-{READ_CACHE_KIB}")
        except SQLITE_ERRORS as error:
            await connection.close()
            raise explain(path, error) from error
        return cls(connection, path)

    async def close(self) -> None:
        """Close the connection and end its thread."""
        await self._connection.close()

    async def _blob(self, address: str) -> bytes | None:
        return await asyncio.to_thread(self._values.read, address)

    async def _rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        try:
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]
        except SQLITE_ERRORS as error:
            raise explain(self._path, error) from error
        except UnicodeEncodeError as error:
            raise not_text(error) from error
