"""A write transaction of a file: the operations' statements, run on the writer's connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from durable.store.operations.large_values import LargeValues
from durable.store.operations.leases import EngineLeases
from durable.store.operations.liveness import EngineLiveness
from durable.store.operations.row_records import Row
from durable.store.operations.transaction import INSERT_PROMISE, EngineServes, MessageEnd, Tx
from durable.store.protocol.requests import RegisterListener

_ANY_LISTENER = "SELECT 1 FROM listeners LIMIT 1"
_MAKE_PROMISE = f"{INSERT_PROMISE} ON CONFLICT DO NOTHING"


class SqliteLook:
    """Statements that read, outside of a transaction."""

    __slots__ = ("connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """All rows."""
        return self.connection.execute(sql, parameters).fetchall()


class SqliteTx(Tx):
    """One writer at a time has the file, so nothing needs a lock of its own."""

    __slots__ = ("_listeners", "connection")

    def __init__(
        self,
        connection: sqlite3.Connection,
        now: int,
        ends: dict[str, MessageEnd],
        served: dict[str, EngineServes],
        liveness: EngineLiveness,
        leases: EngineLeases,
        values: LargeValues,
        *,
        debug: bool = False,
    ) -> None:
        super().__init__(now, ends, served, liveness, leases, values, debug=debug)
        self.connection = connection
        self._listeners: bool | None = None
        """Whether anybody listened when this transaction looked first; None before that."""

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """Run one statement; the connection caches its preparation by text."""
        self.connection.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self.connection.executemany(sql, rows)

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> Row | None:
        return self.connection.execute(sql, parameters).fetchone()  # type: ignore[no-any-return]

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        return self.connection.execute(sql, parameters).fetchall()

    def insert_promise(self, row: Row) -> bool:
        # SQLite keeps a table of its own for what RETURNING gives; whether there is a row to give says as much.
        return self.connection.execute(_MAKE_PROMISE, row).rowcount > 0

    def take_listeners(self, awaited: str) -> list[str]:
        if self._listeners is None:
            self._listeners = self.row(_ANY_LISTENER) is not None
        return super().take_listeners(awaited) if self._listeners else []

    def work_on(self, request: object | None) -> None:
        if isinstance(request, RegisterListener):
            self._listeners = True

    def changes(self) -> int:
        return self.connection.total_changes

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[Row]:
        cursor = self.connection.execute(sql, parameters)
        try:
            yield from cursor
        finally:
            cursor.close()  # none stays open over a write
