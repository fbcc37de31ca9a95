"""The face of every store whose requests are run by this process: a file, or a database (specs/store.md).

Requests go to the writer's thread; answers, pushes, and whoever waits are told on the loop, once for each commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from durable.core.errors import DurableError, EngineClosed, StoreError, StoreFull, StoreRefused
from durable.core.ids import PREFIX
from durable.core.value_codec import ValueCodec
from durable.store.changes import StoreChange
from durable.store.operations import discarded_results
from durable.store.operations.dispatch import collect_mail
from durable.store.operations.event_notes import event_of
from durable.store.operations.halted_waits import Halt
from durable.store.operations.leases import EngineLeases, Held
from durable.store.operations.liveness import EngineLiveness
from durable.store.operations.request_table import KINDS
from durable.store.operations.searches import Unfinished
from durable.store.operations.transaction import Effects, MessageEnd, Tx
from durable.store.promise_standing import UNKNOWN, Standing
from durable.store.protocol.requests import Answer, Nothing, Record, Refused, explained
from durable.store.protocol.sealed_requests import sealed
from durable.store.rows import PromiseRow, promise_row
from durable.store.waiters import Follower, Waiters
from durable.store.writer import Job, Writer

FRESH_S = 0.05
"""The time after which a promise that was recorded just now is read, to see what others made of it at once."""

if TYPE_CHECKING:
    from durable.core.events import Observer
    from durable.store.reads import Reads
    from durable.store.sdk_connection import DirectConnection


class PointReads:
    """Single rows at this moment, where they can be read without asking the writer: here they cannot.

    A look only ever saves a request: where it cannot tell, the request is made.
    """

    def standing(self, promise_id: str) -> Standing:  # noqa: ARG002 - whoever can look does
        """How a promise stands at this moment."""
        return UNKNOWN

    def halt(self, promise_id: str) -> Halt | None:
        """The halt that holds up a promise, if one does. LookupError where it cannot be told."""
        raise LookupError(promise_id)

    def may_begin(self, task_id: str, version: int, child: str) -> bool:  # noqa: ARG002
        """Whether the fence would surely let the task's holder create `child` now, and there is none yet."""
        return False

    def actor(self, name: str) -> Record | None:  # noqa: ARG002
        """An actor's row, without how many messages wait. None where it cannot be told."""
        return None

    def close(self) -> None:
        """Nothing is held."""


