"""The thread that writes. It takes whole requests, commits all that wait in one transaction, and only then answers.

Why one transaction for all: a commit costs a sync, a request a few dozen microseconds; under load the sync is shared.
Why a thread: databases block, and the loop must not. Nothing is acknowledged, pushed or told before its commit.
How a transaction begins and ends, and how others' commits are noticed, is each kind of store's own.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, ClassVar

import msgspec

from durable.core.clock import Clock
from durable.core.errors import StoreFull
from durable.core.limits import CLOCK_BACK_MS, HELD_ELSEWHERE_MS, LIVENESS_CHECK_S, NOTICE_POLL_S, ROOM_LOOK_S
from durable.store.operations import dispatch, policies, queue_admission
from durable.store.operations.children import cancel_orphans
from durable.store.operations.deadlines import DEADLINES_MAX, follow_clock, sweep
from durable.store.operations.due_times import next_deadline
from durable.store.operations.engines import bury
from durable.store.operations.halted_waits import concerned, halts_of
from durable.store.operations.large_values import LargeValues
from durable.store.operations.leases import EngineLeases
from durable.store.operations.liveness import EngineLiveness
from durable.store.operations.request_table import Operation
from durable.store.operations.row_records import CANCELLED, PROMISE, Queries, dump, promise_record
from durable.store.operations.searches import Unfinished
from durable.store.operations.transaction import Effects, EngineServes, FenceMemory, MessageEnd, Tx
from durable.store.protocol.requests import Answer, Refused
from durable.store.protocol.waiting_requests import PATIENT

COMPANY_S = 0.001
"""The time that an unawaited request waits to be committed with another: a short step's creation for its result."""

CELL_END_S = 0.02
"""The same of a cell's last output and checkpoint, which its end follows: on a busy machine that takes some ms."""

_CELL_END = ("output.append", "checkpoint.publish")

_LOOK_S = 0.001
_LOOK_REST = 4
"""A look that took longer than that many seconds is followed by a rest of so many times its length: it costs about a
microsecond for each promise that is waited for here, and another process may commit a thousand times a second."""


class Job(msgspec.Struct, eq=False):
    """One request on its way through the writer. `outcome` is set when its transaction has committed, or has failed."""

    operation: Operation
    request: Any
    internal: bool
    kind: str
    awaited: bool = True
    """Somebody waits for it now. What nobody waits for is committed with what comes soon (`company_s`)."""
    may_wait: bool = True
    """Whether it may wait for room on a full disk, if it is of a kind that does."""
    outcome: Answer | Unfinished | Refused | Exception | None = None
    failed_at: float = 0.0
    """The monotonic time, in s, at which an error became its outcome."""

    @property
    def waits(self) -> bool:
        """Whether it waits for room on a full disk."""
        return self.may_wait and self.kind in PATIENT

    @property
    def company_s(self) -> float:
        """The time in s for which it may wait for others to be committed with, where nobody waits for it."""
        return CELL_END_S if self.kind in _CELL_END else COMPANY_S

    def run(self, tx: Tx) -> None:
        """Do it inside the transaction. A refusal writes nothing, so it does not disturb the others of the batch."""
        before = tx.changes()
        if self.kind == "task.fulfill":
            tx.fences.task = None
        elif self.kind != "task.fence":
            tx.fences = FenceMemory()
        tx.work_on(self.request)
        try:
            self.outcome = self.operation(tx, self.request)
        except Refused as refused:
            self.outcome = refused
            if tx.changes() != before:
                raise RuntimeError(f"a refused request had written: {refused}") from refused


def _follow(tx: Tx) -> None:
    """Let follow what a request means for other executions: orphans end, queues that changed admit what waits."""
    if tx.effects.orphans or tx.effects.admissible:
        tx.fences = FenceMemory()
    if tx.effects.orphans:
        cancel_orphans(tx)
    if tx.effects.admissible:
        queue_admission.admit_changed(tx)


def _nothing(_tx: Tx, _request: Any) -> Answer:
    """The operation of work that is nobody's request and yet can fail as one."""
    return Answer(200, {})


type Deliver = Callable[[list[Job], Effects, bool], None]
"""Called on the writer's thread after a commit: its jobs, its effects, and whether the commit was another process's."""


