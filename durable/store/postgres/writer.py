"""The writing connection to a database: locks, the clock, what is tried again, a commit whose answer was lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import psycopg

from durable.core.clock import Clock
from durable.core.errors import StoreError, StoreFull, StoreUnreachable
from durable.core.limits import LIVENESS_CHECK_S
from durable.store.operations.due_times import OVERDUE, next_deadline
from durable.store.operations.engines import bury
from durable.store.operations.lock_keys import WHOLE, engine_key, keys_of, lock_number, store_lock
from durable.store.operations.row_records import Row
from durable.store.operations.sessions import submit_again
from durable.store.operations.transaction import Effects, Tx
from durable.store.postgres.address import Address
from durable.store.postgres.connection import explain, is_lost
from durable.store.postgres.holder import is_gone
from durable.store.postgres.liveness import NOW, DatabaseLiveness
from durable.store.postgres.read_ahead import ReadAhead
from durable.store.postgres.transaction import LOCKS_MAX, HeldElsewhere, PostgresTx
from durable.store.postgres.writer_connection import WriterConnection
from durable.store.protocol.requests import Answer, CellSubmit, Refused
from durable.store.writer import COMPANY_S, Job, Writer

POLL_S = 1.0
"""How often the database is looked at although nobody told that it changed."""
HELD_TRIES_MAX = 10
"""Keys that a transaction finds in others' hands, one after the other, before it waits for the whole store."""
RETRIES_MAX = 50
RETRY_FIRST_S = 0.001
RETRY_MAX_S = 0.1
RECONNECT_FIRST_S = 0.05
RECONNECT_MAX_S = 2.0

_OVERDUE = " UNION ALL ".join(OVERDUE)
_BEGUN = f"SELECT {NOW}, (SELECT min(min) FROM ({_OVERDUE}) upcoming)"
_LOCK = b"SELECT pg_advisory_xact_lock($1)"
_MARK = (
    b"INSERT INTO commits (holder, number, at) VALUES ($1, $2, $3) ON CONFLICT (holder) DO UPDATE SET number=$2, at=$3"
)
_MARKED = b"SELECT number FROM commits WHERE holder=$1"
_UNMARK = b"DELETE FROM commits WHERE holder=$1"
_SYNC_LATER = b"SELECT set_config('synchronous_commit', 'off', true)"
_ENGINES = (
    f"SELECT e.engine, coalesce(l.holder, ''), coalesce(l.until >= {NOW}, false)"
    " FROM engines e LEFT JOIN engine_leases l ON l.engine = e.engine"
)
_AGAIN = ("40001", "40P01", "55P03")
"""Serialisation failure, deadlock, a lock that was not to be had: the transaction is run again."""


