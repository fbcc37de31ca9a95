"""Statements of one thread, sent without waiting for the answers of those before.

psycopg's cursors do the same for any program; of a statement that takes the server 20 µs they take 50. Here a statement
is its parameters in bytes and a call of libpq: psycopg gives the connection, the types and the errors.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from durable.store.operations.row_records import Row

PREPARED_MAX = 500
"""Statements that the server keeps planned for a connection; then it begins anew. The store has about 200 of them, some
with several mixtures of types."""

_ROWS = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)

type StatementKey = tuple[bytes, tuple[int, ...]]
"""A text and the types of its parameters: what is prepared once."""


class SentStatement:
    """A statement that was sent. Its rows are waited for when they are asked for."""

    __slots__ = ("_pipeline", "key", "result")

    def __init__(self, pipeline: StatementPipeline, key: StatementKey | None = None) -> None:
        self._pipeline = pipeline
        self.key = key
        """What it prepares, where it is only that."""
        self.result: PGresult | None = None

    def fetchall(self) -> list[Row]:
        """Its rows. psycopg.Error, of this statement or of one before."""
        return self._pipeline.rows_of(self)

    def fetchone(self) -> Row | None:
        """Its first row."""
        rows = self.fetchall()
        return rows[0] if rows else None


class StatementPipeline:
    """The pipeline of a connection that nothing else uses meanwhile. Raises psycopg.Error."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._server = connection.pgconn
        self._values = Transformer(connection)
        self._poll = select.poll()
        self._socket = self._server.socket
        self._pending: deque[SentStatement] = deque()
        self._prepared: dict[StatementKey, bytes] = {}
        self._seen: set[StatementKey] = set()
        self._names = 0

    def begin(self) -> None:
        """Enter the mode of libpq in which statements do not wait."""
        self._pending.clear()
        self._server.enter_pipeline_mode()

    def execute(self, text: bytes, parameters: Sequence[object] = ()) -> SentStatement:
        """Send a statement with places `$1`. The second of a text is planned once for all that follow, where the
        connection prepares statements."""
        values = self._values.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
        types, formats = self._values.types or (), self._values.formats
        key = (text, types)
        name = self._prepared.get(key)
        if name is None and key in self._seen and self._connection.prepare_threshold is not None:
            name = self._prepare(key)
        if name is not None:
            self._server.send_query_prepared(name, values, formats)
        else:
            self._seen.add(key)
            self._server.send_query_params(text, values, types, formats)
        sent = SentStatement(self)
        self._pending.append(sent)
        return sent

    def _prepare(self, key: StatementKey) -> bytes:
        if len(self._prepared) >= PREPARED_MAX:
            self._prepared.clear()
            self._seen.clear()
            self._server.send_query_params(b"DEALLOCATE ALL", ())
            self._pending.append(SentStatement(self))
        self._names += 1
        name = self._prepared[key] = b"durable_%d" % self._names
        text, types = key
        self._server.send_prepare(name, text, types)
        self._pending.append(SentStatement(self, key))
        return name

    def rows_of(self, sent: SentStatement) -> list[Row]:
        """The rows of a statement, waited for where they are not here yet."""
        if sent.result is None:
            self._server.send_flush_request()
            self._flush()
            while sent.result is None:
                self._take()
        self._values.set_pgresult(sent.result)
        found: list[Row] = self._values.load_rows(0, sent.result.ntuples, tuple)
        return found

    def end(self) -> None:
        """Wait for everything that was sent, and leave the mode. The first error that comes is raised afterwards."""
        self._server.pipeline_sync()
        self._flush()
        error: psycopg.Error | None = None
        while True:
            try:
                if not self._take():
                    break
            except psycopg.Error as found:
                error = error or found
                if self._server.status == ConnStatus.BAD:
                    raise error from None
        self._server.exit_pipeline_mode()
        if error is not None:
            raise error

    def _flush(self) -> None:
        """Send what libpq has not sent yet, and read meanwhile: the server may wait until its answers are taken."""
        while self._server.flush():
            self._wait(select.POLLIN | select.POLLOUT)

    def _wait(self, events: int) -> None:
        self._poll.register(self._socket, events)
        for _, ready in self._poll.poll():
            if ready & ~select.POLLOUT:
                self._server.consume_input()

    def _take(self) -> bool:
        """Take the next answer; False for the end of all that was sent."""
        gap = False
        while True:
            while self._server.is_busy():
                self._wait(select.POLLIN)
            result = self._server.get_result()
            if result is not None:
                break
            if gap:
                raise psycopg.OperationalError("the connection is lost")
            gap = True  # between the answers of two statements
        if result.status == ExecStatus.PIPELINE_SYNC:
            return False
        sent = self._pending.popleft() if self._pending else SentStatement(self)
        sent.result = result
        if result.status not in _ROWS:
            if sent.key is not None:
                self._prepared.pop(sent.key, None)
            if result.status != ExecStatus.PIPELINE_ABORTED:
                raise error_from_result(result, encoding="utf-8")
            raise psycopg.errors.PipelineAborted("a statement before this one failed")
        return True