class DirectStore:
    """An open store, bound to the running loop; closed by `close`. Each kind of store opens it its own way."""

    path: Path
    """Its file, or the place of this process's own files where the store is a database."""
    directory: Path
    key: bytes
    reads: Reads
    glance: PointReads
    chunks: Any = None
    """Where large chunks of checkpoints are kept; None where that is beside the file."""
    codec: ValueCodec | None = None
    """How values are written; as they are without one."""
    name: str
    """What messages call it: never more of a URL than may be shown."""
    _liveness: EngineLiveness
    _leases: EngineLeases
    _writer: Writer

    def __init__(self, *, observer: Observer) -> None:
        self._observe = observer
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Task[None] | None = None
        self._futures: dict[Job, asyncio.Future[Answer]] = {}
        self._waiters = Waiters()
        self._watchers: list[Callable[[StoreChange], None]] = []
        self._searches: set[asyncio.Task[None]] = set()

    # -- what each kind of store does its own way ----------------------------------------------------------------

    @property
    def file(self) -> Any:
        """The store's file, where it has one."""
        return None

    def _explained(self, error: Exception) -> StoreError | None:
        """An error of the database as ours; None for any other."""
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError

    def _gone(self) -> None:
        """The loop ended without closing the store: from the writer's thread."""
        raise NotImplementedError

    # -- what is the same for all -------------------------------------------------------------------------------

    @property
    def local(self) -> DirectStore:
        """The store itself: its requests are run by this process, so an engine can run on it."""
        return self

    async def request(self, kind: str, data: Mapping[str, object]) -> Answer:
        """Send a request, wait for its commit. Raises StoreRefused (status 400 or more), StoreError, EngineClosed."""
        return await self.post(kind, data)

    def post(self, kind: str, data: Mapping[str, object], *, awaited: bool = True) -> asyncio.Future[Answer]:
        """Enqueue a request now: requests commit in the order of these calls, those that wait together at once.

        Not `awaited`: it may wait a moment for others to be committed with.
        """
        known = KINDS.get(kind)
        try:
            if known is None:
                raise msgspec.ValidationError(f"unknown kind {kind!r}")
            request = msgspec.convert(data, known.request)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            future: asyncio.Future[Answer] = self._loop.create_future()
            future.set_exception(StoreRefused(kind, 400, explained(error)))
            return future
        return self.enqueue(kind, request, awaited=awaited)

    def enqueue(
        self,
        kind: str,
        request: msgspec.Struct,
        *,
        internal: bool = False,
        awaited: bool = True,
        waits: bool = True,
    ) -> asyncio.Future[Answer]:
        """`post` for a request in the kind's own struct already.

        internal: this one need not be synced (W4). waits: for room on a full disk, where it records what an engine of
        this process runs (W6). Not `awaited`: it may wait a moment for others to be committed with.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._closing is not None:
            future.set_exception(EngineClosed(f"store {self.name!r} is closed"))
            return future
        known = KINDS[kind]
        if self.codec is not None:
            request = sealed(request, self.codec)
        job = Job(known.operation, request, internal or known.internal(request), kind, awaited, waits)
        self._futures[job] = future
        self._writer.submit(job)
        return future

    def connect(self, engine_id: str, group: str) -> DirectConnection:
        """A connection for the SDK: its `Network` and its `Source` in one."""
        from durable.store.sdk_connection import DirectConnection  # the SDK, which nobody needs who only looks

        return DirectConnection(self, engine_id, group)

    def attach(self, end: MessageEnd) -> None:
        """Let messages flow to a connection."""
        self._writer.ends = {**self._writer.ends, end.engine: end}
        self.offer_again()

    def keep_leases(self, engine: str, held: Held) -> None:
        """Keep the leases of what an engine of this process runs, until it leaves (L1)."""
        self._leases.enter(engine, held)

    def tell_renewals(self, told: Callable[[float], None]) -> None:
        """Tell, now and at each renewal of the engine's own lease, until when its workers may live if it stands still.

        told: called from a thread with seconds of CLOCK_BOOTTIME. Never where engines live by locks of a file.
        """

    def discarded(self, task_id: str, step: str, reason: str) -> None:
        """Tell of a result that was thrown away, since the task was another's (L5)."""
        from durable.core.events import ResultDiscarded

        self._observe(ResultDiscarded(task_id.removeprefix("exec:"), step, reason))

    def offer_again(self) -> None:
        """Look at all that is due: somebody has room for it now."""
        self._submit(Job(_offer_again, Nothing(), True, ""))

    def detach(self, end: MessageEnd) -> None:
        """Let no more messages flow to a connection."""
        self._writer.ends = {name: each for name, each in self._writer.ends.items() if each is not end}

    def _submit(self, job: Job) -> None:
        """A request of the store's own, whose answer nobody waits for."""
        if self._closing is None:
            self._writer.submit(job)

    def sweep_run_files(self, *, dry_run: bool = False) -> int:
        """Delete the files, on this machine, of runs that are forgotten; how many runs' they were. Blocks."""
        raise NotImplementedError

    def require(self, feature: str) -> None:
        """Nothing is lacking."""

    def engine_alive(self, engine: str) -> bool:
        """Whether that engine's process lives and has not left."""
        return self._liveness.alive(engine)

    def holds(self, engine: str) -> bool:
        """Whether this process keeps that engine alive: its own, or one elsewhere that it serves."""
        return self._liveness.held_here(engine)

    async def settled(
        self, promise_id: str, *, halts: bool = False, patient: bool = True, fresh: bool = False
    ) -> PromiseRow:
        """Wait until it is settled by anyone in any process. StoreRefused 404 if there is none; EngineClosed.

        halts: Halted as soon as it, or what it waits for, is halted. Not `patient`: StoreError when nothing can be
        recorded for want of space (W6). fresh: it was recorded just now, and an engine begins with it: what it came to
        before anybody waited is looked at after FRESH_S only, by when most have ended.
        """
        if fresh:
            with self._waiters.entered(promise_id, halts=halts, patient=patient) as future, suppress(TimeoutError):
                async with asyncio.timeout(FRESH_S):
                    return await future
        # Entered before it is read: whatever settles or halts it after the read finds the waiter.
        with self._waiters.entered(promise_id, halts=halts, patient=patient) as future:
            standing = self.glance.standing(promise_id)
            if not standing.pending:
                standing = UNKNOWN
                record = (await self.request("promise.get", {"id": promise_id})).data["promise"]
                row = promise_row(_as_record(record))
                if row.state != "pending":
                    return row
            held = await self._halt_of(promise_id) if halts and standing.may_be_held else None
            if held is not None:
                raise held.error()
            return await future

    async def _halt_of(self, promise_id: str) -> Halt | None:
        """The halt that holds up a promise already."""
        try:
            return self.glance.halt(promise_id)
        except LookupError:
            found = await self.reads.halts(awaited=[promise_id])
            return found[0] if found else None

    def follow(self, promise_id: str, follower: Follower) -> None:
        """Call it back on the loop when the promise is settled from now on, until `unfollow`."""
        self._waiters.follow(promise_id, follower)

    def unfollow(self, promise_id: str, follower: Follower) -> None:
        """Call it back no more."""
        self._waiters.unfollow(promise_id, follower)

    def watch(self, callback: Callable[[StoreChange], None]) -> Callable[[], None]:
        """Call back on the loop after commits that changed something; the answer ends it."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback) if callback in self._watchers else None

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """In this block nothing waits for room on a full disk: it fails at once, as an engine's end does not wait."""
        self._writer.patient = False
        self._writer.wake()
        try:
            yield
        finally:
            self._writer.patient = self._closing is None

    async def close(self) -> None:
        """Commit what is queued, answer it, then fail later requests and waiters with EngineClosed. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    def _fail_waiters(self) -> None:
        """The store is closed: nobody will be told any more."""
        self._waiters.close(lambda: EngineClosed(f"store {self.name!r} is closed"))

    async def _end_searches(self) -> None:
        for task in self._searches:
            task.cancel()
        if self._searches:
            await asyncio.wait(self._searches)

    def _deliver(self, jobs: list[Job], effects: Effects, foreign: bool) -> None:
        """From the writer's thread to the loop: once for each commit."""
        try:
            self._loop.call_soon_threadsafe(self._committed, jobs, effects, foreign)
        except RuntimeError:
            # The loop ended without closing the store. What is committed stays; its engines are dead for others.
            self._writer.ends = {}
            self._gone()
            self._writer.stop()

    def _committed(self, jobs: list[Job], effects: Effects, foreign: bool) -> None:
        for job in jobs:
            future = self._futures.pop(job, None)
            if future is not None and not future.done():
                self._resolve(future, job)
            if type(job.outcome) is not Answer:
                self._look_at_failure(job)
        for promise_id, record in (*effects.settled.items(), *effects.internal.items()):
            if promise_id in self._waiters:
                self._waiters.settled(promise_row(record))
            follower = self._waiters.follower(promise_id)
            if follower is not None:
                self._contained("follow", follower.settled, record)
        if effects.halted or effects.halts:
            self._tell_halts(effects, foreign)
        for end, message in effects.pushes:
            self._contained("push", end.push, message)
        for begun in effects.begun:
            assert begun.end.begin is not None
            begin = partial(begun.end.begin, begun.task_id, begun.version, begun.promise)
            self._contained("begin", begin, begun.record)
        if effects.dead:
            self._tell_deaths(effects)
        if effects.notes:
            self._tell_notes(effects)
        if self._watchers and (foreign or effects.changed()):
            change = StoreChange(
                foreign,
                frozenset(effects.settled),
                frozenset(effects.output),
                frozenset(effects.stopped),
                frozenset(effects.halted.items()),
                frozenset(effects.cancelled),
                frozenset(effects.prompts),
                _expired(effects),
                frozenset(effects.sessions),
                frozenset(effects.policies),
                frozenset(effects.streams),
                effects.posts,
            )
            for watcher in list(self._watchers):
                self._contained("watch", watcher, change)

    def _tell_notes(self, effects: Effects) -> None:
        from durable.core.observers import watching

        if watching(self._observe):
            for note in effects.notes:
                self._observe(event_of(note))

    def _tell_deaths(self, effects: Effects) -> None:
        from durable.core.events import PeerDead

        for engine, tasks in effects.dead:
            self._observe(PeerDead(engine, tasks))

    def _look_at_failure(self, job: Job) -> None:
        """Tell whoever else a failed request concerns, not only the one who asked."""
        if isinstance(job.outcome, StoreFull):
            self.tell_of_trouble(job.outcome, job.failed_at)
        lost = discarded_results.discarded(job.request, job.outcome)
        if lost is not None:
            self._submit(Job(discarded_results.record, lost, True, "task.discard"))
            self.discarded(lost.id, lost.step, lost.reason)

    def _tell_halts(self, effects: Effects, foreign: bool) -> None:
        """Tell whoever waits here, and the observer: of halts here, and of those elsewhere that somebody waits for."""
        from durable.core.events import ExecutionHalted

        halted = dict(effects.halted)
        for promise_id, halt in effects.halts.items():
            if self._waiters.halted(promise_id, halt) and foreign:
                halted[halt.task] = halt.note
        for task, note in halted.items():
            self._observe(ExecutionHalted(task.removeprefix(PREFIX), note))

    def tell_of_trouble(self, error: StoreError, at: float) -> None:
        """Whoever must not wait for ever hears why nothing goes on; what could not be recorded is tried again.

        at: when that was seen, in monotonic seconds. Whoever began to wait later may have mended it before.
        """
        self._waiters.outage(lambda: type(error)(str(error)), at)

    def _resolve(self, future: asyncio.Future[Answer], job: Job) -> None:
        match job.outcome:
            case Answer() as answer:
                future.set_result(answer)
            case Unfinished() as search:
                task = asyncio.ensure_future(self._go_on(future, search))
                self._searches.add(task)
                task.add_done_callback(self._searches.discard)
            case Refused() as refused:
                future.set_exception(StoreRefused(job.kind, refused.status, refused.message))
            case Exception() as error:
                failure = self._explained(error)
                if failure is None:
                    failure = StoreError(f"{job.kind} failed inside the store: {error!r}")
                    failure.__cause__ = error
                future.set_exception(failure)
            case None:
                raise AssertionError(f"{job.kind} has an outcome when it is delivered")

    async def _go_on(self, future: asyncio.Future[Answer], search: Unfinished) -> None:
        try:
            answer = await self.reads.go_on(search)
        except DurableError as error:
            if not future.done():
                future.set_exception(error)
        except BaseException:
            if not future.done():
                future.set_exception(EngineClosed(f"store {self.name!r} is closed"))
            raise
        else:
            if not future.done():
                future.set_result(answer)

    def _contained[T](self, what: str, callback: Callable[[T], None], argument: T) -> None:
        try:
            callback(argument)
        except Exception as error:
            from durable.core.events import BackgroundFailed

            self._observe(BackgroundFailed(what, repr(error)))


def _expired(effects: Effects) -> frozenset[str]:
    """The questions among what was settled whose deadline had passed."""
    return frozenset(
        id
        for id, record in effects.settled.items()
        if record["state"] == "rejected_timedout" and (record.get("tags") or {}).get("durable:capability") == "input"
    )


def _offer_again(tx: Tx, _request: Nothing) -> Answer:
    """Offer again, since work and mail may have waited for this connection."""
    tx.effects.rescan = True
    collect_mail(tx)
    return Answer(200, {})


def _as_record(value: object) -> Record:
    assert isinstance(value, dict)
    return value