class Writer(threading.Thread):
    """The writing connection's thread. `ends`, `awaited` and `told` are read here and replaced by the loop, whole."""

    SWEEP_MAX: ClassVar[int] = DEADLINES_MAX
    """The promises that time out in one transaction."""

    queries: Queries
    """Reads on the writing connection, outside of a transaction."""

    def __init__(
        self,
        *,
        clock: Clock,
        deliver: Deliver,
        liveness: EngineLiveness,
        leases: EngineLeases,
        values: LargeValues,
        awaited: Callable[[], list[str]],
        told: Callable[[], list[str]],
        debug: bool,
    ) -> None:
        super().__init__(name="durable-store", daemon=True)
        self.ends: dict[str, MessageEnd] = {}
        self._clock = clock
        self._deliver = deliver
        self._liveness = liveness
        self._leases = leases
        self._values = values
        self._awaited = awaited
        self._told = told
        self._debug = debug
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._served: dict[str, EngineServes] = {}
        self._now = 0
        self._set_back = True  # before this process began, for all it knows
        self._next_deadline = 0
        self._passed: tuple[int, int, str] | tuple[()] = ()
        """Where the sweep goes on that is done in several transactions."""
        self._next_liveness = 0.0
        self._stopping = False
        self._foreign = False
        self._next_look = 0.0
        self._waiting: list[Job] = []
        """What an engine records and there was no room for, in order (W6)."""
        self._next_try = 0.0
        self.patient = True
        """Whether it may wait. Set by the loop, which calls `wake` then."""

    # -- how each kind of store does it -------------------------------------------------------------------------

    def _begin(self, jobs: list[Job]) -> Tx:
        """Begin a transaction for these jobs, its time told (`_now`)."""
        raise NotImplementedError

    def _end(self, tx: Tx) -> None:
        """Commit it: durable when this returns."""
        raise NotImplementedError

    def _undo(self, tx: Tx) -> None:
        """Roll back what it wrote, where it was not ended by an error already."""
        raise NotImplementedError

    def _notice_others(self) -> None:
        """Set `_foreign`, and look at the deadlines again, when another process has committed since the last look."""
        raise NotImplementedError

    def _tell_others(self) -> bool:
        """Tell other processes to look. True when one of them turned out to be gone."""
        raise NotImplementedError

    def _idle(self) -> None:
        """Nothing was to be done just now."""

    def _worked(self, requests: int) -> None:
        """So many requests were committed."""

    def _without_room(self, error: Exception) -> StoreFull | None:  # noqa: ARG002 - some do
        """The same error as one that says that nothing more can be stored; None for any other."""
        return None

    def _refusal(self, error: Exception) -> Refused | None:
        """The refusal of a request that an error says is wrong itself; None for any other error."""
        if isinstance(error, UnicodeEncodeError):
            return Refused(400, f"text that cannot be written as UTF-8: {error}")
        return None

    def _sync_in(self) -> float:
        """Seconds until a commit that was not synced has to be."""
        return NOTICE_POLL_S

    def _sync(self) -> None:
        """Sync what has to be by now."""

    def _disconnect(self) -> None:
        """The thread ends."""
        raise NotImplementedError

    # -- what is the same for all -------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Enqueue; jobs are committed in the order of these calls."""
        self._queue.put(job)

    def wake(self) -> None:
        """Look at the file now: a peer said so."""
        self._queue.put(None)

    def stop(self) -> None:
        """Finish what is queued, then end."""
        self._stopping, self.patient = True, False
        self._queue.put(None)

    def run(self) -> None:
        try:
            while True:
                jobs = self._collect()
                self._turn(jobs)
                if self._stopping and self._queue.empty() and not self._waiting:
                    return
        finally:
            self._disconnect()

    def _collect(self) -> list[Job]:
        """Everything that waits, after waiting for the first of it, for the next deadline, or for the next look."""
        wait = max(0.0, min(NOTICE_POLL_S, (self._next_deadline - self._clock()) / 1000, self._sync_in()))
        jobs: list[Job] = []
        try:
            item = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
            self._drain(item, jobs)
            began = time.monotonic()
            while jobs and not self._stopping and not any(job.awaited for job in jobs):
                left = began + max(job.company_s for job in jobs) - time.monotonic()
                self._drain(self._queue.get(timeout=max(0.0, left)), jobs)
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
            if self._waiting:
                jobs = self._retry(jobs)
            clock = self._clock()
            if jobs or clock >= self._next_deadline or clock < self._now - CLOCK_BACK_MS:
                self._commit(jobs)  # which notices others itself
                self._worked(len(jobs))
            else:
                self._notice_others()
                self._idle()
            self._sync()
            if self._foreign and time.monotonic() >= self._next_look:
                self._look()
            if time.monotonic() >= self._next_liveness:
                self._find_dead()
        except Exception as error:
            # Outside any job: the file cannot be read or written right now, or is damaged. The jobs have their answers;
            # this thread must live on to give others theirs. Look again.
            self._tell_full(self._without_room(error))
            time.sleep(NOTICE_POLL_S)

    def _tell_full(self, error: StoreFull | None) -> None:
        """Tell those who must not wait for ever, where that is what was wrong."""
        if error is not None:
            failed = Job(_nothing, None, True, "", outcome=error, failed_at=time.monotonic())
            self._deliver([failed], Effects(), False)

    def _retry(self, jobs: list[Job]) -> list[Job]:
        """Try what waits for room, at times; the jobs that need not come after it."""
        self._waiting += [job for job in jobs if job.waits]
        if time.monotonic() >= self._next_try or not self.patient:
            waiting, self._waiting = self._waiting, []
            self._commit(waiting)
        return [job for job in jobs if not job.waits]

    def _commit(self, jobs: list[Job], also: Callable[[Tx], None] | None = None) -> None:
        """Commit jobs together, after all that is due (W5)."""
        self._passed = ()  # what others hold may be what these jobs are about: they waited for it
        while not self._commit_once(jobs, also):
            try:
                while not self._commit_once([], None):
                    pass
            except Exception as error:
                if not jobs:
                    raise
                for job in jobs:
                    self._failed(job, error)
                return

    def _commit_once(self, jobs: list[Job], also: Callable[[Tx], None] | None) -> bool:
        """Commit jobs together; if anything unexpected is raised, each by itself, so that only the culprit fails.

        False, and nothing of it is done, when more is due than one transaction settles: so much was settled instead.
        """
        try:
            tx = self._attempt(jobs, also)
        except Exception as error:
            if len(jobs) > 1:
                self._commit_each(jobs)
                return True
            if not jobs:
                raise
            self._failed(jobs[0], error)
            return True
        effects = tx.effects
        if effects.stopped:
            # After the commit: whoever begins to wait while this looks sees it there.
            try:
                self._look_for_halts(effects, concerned(self.queries, effects.stopped, set(self._told())))
            except Exception:  # it cannot be read just now; the answers of what is committed go out all the same
                self._foreign = True  # looked at again, as after another process's commit
        if (effects.peers or effects.changed()) and self._tell_others():
            self._next_liveness = 0.0
        if self._foreign:  # another process committed before this: what is answered here comes after what it changed
            effects.policies.add(policies.EVERYWHERE)
        done = jobs if tx.swept else []
        if done or effects.pushes or effects.begun or effects.changed() or effects.dead:
            self._deliver(done, effects, False)
        return tx.swept

    def _commit_each(self, jobs: list[Job]) -> None:
        """Commit each by itself. What an engine records comes in its order: nothing of it after one without room."""
        full: StoreFull | None = None
        for job in jobs:
            if self._waiting and job.waits:
                self._waiting.append(job)
            elif full is not None and job.kind in PATIENT:
                self._failed(job, full)
            else:
                self._commit([job])
            full = job.outcome if isinstance(job.outcome, StoreFull) else full

    def _failed(self, job: Job, error: Exception) -> None:
        """Answer with the error, or let it wait for room."""
        full = error if isinstance(error, StoreFull) else self._without_room(error)
        if full is not None and job.waits and self.patient:
            self._waiting.append(job)
            self._next_try = time.monotonic() + ROOM_LOOK_S
            self._tell_full(full)
            return
        job.outcome, job.failed_at = self._refusal(error) or full or error, time.monotonic()
        self._deliver([job], Effects(), False)

    def _attempt(self, jobs: list[Job], also: Callable[[Tx], None] | None) -> Tx:
        tx = self._begin(jobs)
        tx.attended = bool(jobs)
        try:
            self._notice_others()
            if self._set_back:
                follow_clock(tx)
            due = self._next_deadline <= tx.now
            if due:
                tx.passed = self._passed
                tx.swept = sweep(tx, DEADLINES_MAX if self._debug else self.SWEEP_MAX)
            if tx.swept:
                for job in jobs:
                    _follow(tx)  # of what came before, so that a request sees all that follows from the others
                    job.run(tx)
                if also is not None:
                    also(tx)
            _follow(tx)
            if due or tx.effects.rescan:
                dispatch.offer_all(tx)  # with them what this transaction made due
                queue_admission.admit_all(tx)
            elif tx.effects.ready:
                dispatch.offer(tx, tx.effects.ready)
            if tx.effects.unblocked:
                dispatch.tell_listeners(tx)
            upcoming = self._upcoming(tx, due=due)
            tx.read_begun()
            self._end(tx)
        except BaseException:
            self._undo(tx)
            for slots in tx.taken:
                slots.give()
            raise
        self._now = max(self._now, tx.now)
        self._set_back = False
        self._passed = () if tx.swept else tx.passed
        self._next_deadline = upcoming
        return tx

    def _upcoming(self, tx: Tx, *, due: bool) -> int:
        """When to look at what is due again: what others hold just now is looked at when the transaction asked for."""
        if not due:
            return min(self._next_deadline, tx.next_deadline)
        found, asked = next_deadline(tx, tx.now), tx.next_deadline
        if tx.swept and tx.now < asked and (found > asked or (found <= tx.now and asked <= tx.now + HELD_ELSEWHERE_MS)):
            return asked
        return found

    def _tell_time(self) -> None:
        """Set the time of the transaction that begins: the clock's, which it follows where that was set back."""
        clock = self._clock()
        if not self._debug and clock < self._now - CLOCK_BACK_MS:
            self._now, self._set_back, self._next_deadline = clock, True, 0
        self._now = max(self._now, clock)

    def _look(self) -> None:
        """After another process's commit: wake who waits for what it settled, take what it left for ours."""
        self._foreign = False
        began = time.thread_time()  # what others on the machine take is no reason to rest
        effects = Effects()
        awaited = self._awaited()
        if awaited:
            rows = self.queries.rows(
                f"SELECT {PROMISE} FROM promises WHERE id IN (SELECT value FROM json_each(?)) AND state<>'pending'",
                (dump(awaited),),
            )
            effects.settled = {row[0]: promise_record(self._values.whole_row(row)) for row in rows}
            self._look_for_halts(effects, self._told())
        if self._served:  # functions that run here, and that another process wished an end
            effects.cancelled.update(row[0] for row in self.queries.rows(CANCELLED, (dump(list(self._served)),)))
        took = time.thread_time() - began
        self._next_look = time.monotonic() + _LOOK_REST * took if took > _LOOK_S else 0.0
        self._deliver([], effects, True)
        clock = self._clock()
        free = dispatch.with_slots(self.ends)
        if dispatch.anything(self.queries, clock, self.ends) or (
            free and queue_admission.anything(self.queries, clock)
        ):
            self._commit([], self._take_in)

    def _look_for_halts(self, effects: Effects, awaited: Collection[str]) -> None:
        effects.halts = halts_of(self.queries, awaited)

    @staticmethod
    def _take_in(tx: Tx) -> None:
        tx.effects.rescan = True
        dispatch.collect_mail(tx)

    def _find_dead(self) -> None:
        """Try the locks of engines that are not ours; what a dead one held is released at once."""
        self._next_liveness = time.monotonic() + LIVENESS_CHECK_S
        names = [row[0] for row in self.queries.rows("SELECT engine FROM engines")]
        for name in names:
            if name not in self._served and not self._liveness.alive(name):
                self._commit([], lambda tx, name=name: bury(tx, name))  # type: ignore[misc]
