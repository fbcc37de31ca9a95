"""The one thread that writes. It takes whole requests, commits all that wait in one transaction, and only then answers.

Why one transaction for all: a commit costs a sync, a request a few dozen microseconds; under load the sync is shared.
Why a thread: SQLite blocks, and the loop must not. Nothing is acknowledged, pushed or told before its commit.
"""

from __future__ import annotations

import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from durable.core.clock import Clock
from durable.core.limits import BUSY_WAIT_S, CLOCK_BACK_MS, LIVENESS_CHECK_S, NOTICE_POLL_S
from durable.store.operations import dispatch
from durable.store.operations.deadlines import follow_clock, next_deadline, sweep
from durable.store.operations.engines import bury
from durable.store.operations.halted_waits import concerned, halts_of
from durable.store.operations.leases import EngineLeases
from durable.store.operations.request_table import Operation
from durable.store.protocol.requests import Answer, Refused
from durable.store.sqlite.engine_locks import Liveness
from durable.store.sqlite.file import is_full
from durable.store.sqlite.idle_memory import Rest
from durable.store.sqlite.peer_notify import Peers
from durable.store.sqlite.records import PROMISE, dump, promise_record
from durable.store.sqlite.searches import Unfinished
from durable.store.sqlite.transaction import Effects, EngineServes, MessageEnd, Tx
from durable.store.sqlite.wal_room import LogRoom

type Durability = Literal["power", "process"]

_RETRY_FIRST_S = 0.0002
_RETRY_MAX_S = 0.005
COMPANY_S = 0.001
"""The time that an unawaited request waits to be committed with another: a short step's creation for its result."""

_LOOK_S = 0.001
_LOOK_REST = 4
"""A look that took longer than that many seconds is followed by a rest of so many times its length: it costs about a
microsecond for each promise that is waited for here, and another process may commit a thousand times a second."""


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through the writer. `outcome` is set when its transaction has committed, or has failed."""

    operation: Operation
    request: Any
    internal: bool
    kind: str
    outcome: Answer | Unfinished | Refused | Exception | None = None
    awaited: bool = True
    """Somebody waits for it now. What nobody waits for is committed with what comes soon (COMPANY_S)."""

    def run(self, tx: Tx) -> None:
        """Do it inside the transaction. A refusal writes nothing, so it does not disturb the others of the batch."""
        before = tx.connection.total_changes
        try:
            self.outcome = self.operation(tx, self.request)
        except Refused as refused:
            self.outcome = refused
            if tx.connection.total_changes != before:
                raise RuntimeError(f"a refused request had written: {refused}") from refused


def _nothing(_tx: Tx, _request: Any) -> Answer:
    """The operation of work that is nobody's request and yet can fail as one."""
    return Answer(200, {})


type Deliver = Callable[[list[Job], Effects, bool], None]
"""Called on the writer's thread after a commit: its jobs, its effects, and whether the commit was another process's."""


