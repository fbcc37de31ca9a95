"""A session that this engine owns: its worker, the pass in it, going on after a crash (specs/session.md, O1-O13)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from bridge.confine.confinement import Confinement
from bridge.confine.host_limits import execute_within
from bridge.host.weak_callback import weakly
from bridge.protocol.messages import Call, CallResult, Checkpoint, Error, Execute, Message, Output, ValueText, Waiting
from bridge.protocol.output_rules import OutputRules
from durable.core import ids
from durable.core.background import beside, eager_task
from durable.core.errors import (
    CheckpointError,
    DurableError,
    EngineClosed,
    EngineFailed,
    NonDeterminism,
    NotEncodable,
    ProtocolError,
    ResourceExceeded,
    StoreFull,
    StoreRefused,
    WorkerDied,
)
from durable.core.events import BackgroundFailed, NotSaved, WorkFailed
from durable.core.limits import FAILURES_MAX, IDLE_S
from durable.functions.failures import cut, document
from durable.functions.replay.matching import Journal
from durable.functions.replay.recorded_promises import recorded
from durable.records.stored_output import CopyRow, StoredCopy
from durable.sessions.calls.call_results import ended, failed
from durable.sessions.calls.journaled_calls import Answers, JournaledCalls, answer_unrecorded
from durable.sessions.calls.session_policy import Permits
from durable.sessions.checkpoints.checkpoint_writer import Saved
from durable.sessions.checkpoints.recompute import Recomputation
from durable.sessions.checkpoints.states import NamespaceState
from durable.sessions.execution.cell import (
    CellDone,
    CellHalted,
    CellParam,
    CellWaits,
    Died,
    Failed,
    Pass,
    Transaction,
    Turn,
)
from durable.sessions.execution.idle_operations import Between
from durable.sessions.execution.interrupt import stop_abandoned, stop_code
from durable.sessions.execution.outcome import outcome_from, outcome_of, told_of, unsaved_before
from durable.sessions.execution.position import ExecutionPosition, position_at, request_from
from durable.sessions.execution.states import CellPassState
from durable.sessions.language import language_of, spoken
from durable.sessions.output.backpressure import Backpressure, Unstored
from durable.sessions.output.live_output import Recent
from durable.sessions.output.session_output import FAILURE, Earlier, SessionOutput
from durable.sessions.ownership.idle_timer import RUNS, Resting
from durable.sessions.ownership.session_confinement import exceeded_by, named
from durable.sessions.ownership.session_worker import SessionWorker
from durable.sessions.ownership.states import OwnerEvent, Ownership
from durable.sessions.services import House

CANCEL_WATCH_S = 0.2
"""A pass that runs longer than this also watches its own promise, to stop when somebody settles it."""

SENT_MAX = 3
"""Workers that unjournaled code is sent to, each of which ended before it had read it (O10)."""


_KEPT_FOR = {
    NamespaceState.SAVED: "",
    NamespaceState.UNSAVED: "unjournaled code ran in it since its last checkpoint",
    NamespaceState.UNSAVEABLE: "it holds what no checkpoint can",
}
"""Why a session's worker is not to be ended, where its code does not run."""


