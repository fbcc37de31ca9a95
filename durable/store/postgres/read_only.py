"""A database that is only looked at: by a command that reads, a user who may do no more, on a standby
(specs/store.md, F3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durable.core.errors import StoreError, StoreRefused, StoreUnreachable
from durable.store.operations.due_times import anything_due
from durable.store.postgres.address import Address, address_of
from durable.store.postgres.connection import connect, explain, schema_version, scripts
from durable.store.postgres.database_rights import lacking, may_read
from durable.store.postgres.liveness import NOW, DatabaseLiveness
from durable.store.postgres.reads import PostgresReads
from durable.store.postgres.writer_connection import WriterConnection
from durable.store.read_only import ReadOnly

if TYPE_CHECKING:
    from durable.store.operations.request_table import Operation

_ALL_LIVE = (
    f"SELECT coalesce(bool_and(coalesce(until >= {NOW}, false)), true)"
    " FROM engines LEFT JOIN engine_leases USING (engine)"
)
_KEY = "SELECT value FROM secrets WHERE name='checkpoints'"
_TAKES_WRITES = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'"


class ReadOnlyDatabase(ReadOnly):
    """A schema of a database, on two connections whose transactions change nothing."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.name = self.path = address.shown
        self._address = address
        self._session = WriterConnection(address, writes=False)
        self._one_at_a_time = asyncio.Lock()
        self._liveness = DatabaseLiveness(self._session, "", 0)
        self.reads = PostgresReads(address, self._liveness)

    @property
    def file(self) -> None:
        """The file: none, since the store is in a database."""
        return

    @property
    def key(self) -> bytes:
        """The key of the store, on a connection of its own: requests use theirs in threads. StoreError where the user
        may not read it."""
        session = WriterConnection(self._address, writes=False)
        try:
            return bytes(session.rows(_KEY)[0][0])
        finally:
            session.close()

    async def _run(self, kind: str, operation: Operation, request: Any) -> Any:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._run_here, kind, operation, request)

    def _run_here(self, kind: str, operation: Operation, request: Any) -> Any:
        from durable.store.operations.large_values import LargeValues
        from durable.store.operations.leases import EngineLeases
        from durable.store.postgres.chunks import ValueRows
        from durable.store.postgres.read_ahead import ReadAhead
        from durable.store.postgres.transaction import PostgresTx
        from durable.store.protocol.requests import Refused

        session, schema = self._session, self._address.schema
        leases, values = EngineLeases(self._liveness, self._loop), LargeValues(ValueRows(session), b"")
        try:
            session.connect()
            session.begin()
            try:
                now = session.send(f"SELECT {NOW}").fetchall()[0][0]
                tx = PostgresTx(
                    session, schema, set(), ReadAhead(), now, {}, {}, self._liveness, leases, values, whole=True
                )
                outcome = operation(tx, request)
                session.flush()
                return outcome
            finally:
                session.undo()
        except Refused as refused:
            raise StoreRefused(kind, refused.status, refused.message) from None
        except psycopg.errors.ReadOnlySqlTransaction:
            raise self._refused() from None
        except psycopg.Error as error:
            raise explain(self._address, error) from error

    def engine_alive(self, engine: str) -> bool:
        """Whether that engine lived when engines were asked for last."""
        return engine in self._liveness.living

    async def close(self) -> None:
        """Close both connections."""
        await super().close()
        self._session.close()

    def nothing_to_do(self) -> bool:
        """Whether a writer would have nothing to do in it now. StoreError."""
        [(now, all_live)] = self._session.rows(f"SELECT {NOW}, ({_ALL_LIVE})")
        return bool(all_live) and not anything_due(self._session, now)

    def _refused(self) -> StoreError:
        return StoreError(f"store {self._address.shown!r}: read-only; nothing can go on here")


async def open_database_to_look(url: str) -> ReadOnlyDatabase | None:
    """A reader of the store at a URL, where a writer would have nothing to do in it, or cannot be; None where it takes
    a writer to look, or to say what is wrong, whose messages are the same for all commands. StoreUnreachable."""
    address = address_of(url)
    if "target_session_attrs" not in conninfo_to_dict(address.conninfo):
        address = replace(address, conninfo=make_conninfo(address.conninfo, target_session_attrs="any"))
    try:
        cannot_write = await asyncio.to_thread(_looked_at, address)
        if cannot_write is None:
            return None
        store = ReadOnlyDatabase(address)
        try:
            if cannot_write or await asyncio.to_thread(store.nothing_to_do):
                await store.reads.engines()
                return store
        except BaseException:
            await store.close()
            raise
        await store.close()
    except StoreUnreachable:
        raise  # a writer would wait as long again, and say the same
    except (StoreError, psycopg.Error):
        pass
    return None


def _looked_at(address: Address) -> bool | None:
    """Whether this user cannot write it at all; None where it is no store of this version that can be read."""
    with connect(address) as connection:
        if schema_version(connection, address) != len(scripts()) or not may_read(connection, address.schema):
            return None
        found = connection.execute(_TAKES_WRITES.encode()).fetchone()
        return found != (True,) or bool(lacking(connection, address.schema))