class Writer(threading.Thread):
    """The writing connection's thread. `ends`, `awaited` and `told` are read here and replaced by the loop, whole."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        clock: Clock,
        durability: Durability,
        deliver: Deliver,
        liveness: Liveness,
        leases: EngineLeases,
        peers: Peers,
        room: LogRoom,
        rest: Rest,
        awaited: Callable[[], list[str]],
        told: Callable[[], list[str]],
        debug: bool,
    ) -> None:
        super().__init__(name="durable-store", daemon=True)
        self.ends: dict[str, MessageEnd] = {}
        self._connection = connection
        self._clock = clock
        self._durability = durability
        self._deliver = deliver
        self._liveness = liveness
        self._leases = leases
        self._peers = peers
        self._room = room
        self._rest = rest
        self._awaited = awaited
        self._told = told
        self._debug = debug
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._served: dict[str, EngineServes] = {}
        self._now = 0
        self._set_back = True  # before this process began, for all it knows
        self._next_deadline = 0
        self._seen = -1
        self._next_liveness = 0.0
        self._synchronous = ""
        self._stopping = False
        self._foreign = False
        self._next_look = 0.0

    def submit(self, job: Job) -> None:
        """Enqueue; jobs are committed in the order of these calls."""
        self._queue.put(job)

    def wake(self) -> None:
        """Look at the file now: a peer said so."""
        self._queue.put(None)

    def stop(self) -> None:
        """Finish what is queued, then end."""
        self._stopping = True
        self._queue.put(None)

    def run(self) -> None:
        try:
            while True:
                jobs = self._collect()
                self._turn(jobs)
                if self._stopping and self._queue.empty():
                    return
        finally:
            self._connection.close()

    def _collect(self) -> list[Job]:
        """Everything that waits, after waiting for the first of it, for the next deadline, or for the next look."""
        wait = max(0.0, min(NOTICE_POLL_S, (self._next_deadline - self._clock()) / 1000))
        jobs: list[Job] = []
        try:
            item = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
            self._drain(item, jobs)
            if jobs and not any(job.awaited for job in jobs):
                self._drain(self._queue.get(timeout=COMPANY_S), jobs)
        except queue.Empty:
            pass
        return jobs

    def _drain(self, item: Job | None, jobs: list[Job]) -> None:
        """Add it, and all that waits behind it."""
        with suppress(queue.Empty):
            while True:
                if item is not None:
                    jobs.append(item)
                item = self._queue.get_nowait()

    def _turn(self, jobs: list[Job]) -> None:
        try:
            clock = self._clock()
            if jobs or clock >= self._next_deadline or clock < self._now - CLOCK_BACK_MS:
                self._commit(jobs)  # which notices others itself
                self._rest.worked(len(jobs))
            else:
                self._notice_others()
                self._rest.look(self._connection)
            if self._foreign and time.monotonic() >= self._next_look:
                self._look()
            if time.monotonic() >= self._next_liveness:
                self._find_dead()
        except Exception as error:
            # Outside any job: the file cannot be read or written right now, or is damaged. The jobs have their answers;
            # this thread must live on to give others theirs. Look again.
            if is_full(error):
                self._deliver([Job(_nothing, None, True, "", error)], Effects(), False)
            time.sleep(NOTICE_POLL_S)

    def _commit(self, jobs: list[Job], also: Callable[[Tx], None] | None = None) -> None:
        """Commit jobs together; if anything unexpected is raised, each by itself, so that only the culprit fails."""
        try:
            tx = self._attempt(jobs, also)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._commit([job])
                return
            if not jobs:
                raise
            jobs[0].outcome = (
                Refused(400, f"text that cannot be written as UTF-8: {error}")
                if isinstance(error, UnicodeEncodeError)
                else error
            )
            self._deliver(jobs, Effects(), False)
            return
        effects = tx.effects
        if effects.stopped:
            # After the commit: whoever begins to wait while this looks sees it there.
            self._look_for_halts(effects, concerned(self._connection, effects.stopped, set(self._told())))
        if (effects.peers or effects.changed()) and self._peers.notify():
            self._next_liveness = 0.0
        if jobs or effects.pushes or effects.changed() or effects.dead:
            self._deliver(jobs, effects, False)

    def _attempt(self, jobs: list[Job], also: Callable[[Tx], None] | None) -> Tx:
        self._begin(sync=not all(job.internal for job in jobs))
        self._tell_time()
        tx = Tx(self._connection, self._now, self.ends, self._served, self._liveness, self._leases, debug=self._debug)
        try:
            self._notice_others()
            if self._set_back:
                follow_clock(tx)
            due = self._next_deadline <= tx.now
            if due:
                sweep(tx)
            for job in jobs:
                job.run(tx)
            if also is not None:
                also(tx)
            if due or tx.effects.rescan:
                dispatch.offer_all(tx)  # with them what this transaction made due
            else:
                dispatch.offer(tx, tx.effects.ready)
            dispatch.tell_listeners(tx)
            upcoming = next_deadline(self._connection, tx.now) if due else min(self._next_deadline, tx.next_deadline)
            self._retried(lambda: self._connection.execute("COMMIT"))
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for slots in tx.taken:
                slots.give()
            raise
        self._now = max(self._now, tx.now)
        self._set_back = False
        self._next_deadline = upcoming
        return tx

    def _tell_time(self) -> None:
        """Set the time of the transaction that begins: the clock's, which it follows where that was set back."""
        clock = self._clock()
        if not self._debug and clock < self._now - CLOCK_BACK_MS:
            self._now, self._set_back, self._next_deadline = clock, True, 0
        self._now = max(self._now, clock)

    def _begin(self, *, sync: bool) -> None:
        wanted = "FULL" if sync and self._durability == "power" else "NORMAL"
        if wanted != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous={wanted}")
            self._synchronous = wanted
        self._retried(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        if wanted == "FULL":
            self._room.make()

    def _retried(self, action: Callable[[], object]) -> None:
        """Try again, soon and jittered, while another process holds the write lock; SQLite's own handler stalls."""
        deadline = time.monotonic() + BUSY_WAIT_S
        delay = _RETRY_FIRST_S
        while True:
            try:
                action()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                delay = min(delay * 2, _RETRY_MAX_S)
            else:
                return

    def _notice_others(self) -> None:
        """See whether another connection committed since the last look; its deadlines are ours to keep too."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen:
            self._seen = version
            self._foreign = True
            self._next_deadline = min(self._next_deadline, next_deadline(self._connection, self._now))

    def _look(self) -> None:
        """After another process's commit: wake who waits for what it settled, take what it left for ours."""
        self._foreign = False
        began = time.thread_time()  # what others on the machine take is no reason to rest
        effects = Effects()
        awaited = self._awaited()
        if awaited:
            rows = self._connection.execute(
                f"SELECT {PROMISE} FROM promises WHERE id IN (SELECT value FROM json_each(?)) AND state<>'pending'",
                (dump(awaited),),
            ).fetchall()
            effects.settled = {row[0]: promise_record(row) for row in rows}
            self._look_for_halts(effects, self._told())
        took = time.thread_time() - began
        self._next_look = time.monotonic() + _LOOK_REST * took if took > _LOOK_S else 0.0
        self._deliver([], effects, True)
        if dispatch.anything(self._connection, self._clock(), self.ends):
            self._commit([], self._take_in)

    def _look_for_halts(self, effects: Effects, awaited: Collection[str]) -> None:
        effects.halts = halts_of(self._connection, awaited)

    @staticmethod
    def _take_in(tx: Tx) -> None:
        tx.effects.rescan = True
        dispatch.collect_mail(tx)

    def _find_dead(self) -> None:
        """Try the locks of engines that are not ours; what a dead one held is released at once."""
        self._next_liveness = time.monotonic() + LIVENESS_CHECK_S
        names = [row[0] for row in self._connection.execute("SELECT engine FROM engines").fetchall()]
        for name in names:
            if name not in self._served and not self._liveness.alive(name):
                self._commit([], lambda tx, name=name: bury(tx, name))  # type: ignore[misc]
