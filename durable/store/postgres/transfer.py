"""A schema of a database as an end of `durable copy` (specs/store.md, "Copy")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from durable.core.errors import Conflict
from durable.store.operations.large_values import IS_USED
from durable.store.operations.lock_keys import WHOLE, lock_number
from durable.store.operations.row_records import Row
from durable.store.postgres.address import Address, address_of
from durable.store.postgres.chunks import keep_chunk, kept_chunk
from durable.store.postgres.connection import (
    UNTIMED_HERE,
    connect,
    explain,
    is_there,
    migrate,
    prepare,
    schema_version,
    scripts,
)
from durable.store.postgres.dialect import given, kept
from durable.store.postgres.holder import is_gone
from durable.store.postgres.liveness import NOW
from durable.store.unfinished_copy import UNFINISHED
from durable.store.upkeep.backup import FORGET_HOLDERS
from durable.store.upkeep.copied_tables import BLOBS, TABLES, WANTED

_PAGE = 1_000
_COLUMNS = (
    "SELECT column_name::text FROM information_schema.columns WHERE table_schema=$1 AND table_name=$2"
    " AND is_generated='NEVER' ORDER BY ordinal_position"
)


class _Schema:
    """The reading of both ends, in one transaction that holds the whole store."""

    def __init__(self, address: Address, connection: psycopg.Connection[Any]) -> None:
        self._address = address
        self._connection = connection

    def _ask(self, sql: str, *parameters: Any) -> list[Row]:
        return self._connection.execute(sql.encode(), parameters).fetchall()

    def columns(self, table: str) -> list[str]:
        return [row[0] for row in self._ask(_COLUMNS, self._address.schema, table)]

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        yield from self._each(f"SELECT {','.join(columns)} FROM {table} {WANTED.get(table, '')}")

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        used = f"SELECT digest FROM blobs b WHERE {IS_USED}"
        for (digest,) in self._each(used):
            data = kept_chunk(self._connection, digest)
            assert data is not None, "it was there, and nobody writes"
            yield digest, data

    def _each(self, sql: str) -> Iterator[Row]:
        with psycopg.RawServerCursor(self._connection, "copied") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(sql.encode())
            for row in cursor:
                yield given(row)


class SourceSchema(_Schema):
    """The schema that is copied."""

    def __init__(self, address: Address, connection: psycopg.Connection[Any], key: bytes) -> None:
        super().__init__(address, connection)
        self.key = key

    def living(self) -> list[str]:
        rows = self._ask(
            "SELECT e.engine, e.pid, l.holder FROM engines e JOIN engine_leases l ON l.engine=e.engine"
            f" WHERE l.until >= {NOW} ORDER BY e.engine"
        )
        return [f"engine {engine[:8]} (pid {pid})" for engine, pid, holder in rows if not is_gone(holder)]

    def last_number(self, table: str) -> int:
        sequence = self._ask("SELECT pg_get_serial_sequence($1, 'id')", table)[0][0]
        last, is_called = self._ask(f"SELECT last_value, is_called FROM {sequence}")[0]
        return int(last) if is_called else 0


class TargetSchema(_Schema):
    """The schema that is made."""

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        statement = f"COPY {table} ({','.join(columns)}) FROM STDIN"
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copying:
            for row in rows:
                copying.write_row(kept(row))

    def put_blobs(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        for digest, data in blobs:
            keep_chunk(self._connection, digest, data)

    def finish(self, key: bytes, last_numbers: dict[str, int]) -> None:
        for sql in FORGET_HOLDERS:
            self._connection.execute(sql.encode())
        for table, number in last_numbers.items():
            if number:
                self._ask("SELECT setval(pg_get_serial_sequence($1, 'id'), $2)", table, number)
        self._connection.execute(b"UPDATE secrets SET value=$1 WHERE name='checkpoints'", (key,))
        self._connection.execute(b"UPDATE store_version SET version=$1", (len(scripts()),))
        self._connection.execute(b"COMMIT")


@contextmanager
def source_schema(url: str) -> Iterator[SourceSchema]:
    """The store in a schema, while nobody else writes it. StoreError."""
    address = address_of(url)
    key = prepare(address, create=False)
    with _held(address) as connection:
        yield SourceSchema(address, connection, key)


@contextmanager
def target_schema(url: str) -> Iterator[TargetSchema]:
    """A new store in a schema. Conflict when one with rows is there; what an interrupted copy left is begun again."""
    address = address_of(url)
    with connect(address) as connection:
        try:
            _begin(connection, address)
        except psycopg.Error as error:
            raise explain(address, error) from None
    with _held(address) as connection:
        yield TargetSchema(address, connection)


def _begin(connection: psycopg.Connection[Any], address: Address) -> None:
    """Make the tables, and mark them as unfinished: nobody opens them from then on."""
    if not is_there(connection, address):
        migrate(connection, address, scripts())
    with connection.transaction():
        connection.execute(b"SELECT set_config('search_path', $1, true)", (address.schema,))
        connection.execute(b"SELECT pg_advisory_xact_lock($1)", (lock_number(address.schema, WHOLE),))
        if schema_version(connection, address) != UNFINISHED:
            for table in (*TABLES, BLOBS, "engines"):
                if connection.execute(f"SELECT 1 FROM {table} LIMIT 1".encode()).fetchone():
                    raise Conflict(f"store {address.shown!r} is not empty; name another ?schema=")
            connection.execute(b"UPDATE store_version SET version=$1", (UNFINISHED,))


@contextmanager
def _held(address: Address) -> Iterator[psycopg.Connection[Any]]:
    """A connection in a transaction that no writer of the store goes on beside."""
    with connect(address) as connection:
        try:
            connection.execute(b"BEGIN")
            connection.execute(b"SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute(UNTIMED_HERE)  # behind a pooler nothing is set for the connection
            connection.execute(b"SELECT set_config('search_path', $1, true)", (address.schema,))
            connection.execute(b"SELECT pg_advisory_xact_lock($1)", (lock_number(address.schema, WHOLE),))
            yield connection
        except psycopg.Error as error:
            raise explain(address, error) from None
        finally:
            if not connection.closed:
                connection.rollback()
