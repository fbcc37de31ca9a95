"""One connection of the writer's thread: transactions as pipelines, single looks, and a new connection after a loss.

A pipeline sends statements without waiting for the answers of those before; only a statement whose rows are asked for
waits, for all that was sent. So a transaction costs as many round trips as it has questions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

from durable.store.operations.row_records import Row
from durable.store.postgres.address import Address
from durable.store.postgres.connection import UNTIMED_HERE, connect, explain, is_lost, is_old_plan
from durable.store.postgres.dialect import given, kept, translated
from durable.store.postgres.statement_pipeline import SentStatement, StatementPipeline

_STOPPED_MS = "10000"
"""A process that stops in a transaction, and not within a pipeline (notices.py sees to that), holds others up for so
long at most: then the server ends its connection."""

_SET = (
    "SELECT set_config('search_path', $1, true),"
    f" set_config('idle_in_transaction_session_timeout', '{_STOPPED_MS}', true), set_config('jit', 'off', true),"
    " set_config('enable_seqscan', 'off', true)"
)
"""For each transaction, since a pooler may give each another server connection. What is asked here takes microseconds,
and a plan that is thought costly would be compiled for tens of milliseconds each time. All of it is found by an index;
a plan that was made while a table was nearly empty would read all of it, and is kept when that has grown."""
_SET_AND_LOCK = (
    f"{_SET}, set_config('plan_cache_mode', 'force_generic_plan', true),"
    " pg_advisory_xact_lock($2), pg_advisory_xact_lock_shared($3),"
    " (SELECT count(pg_advisory_xact_lock(k)) FROM unnest($4::bigint[]) k)"
).encode()
"""What is read ahead is found by keys alone, so one plan serves for all of them: made anew each time, as the server
would have it, it costs ten times what its execution does."""
_PLAN_ONCE = b"SELECT set_config('plan_cache_mode', 'force_generic_plan', true)"
_PLAN_AGAIN = b"SELECT set_config('plan_cache_mode', 'auto', true)"
_SET_AND_LOCK_ALL = f"{_SET}, pg_advisory_xact_lock($2), pg_advisory_xact_lock($3)".encode()

_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
"""Whatever the user or the database is set to: with one view for the whole transaction it would not see what was
committed while it waited for its locks."""

_UNKNOWN_STATEMENT = ("26000", "42P05")
"""A pooler that hides itself and knows nothing of prepared statements; or a pipeline that failed before it came to a
statement that the driver took for prepared."""

UNKNOWN_MAX = 3
"""After so many of these nothing is prepared any more."""


class WriterConnection:
    """The statements of one thread on one connection."""

    def __init__(self, address: Address, *, writes: bool = True) -> None:
        """writes: without, every transaction is one that the server lets change nothing."""
        self._address = address
        self._begin = _BEGIN if writes else _BEGIN + b" READ ONLY"
        self._connection: psycopg.Connection[Any] | None = None
        self._statements: StatementPipeline | None = None
        """What is sent on the connection."""
        self._pipeline: StatementPipeline | None = None
        """The same, in a transaction."""
        self._prepares = True
        self._unknown = 0
        self.connections = 0
        """How many there were."""
        self.wrote = False
        """Whether the transaction has a statement that may change rows."""
        self.heard_at = time.monotonic()
        """When the server last answered; read by other threads."""
        self._soon: dict[str, list[tuple[object, ...]]] = {}

    @property
    def open(self) -> bool:
        """Whether there is a connection that was not lost."""
        return self._connection is not None and not self._connection.closed

    def connect(self) -> None:
        """Open a connection, if there is none. StoreError, StoreUnreachable."""
        if not self.open:
            self._connection = connect(self._address)
            self.connections += 1
            if not self._prepares:
                self._connection.prepare_threshold = None
            self._statements = StatementPipeline(self._connection)

    def close(self) -> None:
        """Close the connection, whatever it is at."""
        connection, self._connection, self._statements, self._pipeline = self._connection, None, None, None
        if connection is not None:
            try:
                connection.close()
            except psycopg.Error:
                pass

    def begin(self, store: int | None = None, own: int = 0, locks: list[int] | None = None) -> None:
        """Begin a transaction. Hold the lock `own` alone, the lock `store` with others, and `locks`, taken in order,
        alone; where there are no `locks` (None), the lock `store` alone. Waits for nothing yet."""
        assert self._connection is not None
        assert self._statements is not None
        self._soon = {}
        self._pipeline = pipeline = self._statements
        pipeline.begin()
        self.wrote = False
        pipeline.execute(self._begin)
        if self._connection.prepare_threshold is None:
            pipeline.execute(UNTIMED_HERE)  # before the statement that may wait for locks
        if store is None:
            pipeline.execute(_SET.encode(), (self._address.search_path,))
        elif locks is None:
            pipeline.execute(_SET_AND_LOCK_ALL, (self._address.search_path, own, store))
        else:
            pipeline.execute(_SET_AND_LOCK, (self._address.search_path, own, store, locks))

    def end(self, *, channel: str | None, payload: str = "") -> None:
        """Commit; on a channel, tell others afterwards."""
        assert self._pipeline is not None
        self.flush()
        self._pipeline.execute(b"COMMIT")
        if channel is not None:
            self._pipeline.execute(b"SELECT pg_notify($1, $2)", (channel, payload))
        pipeline, self._pipeline = self._pipeline, None
        pipeline.end()
        self.heard_at = time.monotonic()

    def plan_once(self, *, once: bool) -> None:
        """Whether what follows has one plan for all of its parameters, as at the beginning; else the server decides."""
        self.send_raw(_PLAN_ONCE if once else _PLAN_AGAIN, ())

    def undo(self) -> None:
        """Roll back, or give the connection up where that cannot be told to the server."""
        pipeline, self._pipeline = self._pipeline, None
        try:
            if pipeline is not None:
                try:
                    pipeline.end()
                except psycopg.Error:
                    pass  # the error that leads here
            if self.open and self._connection is not None:
                self._connection.execute(b"ROLLBACK")
        except psycopg.Error:
            self.close()

    def note(self, error: BaseException) -> None:
        """Learn from an error: a lost connection is given up, and one whose prepared statements are not those that the
        driver knows; where that comes again and again, nothing is prepared any more."""
        if is_lost(error) or is_old_plan(error):
            self.close()
        elif self.unprepared(error):
            self._unknown += 1
            self._prepares = self._unknown < UNKNOWN_MAX
            self.close()

    def unprepared(self, error: BaseException) -> bool:
        """Whether the server does not know a statement as prepared that the driver takes for it, or the reverse."""
        return isinstance(error, psycopg.Error) and (error.sqlstate in _UNKNOWN_STATEMENT or is_old_plan(error))

    def send(self, sql: str, parameters: tuple[object, ...] = ()) -> SentStatement:
        """Send a statement of the transaction; its rows are waited for only where they are fetched."""
        assert self._pipeline is not None
        self.wrote = self.wrote or not sql.startswith("SELECT")
        self.flush()
        return self._pipeline.execute(translated(sql), kept(parameters))

    def send_soon(self, sql: str, parameters: tuple[object, ...]) -> None:
        """Run a statement before the next one that is sent; those of one text go together, which costs a fraction."""
        self.wrote = True
        self._soon.setdefault(sql, []).append(kept(parameters))

    def amend_soon(self, sql: str, row: tuple[object, ...]) -> bool:
        """Put a row in the place of the one of the same id that has not gone yet; False where it has."""
        rows = self._soon.get(sql, ())
        (own, *_) = kept((row[0],))
        for place in range(len(rows) - 1, -1, -1):
            if rows[place][0] == own:
                self._soon[sql][place] = kept(row)
                return True
        return False

    def flush(self) -> None:
        """Send what is to go soon now."""
        if not self._soon:
            return
        assert self._pipeline is not None
        soon, self._soon = self._soon, {}
        for sql, rows in soon.items():
            text = translated(sql)
            for row in rows:
                self._pipeline.execute(text, row)

    def send_raw(self, sql: bytes, parameters: tuple[object, ...]) -> SentStatement:
        """Send a statement of PostgreSQL's own."""
        assert self._pipeline is not None
        self.flush()
        return self._pipeline.execute(sql, parameters)

    def send_many(self, sql: str, rows: list[tuple[object, ...]]) -> None:
        """Run a statement once for each row of parameters."""
        for row in rows:
            self.send(sql, row)

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """All rows of a statement: in the transaction, or as of this moment outside of one."""
        if self._pipeline is not None:
            found = self.send(sql, parameters).fetchall()
            self.heard_at = time.monotonic()
            return [given(row) for row in found]
        return self.alone(lambda: self.send(sql, parameters).fetchall())

    def alone(self, action: Callable[[], list[Row]]) -> list[Row]:
        """Statements in a short transaction of their own."""
        while True:
            try:
                self.connect()
                self.begin()
                found = [given(row) for row in action()]
                self.end(channel=None)
            except psycopg.Error as error:
                self.undo()
                self.note(error)
                if self.unprepared(error) and self._unknown <= UNKNOWN_MAX:
                    continue  # on a new connection
                raise explain(self._address, error) from error
            return found
