"""Single rows of the file at this moment, read on the loop's own connection: no round trip to the writer, microseconds.

A glance sees every commit that was answered, since nothing is answered before it is committed (W1). It only ever saves
a request: where it cannot tell, or the file cannot be read just now, the request is made.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from durable.core.clock import Clock
from durable.store.direct_store import PointReads
from durable.store.operations import actors
from durable.store.operations.due_times import next_deadline
from durable.store.operations.halted_waits import Halt, halts_of
from durable.store.promise_standing import UNKNOWN, Standing
from durable.store.protocol.requests import Record
from durable.store.sqlite.file import address
from durable.store.sqlite.transaction import SqliteLook

_STANDING = (
    "SELECT p.state='pending' AND p.timeout_at>?2,"
    " t.state IN ('halted','suspended') OR (t.state='pending' AND t.session IS NOT NULL)"
    " FROM promises p LEFT JOIN tasks t ON t.id=p.id WHERE p.id=?1"
)
_MAY_BEGIN = (
    "SELECT 1 FROM tasks t JOIN promises p ON p.id=t.id"
    " WHERE t.id=?1 AND t.version=?2 AND t.state='acquired' AND t.lease_at>?3"
    " AND p.state='pending' AND p.timeout_at>?3 AND NOT EXISTS (SELECT 1 FROM promises WHERE id=?4)"
)


class Glance(PointReads):
    """A connection that cannot write. Used on the loop only, for single rows by their key."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        uri = f"{address(path.absolute())}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)

    def standing(self, promise_id: str) -> Standing:
        """How a promise stands at this moment."""
        try:
            row = self._connection.execute(_STANDING, (promise_id, self._clock())).fetchone()
        except sqlite3.Error:
            row = None
        return UNKNOWN if row is None else Standing(bool(row[0]), bool(row[1]))

    def halt(self, promise_id: str) -> Halt | None:
        """The halt that holds up a promise, if one does. LookupError when the file cannot be read just now."""
        try:
            return halts_of(SqliteLook(self._connection), [promise_id]).get(promise_id)
        except sqlite3.Error as error:
            raise LookupError(promise_id) from error

    def may_begin(self, task_id: str, version: int, child: str) -> bool:
        """Whether the fence would surely let the task's holder create `child` now, and there is none yet."""
        return self._found(_MAY_BEGIN, (task_id, version, self._clock(), child))

    def actor(self, name: str) -> Record | None:
        """An actor's row, without how many messages wait. None when there is none, or it cannot be read just now."""
        try:
            row = self._connection.execute(actors.ROW, (name,)).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else actors.record(row)

    def next_due_ms(self, now: int) -> int:
        """When anything is due after now; TIME_MAX_MS for never. sqlite3.Error."""
        return next_deadline(SqliteLook(self._connection), now)

    def _found(self, sql: str, parameters: tuple[object, ...]) -> bool:
        try:
            return self._connection.execute(sql, parameters).fetchone() is not None
        except sqlite3.Error:
            return False

    def close(self) -> None:
        """Before the writer's connection, which tidies up behind the last."""
        self._connection.close()