class LiveSession:
    """One owned session. `run` is called by the leaf of each of its executions, `execute` for unjournaled code."""

    def __init__(
        self,
        name: str,
        epoch: int,
        options: dict[str, Any],
        house: House,
        confinement: Confinement,
        rules: OutputRules,
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.current: Pass | None = None
        self._house = house
        self._confinement = confinement
        self._rules = rules
        self._permits = Permits(house, name, options)
        self.language = language_of(options)
        self._lineage = (name, *(options.get("forked_from") or ()))
        grants, profile = tuple(options.get("grants") or ()), confinement.profile
        self._saved = Saved(
            house.store, house.keeping, name, epoch, grants, profile, weakly(self._on_unsaved), house.observer
        )
        self.ownership = Ownership()
        self._worker = SessionWorker(
            name,
            epoch,
            house,
            self._confinement,
            self._rules,
            self._saved,
            self.ownership,
            on_call=weakly(self._on_call),
            on_checkpoint=weakly(self._on_checkpoint),
            on_output=weakly(self._on_output),
            on_waiting=weakly(self._on_waiting),
            functions=self._permits.functions,
            language=self.language,
        )
        self._busy = asyncio.Lock()
        self._driving: asyncio.Task[None] | None = None
        self.resting = Resting(house)
        self._begun: str | None = None
        self._calls: JournaledCalls | None = None
        self._reading = Backpressure()
        self._unstored = Unstored(self._reading)
        self._output = SessionOutput(house.store, name, epoch, rules.stored, weakly(self._posted))
        self._quick: Pass | None = None  # code that runs now without being an execution of its own
        self._quick_answers: Answers = partial(answer_unrecorded, self._permits)
        recomputation = Recomputation(self._permits, epoch, self._lineage, weakly(self._run_quick))
        self.between = Between(self._busy, self._worker, self._saved, house.keeping, recomputation)
        """The operations on it between executions."""

    async def current_epoch(self) -> bool:
        """Whether the store still has this session in the epoch that this engine took."""
        row = (await self._house.store.request("session.get", {"session": self.name})).data
        return bool(row["epoch"] == self.epoch)

    # -- the leaf -------------------------------------------------------------------------------------------------

    async def run(self, promise_id: str, cell: CellParam, *, first: bool, begun: Callable[[], None]) -> Turn:
        """Run a cell until its outcome or a wait. `first`: nothing of this execution can be recorded yet. `begun` is
        called when it has a worker, and the namespace is there."""
        while True:
            found = self.current
            if found is not None and found.promise_id == promise_id and found.lives:
                self.resting.cancel()
                if self._calls is not None:
                    await self._calls.deliver()
            else:
                if found is not None and found.open:
                    await self._settled_elsewhere(found)  # the store lets no cell past an unsettled one
                found = await self._begin(promise_id, cell, first=first, begun=begun)
            turn = await found.turn()
            if isinstance(turn, CellWaits):
                self._park(found)
            if turn is not None:
                return turn

    async def _begin(self, promise_id: str, cell: CellParam, *, first: bool, begun: Callable[[], None]) -> Pass:
        await self._busy.acquire()
        if not self.ownership.starts_workers:
            self._busy.release()
            raise EngineClosed(f"session {self.name!r} was closed")
        fresh = first and self._begun != promise_id
        self._begun = promise_id
        found = Pass(promise_id, cell, Journal(promise_id), StoredCopy(self._rules.stored), whole=fresh)
        self.current = found
        self._house.epochs[promise_id] = self.epoch
        self._calls = JournaledCalls(found, self.epoch, self._permits)
        self._house.begun.tell()
        self._driving = eager_task(self._drive(found, begun, fresh=fresh))
        return found

    async def _drive(self, found: Pass, begun: Callable[[], None], *, fresh: bool) -> None:
        try:
            await self._attempt(found, begun, fresh=fresh)
        except asyncio.CancelledError:
            found.let_go()
            raise
        except DurableError as error:
            await self._worker.end()
            found.finish(CellHalted(error))
        except Exception as error:
            await self._failed(found, error)
        finally:
            self._busy.release()
            if self.ownership.starts_workers:
                self._rest()

    async def _attempt(self, found: Pass, begun: Callable[[], None], *, fresh: bool) -> None:
        try:
            begin = await self._prepare(found, fresh=fresh)
            begun()
            if isinstance(begin, CellDone | Failed):
                found.finish(begin)
            elif found.runs:  # else it has ended while the worker was made ready
                outcome = await self._execute(found, begin)
                if found.worker_ends:
                    await self._worker.end()  # it was interrupted: the namespace is past the boundary
                elif outcome is not None:
                    found.finish(outcome)
        except WorkerDied as error:
            error.__traceback__ = None  # its frames hold what it was raised through: the future, and this
            self._worker.lost()
            self._store_output(found, found.copy.seal())
            found.finish(Died(error))
        except ProtocolError as error:
            self._worker.lost()
            self._store_output(found, found.copy.seal())
            found.finish(Failed(document(error, found.execution_id)))  # its code's doing, and the same every time
        except NotEncodable as error:
            found.finish(Failed(document(error, found.execution_id)))  # the cell itself cannot be sent to a worker

    async def _prepare(self, found: Pass, *, fresh: bool) -> ExecutionPosition | CellDone | Failed:
        """A worker with the right namespace, and where to begin in the cell (O5)."""
        latest = await self._saved.latest()
        if latest is not None or not fresh:
            await self._output.load()
        found.begin_after(self._output.begin(found.execution_id, again=not fresh))
        mine = latest is not None and latest.execution == found.execution_id
        if latest is not None and mine and latest.outcome is not None:
            return named(outcome_of(latest.outcome, found.execution_id), self._confinement.limits)
        before = self._worker.current
        if await self._worker.ready() is not before:
            found.failures += await unsaved_before(self._house.store.reads, self.name, found.execution_id)
            found.failures += self._worker.lost_state
        begin = latest if latest is not None and mine else ExecutionPosition()
        found.begun_at = begin.reached
        if not fresh:
            found.whole = False
            at = begin.output_offset
            cut = await self._house.store.request("output.truncate", {"execution": found.execution_id, "offset": at})
            found.copy, found.recent = StoredCopy(self._rules.stored, at, cut.data["kept"]), Recent(at)
            found.journal = Journal(found.promise_id)
            for promise in await recorded(self._house.store, found.promise_id):
                found.journal.load(promise["id"], promise.get("tags") or {})
            for capability, count in begin.counters.items():
                found.journal.calls(capability).skip(count)
        return begin

    async def _execute(self, found: Pass, begin: ExecutionPosition) -> CellDone | Failed | None:
        worker = await self._worker.ready()
        code, filename = spoken(found.cell, self.language, found.execution_id)
        capabilities = await self._permits.new_functions(found.journal.called())
        saved_before = self._house.capabilities.saved_before()
        found.traceparent = self._house.observer.traceparent()
        request = request_from(found, begin, code, filename, capabilities, saved_before)
        if not found.runs:
            return None  # it has ended meanwhile, and nothing would stop its code
        watch = asyncio.get_running_loop().call_later(CANCEL_WATCH_S, self._watch_settled, found)
        worker.add_interceptor(self._see)
        try:
            reply = await execute_within(worker, request, self._confinement.limits, lambda: found.waits)
            await self._saved.posted()
        finally:
            watch.cancel()
            worker.remove_interceptor(self._see)
        if isinstance(reply, ResourceExceeded) and reply.resource == "memory":
            await self._worker.end()  # what is left of one that ran out of memory cannot be relied on
        if found.worker_ends:
            return None
        if found.state is CellPassState.STOPPED and isinstance(reply, Error):
            found.end = reply
        return outcome_from(reply, found.execution_id, await told_of(found, self._house.store.reads))

    # -- interrupting ---------------------------------------------------------------------------------------------

    async def interrupt(self, promise_id: str) -> None:
        """The cell's task was halted: stop its code, if it runs. What it does from now on counts no more."""
        found, worker, driving = self.current, self._worker.current, self._driving
        if found is None or found.promise_id != promise_id or not found.runs:
            return
        found.interrupt()
        self._saved.give_up()
        if worker is not None and driving is not None:
            await stop_code(worker, driving)

    @property
    def running(self) -> Pass | None:
        """The pass whose code runs, or is about to."""
        return self.current if self.current is not None and self.current.runs else None

    def _watch_settled(self, found: Pass) -> None:
        async def watch() -> None:
            with self._failing(found):
                await self._house.store.settled(found.promise_id)
            if found.open:
                await self._settled_elsewhere(found)

        task = beside(watch())
        if self._driving is not None:
            self._driving.add_done_callback(lambda _: task.cancel())

    async def stopped(self, found: Pass) -> None:
        """Return when code that was stopped has come to its end."""
        if found is self.current and self._driving is not None:
            await asyncio.wait([self._driving])

    async def _settled_elsewhere(self, found: Pass) -> None:
        """Stop the code of a pass that was cancelled or timed out; the session goes on in the same worker.

        What the code left, and its `finally` did, is saved as at the end of any cell. What does not stop is killed.
        """
        worker, driving = self._worker.current, self._driving
        found.stop()
        self._saved.give_up()
        if worker is None or driving is None or driving.done():
            await self._let_go(found)
            return
        await stop_code(worker, driving)

    # -- what the worker says -------------------------------------------------------------------------------------

    async def _on_call(self, call: Call) -> CallResult:
        with self._failing(self._quick or self.current):
            return await self._answered(call)

    async def _answered(self, call: Call) -> CallResult:
        calls, quick = self._calls, self._quick
        limited = await self._permits.delay(call, self._worker.current, self._reading)
        if limited is not None:
            return failed(call.call, "denied", "PermissionError", limited.reason)
        if quick is not None and call.execution_id == quick.execution_id:
            return await self._quick_answers(call)
        if quick is not None or calls is None or not calls.found.open:
            return ended(call)  # stopped or ended code, or none: nobody could record the call
        try:
            return await calls.answer(call)
        except (NonDeterminism, StoreRefused) as error:
            if isinstance(error, StoreRefused) and isinstance(calls.found.outcome, CellDone | Failed):
                return ended(call)  # of a thread: the cell ended meanwhile, and its record with it
            await self._stop(calls.found, error)
            raise

    def _on_waiting(self, message: Waiting) -> None:
        found = self.current
        if found is not None and found.execution_id == message.execution_id and self._calls is not None:
            with self._failing(found):
                self._calls.waiting(message.calls)

    def _on_output(self, message: Output) -> None:
        found = self._quick or self.current
        running = found if found is not None and message.execution_id == found.execution_id else None
        if message.stream == FAILURE:
            self._house.observer(WorkFailed(self.name, message.execution_id, message.data))
            if running is not None:
                running.failures += [message.data] if len(running.failures) < FAILURES_MAX else []
                return
        elif running is not None:
            self._print(running, message)
            return
        self._output.add(message.stream, message.data, message.dropped)  # that of threads and tasks, between two cells
        if not self._output.loaded:
            beside(self._output.load())

    def _print(self, found: Pass, message: Output) -> None:
        with self._failing(found):
            self._store_output(found, found.copy.add(message.stream, message.data, message.dropped))
            found.recent.add(message.stream, message.data, message.dropped)

    def _see(self, message: Message) -> None:
        """An interceptor: a checkpoint counts the output until here, and a value is shown while it is made."""
        found = self.current
        if isinstance(message, ValueText) and found is not None and message.execution_id == found.execution_id:
            found.recent.end(cut(message.repr))
        elif isinstance(message, Checkpoint) and found is not None and self._quick is None:
            with self._failing(found):
                self._store_output(found, found.copy.seal(), last=message.final)

    def _store_output(self, found: Pass, rows: list[CopyRow], *, last: bool = False) -> None:
        """last: it is committed with the checkpoint that follows, and with the cell's end."""
        found.keep(rows)
        if rows and found is not self._quick:
            fields = {"execution": found.execution_id, "session": self.name, "epoch": self.epoch, "chunks": rows}
            stored = self._house.store.post("output.append", fields, awaited=not last)
            self._posted(sum(len(row.text) for row in rows), stored)

    def _posted(self, chars: int, stored: asyncio.Future[Any]) -> None:
        self._unstored.add(chars, stored, self._worker.current)

    async def _on_checkpoint(self, message: Checkpoint) -> None:
        found = self.current
        if found is None or message.execution_id != found.execution_id:
            return
        if not found.takes_checkpoint(final=message.final):
            return
        with self._failing(found):  # the code may be waiting for an answer that will not come
            await self._take(found, message)

    async def _take(self, found: Pass, message: Checkpoint) -> None:
        try:
            if message.problem:
                await self._not_captured(found, message)
                return
            told = await told_of(found, self._house.store.reads) if message.final else {}
            position = position_at(found, message, told)
            waits = found.cell.checkpoint == "statement"
            forward = position.reached > found.begun_at
            await self._saved.publish(
                message.data, position, wait=waits, label=message.label, by_code=True, progress=forward
            )
            self.between.saved()
        except ProtocolError as error:
            found.finish(Failed(document(error, found.execution_id)))
            await self._worker.end()
        except StoreFull as error:  # and somebody gave up to wait for room
            if self._worker.current is not None:
                self._worker.current.not_kept(message, error)
            self._not_saved(found, message, str(error))
        except (StoreRefused, CheckpointError) as error:
            await self._stop(found, error)
        except OSError as error:
            await self._stop(found, CheckpointError(f"a checkpoint of {self.name!r} could not be stored: {error}"))

    async def _not_captured(self, found: Pass, message: Checkpoint) -> None:
        """No room to capture within the session's limits is its end as a resource. Anything else is told, and the cell
        settles: after a crash the session goes on from the last checkpoint (O14).
        """
        exceeded = exceeded_by(message.problem, self._confinement.limits, found.execution_id)
        if exceeded is None:
            self._not_saved(found, message, message.problem)
            return
        if message.final or found.cell.checkpoint == "statement":  # else a later one will do
            found.finish(Failed(document(exceeded, found.execution_id)))
            await self._worker.end()

    def _not_saved(self, found: Pass, message: Checkpoint, problem: str) -> None:
        """Remember of a cell's last capture that there is none; any other is followed by a later one."""
        if message.final:
            found.not_saved = problem
            self.between.ran()
            self._house.observer(NotSaved(self.name, found.execution_id, problem))

    def _on_unsaved(self, error: Exception) -> None:
        """A checkpoint could not be stored: what runs on would build on it, so the pass stops."""
        if isinstance(error, StoreRefused):
            self.ownership.go(OwnerEvent.LOSE)
        if self.current is not None and self.current.open:
            found = self.current
            beside(self._stop(found, error) if isinstance(error, DurableError) else self._failed(found, error))

    # -- ending ---------------------------------------------------------------------------------------------------

    async def _stop(self, found: Pass, error: DurableError) -> None:
        """Nothing may be settled any more: the pass ends, its task is halted with the error as a note."""
        found.finish(CellHalted(error))
        await self._worker.end()

    @contextmanager
    def _failing(self, found: Pass | None) -> Iterator[None]:
        """End the attempt on an error of the engine's own. Whoever called has an error of unjournaled code."""
        try:
            yield
        except DurableError:
            raise
        except Exception as error:
            if found is not None and found is not self._quick:
                beside(self._failed(found, error))
            raise

    async def _failed(self, found: Pass, error: Exception) -> None:
        """An error of the engine's own: the attempt is over, and counts (O13)."""
        self._house.observer(BackgroundFailed(f"session {self.name}", repr(error)))
        found.finish(Died(EngineFailed(f"run {found.execution_id}", error)))
        await self._worker.end()

    async def _let_go(self, found: Pass) -> None:
        found.let_go()
        await self._worker.end()
        if self._driving is not None:
            await asyncio.wait([self._driving])

    def kill_worker(self) -> None:
        """End the worker as a crash would; the pass in it, if any, goes on in the next one."""
        self._worker.kill()

    def _park(self, found: Pass) -> None:
        """Keep the worker for a while: the answer may come soon."""
        found.park()

        def over() -> Awaitable[None] | None:
            return self._part(found) if self._parked is found and not self.keeps() else None

        self.resting.after(self._house.parked_s, over)

    @property
    def _parked(self) -> Pass | None:
        """The pass whose code waits, and whose leaf has gone."""
        found = self.current
        return found if found is not None and found.parked else None

    def keeps(self) -> str:
        """Why its worker is not to be ended now; empty when it may be. What a restore does not bring back stays."""
        if self._worker.current is None or (self._busy.locked() and self._parked is None):
            return RUNS
        return "a notebook is open on it" if self.between.attached else _KEPT_FOR[self.between.state]

    async def give(self) -> str:
        """End its worker and be forgotten: what comes takes the session up anew. Why it is kept, where it is."""
        kept, parked, pulse = self.keeps(), self._parked, self._worker.pulse
        if kept or pulse is None:
            return kept
        if parked is not None:
            await self._part(parked)
            return ""
        async with self._busy:  # what comes meanwhile waits for its turn
            alive = await pulse.background()
            if alive is None:
                return "it does not answer"
            if alive:
                return f"background work is alive in it ({alive})"
            await self._worker.end()
        if self._worker.current is None:
            self._forgotten()
        return ""

    async def _part(self, found: Pass) -> None:
        """End the worker of code that waits, and be forgotten: the answer takes the session up anew."""
        await self._let_go(found)
        if self.current is found:
            self._forgotten()

    def _forgotten(self) -> None:
        """Forget the session: its worker is gone, and all that it is stands in the store. Not where somebody has its
        turn, or capabilities keep something for it."""
        if not self._busy.locked() and not self._permits.state:
            before = self.ownership.state
            self.ownership.go(OwnerEvent.FORGET)  # whoever waits for a turn, or comes now, takes it up anew
            if self.ownership.state is not before:
                self._house.forget(self.name)

    def _rest(self) -> None:
        """End the worker after a while without work. Not after unjournaled code: what that did is nowhere else."""
        self.resting.after(IDLE_S, self._give_at_rest)

    async def _give_at_rest(self) -> None:
        if await self.give():
            self._rest()

    async def close(self) -> None:
        """End the worker as a crash would: what it has checkpointed and recorded is what there is."""
        self.ownership.go(OwnerEvent.CLOSE)
        self.resting.cancel()
        if self.current is not None:
            self.current.close()
        self._saved.give_up()
        await self._worker.end()
        if self._driving is not None:
            await asyncio.wait([self._driving])
            await self._worker.end()  # one that was being started meanwhile
        await self._permits.close()

    @property
    def busy(self) -> bool:
        """Whether code runs or waits in its worker, or that is used otherwise."""
        return self._busy.locked()

    # -- unjournaled code -----------------------------------------------------------------------------------------

    def unrecorded(
        self, code: str, inputs: dict[str, Any], transaction: Transaction = "commit_always", execution: str = "quick"
    ) -> Pass:
        """A pass for `execute`; what its code prints is in it, however that ends. execution: the audit's name of it."""
        stored = self._rules.stored
        cell = CellParam(code=code, session=self.name, inputs=inputs, transaction=transaction)
        promise_id = ids.execution_promise(execution)
        return Pass(promise_id, cell, Journal(promise_id), StoredCopy(stored), kept_max=stored)

    async def execute(self, found: Pass) -> CellDone | Failed:
        """Run code without a promise: no checkpoint, calls are not recorded, not resumable. Waits for its turn."""
        async with self._busy:
            self.between.ran()
            return await self._run_quick(found, partial(answer_unrecorded, self._permits))

    async def _run_quick(
        self, found: Pass, answers: Answers, recompute: Sequence[str] = (), *, sent: int = 1
    ) -> CellDone | Failed:
        worker = await self._worker.ready()
        code, filename = spoken(found.cell, self.language, found.execution_id)
        request = Execute(
            id=found.execution_id,
            code=code,
            filename=filename,
            inputs=found.cell.inputs,
            checkpoint="none",
            capabilities=await self._permits.new_functions(found.journal.called()),
            transaction=found.cell.transaction,
            recompute=list(recompute),
            traceparent=self._house.observer.traceparent(),
            history=found.history,
        )
        self._quick, self._quick_answers = found, answers
        found.begin_after(Earlier() if recompute else self._output.begin(found.execution_id))
        try:
            reply = await execute_within(worker, request, self._confinement.limits, lambda: False)
            return outcome_from(reply, found.execution_id, await told_of(found, self._house.store.reads))
        except WorkerDied as error:
            self._worker.lost()
            if error.begun or recompute or sent == SENT_MAX:
                raise
        except ProtocolError:
            self._worker.lost()
            raise
        except asyncio.CancelledError:
            found.end = await stop_abandoned(worker, found.execution_id)  # or it would hold up whatever comes next
            raise
        finally:
            found.keep(found.copy.seal())
            self._quick = None
        return await self._run_quick(found, answers, sent=sent + 1)
