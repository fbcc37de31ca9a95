"""Lists and searches of a database, on a connection of their own: they never delay the writer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from durable.core.errors import EngineClosed, StoreUnreachable
from durable.core.limits import REQUEST_UNHEARD_S
from durable.store.operations.row_records import Row
from durable.store.page_reads import not_text
from durable.store.postgres.address import Address
from durable.store.postgres.chunks import PARTS
from durable.store.postgres.connection import UNTIMED_HERE, connect_async, explain, is_old_plan
from durable.store.postgres.dialect import given, kept, translated
from durable.store.postgres.liveness import NOW, DatabaseLiveness
from durable.store.reads import Reads
from durable.store.rows import EngineRow

_SET = b"SELECT set_config('search_path', $1, true), set_config('jit', 'off', true)"
RETRY_S = 0.1
"""Between two tries to read while the server is away."""


class PostgresReads(Reads):
    """The read side of one open store. The connection is made when it is first needed, and anew when it was lost."""

    def __init__(self, address: Address, liveness: DatabaseLiveness) -> None:
        self._address = address
        self._liveness = liveness
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    async def engines(self) -> list[EngineRow]:
        """Engines that joined, oldest first; who of them is alive is known from then on."""
        living = await self._rows(f"SELECT engine FROM engine_leases WHERE until >= {NOW}", ())
        self._liveness.living = frozenset(row[0] for row in living)
        return await super().engines()

    async def _blob(self, address: str) -> bytes | None:
        rows = await self._rows(PARTS, (address,))
        return b"".join(row[0] for row in rows) if rows else None

    async def _rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        async with self._one_at_a_time:
            until = time.monotonic() + REQUEST_UNHEARD_S
            while True:
                try:
                    async with asyncio.timeout_at(asyncio.get_running_loop().time() + REQUEST_UNHEARD_S):
                        return await self._asked(sql, tuple(parameters))
                except (psycopg.Error, StoreUnreachable, TimeoutError) as error:
                    if is_old_plan(error):
                        await self._dropped()
                        continue
                    failure = self._failure(error)
                    if not isinstance(failure, StoreUnreachable) or time.monotonic() >= until or self._closed:
                        raise failure from error
                    await self._dropped()
                except UnicodeEncodeError as error:
                    raise not_text(error) from error
                await asyncio.sleep(RETRY_S)

    def _failure(self, error: Exception) -> Exception:
        """An error as ours: StoreUnreachable where the server may be back soon."""
        if isinstance(error, psycopg.Error):
            return explain(self._address, error)
        if isinstance(error, TimeoutError):
            return StoreUnreachable(f"store {self._address.shown!r} has not answered for {REQUEST_UNHEARD_S:.0f} s")
        return error

    async def _asked(self, sql: str, parameters: tuple[object, ...]) -> list[Row]:
        if self._closed:
            raise EngineClosed(f"store {self._address.shown!r} is closed")
        if self._connection is None:
            self._connection = await connect_async(self._address)
        connection = self._connection
        try:
            async with connection.pipeline(), connection.transaction():
                if connection.prepare_threshold is None:
                    await connection.execute(UNTIMED_HERE)
                await connection.execute(_SET, (self._address.search_path,))
                cursor = await connection.execute(translated(sql), kept(parameters))
                return [given(row) for row in await cursor.fetchall()]
        except asyncio.CancelledError:
            await self._dropped()  # the answer is on its way still
            raise

    async def _dropped(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
