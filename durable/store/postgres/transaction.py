"""A write transaction of a database: the operations' statements, under locks by key (specs/postgres.md, Locks)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from durable.core.ids import may_be_recorded
from durable.core.limits import BEGUN_ROWS
from durable.store.operations.large_values import LargeValues
from durable.store.operations.leases import EngineLeases
from durable.store.operations.liveness import EngineLiveness
from durable.store.operations.lock_keys import WHOLE, lock_number, promise_key, session_key
from durable.store.operations.row_records import PROMISE, Row
from durable.store.operations.transaction import (
    CHECKPOINT,
    END_TASK,
    INSERT_PROMISE,
    LINE_UP,
    NOTE_PROGRESS,
    SETTLE_PROMISE,
    Deadline,
    EngineServes,
    MessageEnd,
    Tx,
)
from durable.store.postgres.dialect import given, kept, kept_list, translated
from durable.store.postgres.read_ahead import ListedAsked, ReadAhead
from durable.store.postgres.writer_connection import WriterConnection

_ROWS_FIRST, _ROWS_MAX = 100, 1_600
"""What a cursor fetches at a time."""
_OPEN_EACH = b"DECLARE each_row NO SCROLL CURSOR FOR "
_PROMISES = f"SELECT {PROMISE}, external FROM promises WHERE id = ANY($1::text[])".encode()
_NUMBERED_CHECKPOINT = f"INSERT INTO checkpoints ({CHECKPOINT}, id) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
_HOLD = b"SELECT k FROM unnest($1::bigint[]) k WHERE pg_try_advisory_xact_lock(k)"
_CLAIM = (
    b"SELECT t.id FROM unnest($1::text[], $2::bigint[]) c(id, due) JOIN tasks t ON t.id=c.id AND t.due=c.due"
    b" WHERE t.state='pending' FOR UPDATE OF t SKIP LOCKED"
)
LOCKS_MAX = 500
"""Locks of one transaction: the server has room for some thousands. One that needs more has the whole store."""


class HeldElsewhere(Exception):
    """Another transaction holds a key that this one needs: it is rolled back, and tried again with the key from the
    beginning, when locks are taken in order. So nobody waits for a lock while holding another."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class PostgresTx(Tx):
    """Runs statements in the pipeline of the session."""

    __slots__ = ("_ahead", "_aside", "_begun", "_held", "_schema", "_session", "_whole")

    SKIP_LOCKED: ClassVar[str] = " FOR UPDATE SKIP LOCKED"

    def __init__(
        self,
        session: WriterConnection,
        schema: str,
        held: set[str],
        ahead: ReadAhead,
        now: int,
        ends: dict[str, MessageEnd],
        served: dict[str, EngineServes],
        liveness: EngineLiveness,
        leases: EngineLeases,
        values: LargeValues,
        *,
        whole: bool,
        debug: bool = False,
    ) -> None:
        super().__init__(now, ends, served, liveness, leases, values, debug=debug)
        self._session = session
        self._schema = schema
        self._held = held
        self._ahead = ahead
        self._aside: ReadAhead | None = None
        """What was read for the requests, while deadlines are seen to."""
        self._begun: ListedAsked | None = None
        self._whole = whole

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        self._ahead.change()
        self._session.send(sql, parameters)

    def execute_soon(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        if not self._ahead.keys:
            self.execute(sql, parameters)
            return
        self._session.send_soon(sql, parameters)
        if sql is not NOTE_PROGRESS:  # which a later request notes once more
            self._ahead.change_last()

    def execute_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._ahead.change()
        self._session.send_many(sql, list(rows))

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> Row | None:
        known = self._ahead.rows(sql, parameters)
        if known is not None:
            return known[0] if known else None
        if not sql.startswith("SELECT"):
            self._ahead.change()
        found = self._session.send(sql, parameters).fetchone()
        return None if found is None else given(found)

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        known = self._ahead.rows(sql, parameters)
        if known is not None:
            return known
        if not sql.startswith("SELECT"):
            self._ahead.change()
        return self._session.rows(sql, parameters)

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[Row]:
        # Not pages by LIMIT and OFFSET: each of those is a query of its own, and may have rows of the page before.
        # A cursor that is not read to its end is closed with the transaction, or here: whoever stopped reading may be
        # collected in another one.
        self._session.send_raw(b"CLOSE ALL", ())
        self._session.send_raw(_OPEN_EACH + translated(sql), kept(parameters))
        rows = _ROWS_FIRST
        while True:
            page = self._session.send_raw(b"FETCH %d FROM each_row" % rows, ()).fetchall()
            yield from map(given, page)
            if len(page) < rows:
                return
            rows = min(2 * rows, _ROWS_MAX)

    # -- what was read ahead --------------------------------------------------------------------------------------

    def work_on(self, request: object | None) -> None:
        if request is not None:
            self._ahead.work_on(request)
            return
        if self._aside is not None:
            self._aside.outdate(self._ahead)
            self._ahead, self._aside = self._aside, None
        self._ahead.rest()

    def task_row(self, task_id: str) -> Row | None:
        known, row = self._ahead.task(task_id)
        return row if known else super().task_row(task_id)

    def promise_row(self, promise_id: str) -> Row | None:
        known, row = self._ahead.promise(promise_id)
        return row if known else super().promise_row(promise_id)

    def line_row(self, task_id: str) -> Row | None:
        known, row = self._ahead.line(task_id)
        return row if known else super().line_row(task_id)

    def line_up(self, task_id: str, due: int | None, settled_awaited: int) -> None:
        if not self._ahead.keys:
            super().line_up(task_id, due, settled_awaited)
            return
        self._session.send_soon(LINE_UP, (due, settled_awaited, task_id))
        self._ahead.line_up(task_id, due)

    def due_rows(self, task_ids: list[str]) -> list[Row]:
        known = self._ahead.due_rows(task_ids, self.now)
        return super().due_rows(task_ids) if known is None else known

    def promise_rows(self, promise_ids: list[str]) -> dict[str, Row]:
        rows = {promise_id: self._ahead.unchanged(promise_id) for promise_id in promise_ids}
        found = {promise_id: row for promise_id, row in rows.items() if row is not None}
        unread = kept_list(promise_id for promise_id in promise_ids if promise_id not in found)
        if unread:
            read = map(given, self._session.send_raw(_PROMISES, (unread,)).fetchall())
            found |= {row[0]: row for row in read}
        return found

    def insert_promise(self, row: Row) -> bool:
        if not self._ahead.insert(row):
            return super().insert_promise(row)
        self._session.send_soon(INSERT_PROMISE, row)
        return True

    def settle_promise(self, promise_id: str, settled: Row) -> Row | None:
        known, row = self._ahead.pending(promise_id)
        if not known:
            return super().settle_promise(promise_id, settled)
        if row is None:
            return None
        state, headers, data, at, outcome = settled
        found = (row[0], state, *row[2:4], headers, data, *row[6:9], at, row[10])
        made = self._ahead.settle(found)
        if made is not None and outcome is None and self._session.amend_soon(INSERT_PROMISE, (*found, *made)):
            return found
        if made is not None:
            self._session.flush()  # it is made before it is settled
        self._session.send_soon(SETTLE_PROMISE, (*settled, promise_id))
        return found

    def insert_checkpoint(self, row: Row) -> int:
        number = self._ahead.checkpoint_number()
        if number is None:
            return super().insert_checkpoint(row)
        self.execute(_NUMBERED_CHECKPOINT, (*row, number))
        return number

    def end_task(self, task_id: str, ended: str) -> Row | None:
        known, facts = self._ahead.facts(task_id)
        if not known:
            return super().end_task(task_id, ended)
        if facts is not None:
            self._session.send_soon(END_TASK, (ended, task_id))
            self._ahead.end(task_id)
        return facts

    def take_awaiters(self, awaited: str) -> list[str]:
        known = self._ahead.awaiters(awaited)
        if known is None:
            return super().take_awaiters(awaited)
        if known:
            self._session.send_soon("DELETE FROM callbacks WHERE awaited=?", (awaited,))
        return known

    def take_listeners(self, awaited: str) -> list[str]:
        known = self._ahead.listeners(awaited)
        if known is None:
            return super().take_listeners(awaited)
        if known:
            self._session.send_soon("DELETE FROM listeners WHERE awaited=?", (awaited,))
        return known

    def open_under(self, execution: str) -> list[str]:
        known = self._ahead.open_under(execution)
        return super().open_under(execution) if known is None else known

    def calls(self, execution: str, after: str, limit: int) -> tuple[list[Row], Row | None]:
        known = None if after else self._ahead.calls(execution)
        if known is None:
            return super().calls(execution, after, limit)
        return known[0][:limit], known[1]

    def read_begun(self) -> None:
        again = [begun.task_id for begun in self.effects.begun if may_be_recorded(begun.version, begun.promise["tags"])]
        if again:
            self._session.plan_once(once=True)
            self._begun = ListedAsked(self._session, again)  # answered with the commit

    def take_begun(self) -> None:
        """After the commit: what was read with it."""
        if self._begun is None:
            return
        listed, noted = self._begun.take()
        for begun in self.effects.begun:
            if begun.task_id in listed:
                begun.record = self.begun_record(listed[begun.task_id][:BEGUN_ROWS], noted[begun.task_id])

    def branch_rows(self, branch: str, but: str) -> list[Row]:
        return [] if self._ahead.alone(branch) else super().branch_rows(branch, but)

    # -- locks ----------------------------------------------------------------------------------------------------

    def lock(self, key: str) -> None:
        if not self._lock_if_free(key):
            raise HeldElsewhere(key)

    def lock_promise(self, promise_id: str) -> None:
        self.lock(promise_key(promise_id))

    def lock_session(self, session: str) -> None:
        self.lock(session_key(session))

    def hold_if_free(self, deadlines: list[Deadline]) -> set[str]:
        keys = {deadline.id: promise_key(deadline.id) for deadline in deadlines}
        self._try_locks(set(keys.values()))
        held = [deadline for deadline in deadlines if self._whole or keys[deadline.id] in self._held]
        if self._aside is None:
            self._aside = self._ahead
        else:
            self._aside.outdate(self._ahead)
        self._ahead = ReadAhead()
        self._ahead.ask(self._session, held)
        self._ahead.take()
        return {deadline.id for deadline in held}

    def _try_locks(self, keys: set[str]) -> None:
        """Hold those of the keys that no other transaction holds just now."""
        needed = [] if self._whole else sorted(keys - self._held)
        if len(self._held) + len(needed) > LOCKS_MAX:
            raise HeldElsewhere(WHOLE)
        if needed:
            numbers = [lock_number(self._schema, key) for key in needed]
            free = {number for (number,) in self._session.send_raw(_HOLD, (numbers,)).fetchall()}
            self._held.update(key for key, number in zip(needed, numbers, strict=True) if number in free)

    def lock_promise_if_free(self, promise_id: str) -> bool:
        return self._lock_if_free(promise_key(promise_id))

    def _lock_if_free(self, key: str) -> bool:
        if key not in self._ahead.keys:
            self._ahead.touch(key)
        if self._whole or key in self._held:
            return True
        if len(self._held) >= LOCKS_MAX:
            raise HeldElsewhere(WHOLE)
        found = self.row("SELECT pg_try_advisory_xact_lock(?)", (lock_number(self._schema, key),))
        if found != (True,):
            return False
        self._held.add(key)
        return True

    def claim(self, tasks: list[tuple[str, int]]) -> set[str]:
        if not tasks:
            return set()
        ids, due = zip(*tasks, strict=True)
        claimed = self._session.send_raw(_CLAIM, (list(kept(ids)), list(due))).fetchall()
        return {given(row)[0] for row in claimed}