class PostgresWriter(Writer):
    """The writing thread of an engine. Several write the database at a time, each under the keys of its requests."""

    SWEEP_MAX: ClassVar[int] = 200
    """Each is under a lock, and so may be what waits for it (LOCKS_MAX); others get what they need in between."""

    _liveness: DatabaseLiveness

    def __init__(
        self, address: Address, session: WriterConnection, *, name: str, clock: Clock | None, **options: Any
    ) -> None:
        super().__init__(clock=clock or self._server_time, **options)
        self.queries = session
        self._address = address
        self._session = session
        self._name = name
        self._set_clock = clock
        self._ahead_ms = 0.0
        self._needed: set[str] = set()
        self._last_count = 0
        self._number = 0
        """Of this transaction, among those of this opening of the store."""
        self._begins_cells: list[Job] = []
        """The requests of this transaction, where all of them are cells that are synced later."""
        self._unsynced: list[tuple[int, CellSubmit, str]] = []
        """Cells of transactions that no synced one has followed yet: the transaction's number, the request, the id."""
        self._acknowledged = 0
        """The number of the last transaction that the server said it has synced."""
        self._looked_at = 1
        """The connection, by number, on which it was seen what the server has of all these."""
        self._told_at = 0.0
        self._noticed = True
        self._set_back = False  # the server's clock is nobody's to set
        self.unreachable_since: float | None = None
        """The monotonic time since which no connection could be made; None while there is one."""
        self._spares_until_s = 0.0
        """After an outage everybody has a lease's time to be heard of again: theirs ran out with no fault of them."""
        self.trouble = ""
        """What was wrong when that was tried last; empty while there is one."""

    def others_committed(self) -> None:
        """Another engine said so: from the thread that listens."""
        self._noticed = True
        self.wake()

    def _server_time(self) -> int:
        return int(time.time() * 1000 + self._ahead_ms)

    def _collect(self) -> list[Job]:
        """Everything that waits. What comes soon is waited for where much came last time: those who were answered
        together ask again together."""
        jobs = super()._collect()
        if jobs and len(jobs) < self._last_count // 2:
            time.sleep(COMPANY_S)
            self._drain(None, jobs)
        self._last_count = len(jobs)
        return jobs

    # -- one transaction ----------------------------------------------------------------------------------------

    def _begin(self, jobs: list[Job]) -> Tx:
        self._connect()
        keys = {key for job in jobs for key in keys_of(job.request)} | self._needed
        whole = WHOLE in keys or len(keys) > LOCKS_MAX or any(job.kind.startswith("debug.") for job in jobs)
        schema = self._address.schema
        session = self._session
        numbers = None if whole else sorted({lock_number(schema, key) for key in keys})
        self._number += 1
        later = all(job.internal and job.kind == "cell.submit" for job in jobs)
        self._begins_cells = jobs if later else []
        session.begin(store_lock(schema), self._own_lock(), numbers)
        ahead = ReadAhead()
        begun = session.send(_BEGUN)
        if not whole:
            ahead.ask(session, (job.request for job in jobs))
            session.plan_once(once=False)
        now, overdue = begun.fetchall()[0]
        session.heard_at = time.monotonic()
        ahead.take()
        if self._set_clock is None:
            self._ahead_ms = now - time.time() * 1000
            self._now = now
        else:
            self._tell_time()
        if overdue is not None:
            self._next_deadline = min(self._next_deadline, overdue)
        return PostgresTx(
            session,
            schema,
            keys,
            ahead,
            self._now,
            self.ends,
            self._served,
            self._liveness,
            self._leases,
            self._values,
            whole=whole,
            debug=self._debug,
        )

    def _end(self, tx: Tx) -> None:
        assert isinstance(tx, PostgresTx)
        tells = tx.effects.peers or tx.effects.changed()
        writes = self._session.wrote
        later = bool(self._begins_cells) and not (tx.effects.settled or tx.effects.internal or tx.effects.dead)
        if writes:
            self._session.send_raw(_MARK, (self._name, self._number, tx.now))
        if later:
            self._session.send_raw(_SYNC_LATER, ())
        try:
            self._session.end(channel=self._address.channel if tells else None, payload=self._name)
        except psycopg.Error as error:
            if not writes and is_lost(error):
                self._session.note(error)  # what was read is read all the same
            elif not writes or not self._was_committed(error):
                raise
        else:
            tx.take_begun()
        if later:
            for job in self._begins_cells:
                if isinstance(job.outcome, Answer) and not job.outcome.data.get("existed"):
                    self._unsynced.append((self._number, job.request, job.outcome.data["id"]))
        elif writes:
            self._acknowledged = self._number
            self._unsynced.clear()

    def _look_back(self) -> None:
        """After a connection was lost: see what the server has of what this process wrote (D5, D6)."""
        number = self._number_kept() if self._acknowledged or self._unsynced else self._acknowledged
        if number is None:
            return  # it stays away, and this thread is to end
        if number < self._acknowledged:
            lost, self._acknowledged = self._acknowledged - number, number
            self._deliver([], Effects(regressed=lost), True)
        self._submit_lost(number)
        self._looked_at = self._session.connections

    def _submit_lost(self, number: int) -> None:
        """Record again the cells that a crash of the server took, which run here; it has the transactions up to a
        number."""
        again = [
            Job(partial(submit_again, promise_id=id), request, False, "cell.submit")
            for at, request, id in self._unsynced
            if at > number
        ]
        try:
            if again:
                self._deliver([], super()._attempt(again, None).effects, False)
        except (psycopg.Error, HeldElsewhere):
            raise  # it is tried again
        except BaseException:
            self._unsynced.clear()  # or every transaction would fail by it
            raise

    def _own_lock(self) -> int:
        """The lock of all transactions of this opening: whoever has it knows that the one before is over."""
        return lock_number(self._address.schema, f"\0holder {self._name}")

    def _undo(self, tx: Tx) -> None:  # noqa: ARG002 - the session has one transaction
        self._session.undo()

    def _attempt(self, jobs: list[Job], also: Callable[[Tx], None] | None) -> Tx:
        """Until it is committed: what others hold is waited for, a lost connection is made anew."""
        self._needed = set()
        delay, tries = RETRY_FIRST_S, 0
        while True:
            try:
                self._connect()
                if self._looked_at != self._session.connections:
                    self._look_back()
                return super()._attempt(jobs, also)
            except HeldElsewhere as held:
                tries += 1
                self._needed.add(held.key if tries < HELD_TRIES_MAX else WHOLE)
            except psycopg.Error as error:
                self._session.note(error)
                again = error.sqlstate in _AGAIN or is_lost(error) or self._session.unprepared(error)
                tries += 1
                if not again or tries > RETRIES_MAX or self._stopping:
                    if self._session.open:
                        self._session.undo()
                    raise
                time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                delay = min(delay * 2, RETRY_MAX_S)

    def _was_committed(self, error: BaseException) -> bool:
        """The fate of the transaction whose commit was sent before an error came instead of its answer: its mark."""
        self._session.note(error)
        if self._session.open:
            self._session.undo()

        return self._number_kept() == self._number

    def _number_kept(self) -> int | None:
        """The number of the last transaction of this opening that the server has; None where it stays away."""

        def marked() -> list[Row]:
            self._session.send_raw(_LOCK, (self._own_lock(),))  # the server may be at it still
            return self._session.send_raw(_MARKED, (self._name,)).fetchall()

        while True:
            self._connect()
            try:
                found = self._session.alone(marked)
            except StoreUnreachable:
                if self._stopping:
                    return None
                time.sleep(RETRY_MAX_S)
            else:
                return found[0][0] if found else 0

    def _unmark(self) -> list[Row]:
        self._session.send_raw(_UNMARK, (self._name,))
        return []

    def _connect(self) -> None:
        """Wait until there is a connection: work goes on when the server is back."""
        delay = RECONNECT_FIRST_S
        while not self._session.open:
            try:
                self._session.connect()
            except StoreError as error:
                if self._stopping:
                    raise
                self.trouble = str(error)
                if self.unreachable_since is None:
                    self.unreachable_since = time.monotonic()
                time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                delay = min(delay * 2, RECONNECT_MAX_S)
            else:
                self._noticed = True
                if self.unreachable_since is not None:
                    self._spares_until_s = time.monotonic() + self._liveness.lease_ms / 1000
        self.unreachable_since, self.trouble = None, ""

    # -- others -------------------------------------------------------------------------------------------------

    def _notice_others(self) -> None:
        if self._noticed or time.monotonic() - self._told_at >= POLL_S:
            self._noticed, self._told_at = False, time.monotonic()
            self._foreign = True

    def _look(self) -> None:
        self._connect()
        self._next_deadline = min(self._next_deadline, next_deadline(self._session, self._clock()))
        super()._look()

    def _find_dead(self) -> None:
        """Engines whose lease is over, or whose process was one of this machine and is gone: what they held is free."""
        self._next_liveness = time.monotonic() + LIVENESS_CHECK_S
        for engine, holder, lives in self._session.rows(_ENGINES):
            silent = not lives and time.monotonic() >= self._spares_until_s
            if engine not in self._served and (silent or is_gone(holder)):
                self._commit([], lambda tx, engine=engine, holder=holder: _bury(tx, engine, holder))  # type: ignore[misc]

    def _tell_others(self) -> bool:
        return False  # told with the commit

    def _without_room(self, error: Exception) -> StoreFull | None:
        full = explain(self._address, error) if isinstance(error, psycopg.errors.DiskFull) else None
        return full if isinstance(full, StoreFull) else None

    def _refusal(self, error: Exception) -> Refused | None:
        if isinstance(error, psycopg.errors.ProgramLimitExceeded):
            return Refused(400, "ids that are found by the same index are too long together: 2,700 bytes is the limit")
        return super()._refusal(error)

    def _disconnect(self) -> None:
        if self._session.open:
            with suppress(StoreError):
                self._session.alone(self._unmark)
        self._session.close()


def _bury(tx: Tx, engine: str, holder: str) -> None:
    tx.lock(engine_key(engine))
    tx.execute("DELETE FROM engine_leases WHERE engine=? AND holder=?", (engine, holder))
    bury(tx, engine, unheard=not is_gone(holder))
