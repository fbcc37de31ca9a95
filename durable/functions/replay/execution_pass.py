"""One pass of an execution: its function and the nested ones in it run until they end or can only wait.

Its states are in `states.py`; all but `running` are final (specs/execution.md, R1-R8).
"""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from resonate.types import PromiseRecord

from durable.core import observers
from durable.core.clock import now_ms
from durable.core.errors import DurableError, Halted
from durable.core.events import Event, Observer, StepBegun, StepRecorded, StepRetried
from durable.core.ids import PREFIX, TRACEPARENT
from durable.functions.pass_data import Activation
from durable.functions.replay.record import Recorded, read
from durable.functions.replay.recorded_promises import ExecutionRecord
from durable.functions.replay.recorder import Recorder
from durable.functions.replay.states import ExecutionPassEvent, ExecutionPassState, step_execution_pass
from durable.functions.resonate.sdk import PlatformError, Suspended
from durable.functions.resonate.stay_room import STAY_LOOK_S, StayRoom
from durable.functions.resonate.store_ports import HaltTask, internal, record_of
from durable.store.port import StoreFace
from durable.store.waiters import Follower

if TYPE_CHECKING:
    from durable.functions.replay.function_pass import FunctionPass, UnderWay

WATCH_AFTER_S = 0.005
"""Steps that take longer than this have what is waited for beside them watched; most are shorter."""

_PLACE = re.compile(r"(?P<owner>.+)(?P<kind>\.|:input:|:retry:)(?P<number>[0-9]+)", re.DOTALL)
"""Ids of what a function does: `exec:<id>.<k>`, `exec:<id>:input:<n>`, `exec:<id>.<k>:retry:<n>`."""


def place_of(promise_id: str, tags: dict[str, str]) -> str | None:
    """The promise of the function that began an operation, by the operation's; None for what no function began."""
    place = _PLACE.fullmatch(promise_id)
    if place is None or place["kind"] == ":retry:":
        return None
    if place["kind"] == ":input:":
        scope = tags.get("durable:scope")
        return None if scope is None else f"exec:{scope}"
    return place["owner"]


class ExecutionPass:
    """The state that all functions of one pass share: the record, the lease, and what is under way."""

    def __init__(
        self,
        promise_id: str,
        recorder: Recorder,
        store: StoreFace,
        closing: Callable[[], bool],
        observer: Observer,
        *,
        origin: str,
        target: str,
        begun: Callable[[], None],
        seed: str,
        checks: bool = False,
        room: StayRoom | None = None,
    ) -> None:
        self.promise_id = promise_id
        self.checks = checks
        """Whether it only looks whether the record is replayed: it ends where something would be new."""
        self.execution_id = promise_id.removeprefix("exec:")
        self.recorder = recorder
        self.closing = closing
        self._observer = observer
        self._watched_steps = observers.watching(observer)
        self.origin = origin
        self.target = target
        self.state = ExecutionPassState.RUNNING
        self.over = False
        """Whether it has left the first state: nothing more of it begins. Every callback of its functions asks."""
        self.cancelled_at: int | None = None
        """When the cancellation was asked for, as far as this pass knows: what came before is delivered before."""
        self.waits: list[str] = []
        """The promises that a suspended pass waits for."""
        self.passes: dict[FunctionPass, None] = {}
        """The functions that go on, the outermost first."""
        self.logged: dict[str, int] = {}
        """Lines that each function had logged when the execution was last suspended, by its promise."""
        self.begun = begun
        """To be called when a function makes an operation."""
        self.activation: Activation | None = None
        """What the function works on beside its record."""
        self.seed = seed
        """The same in every pass, and no other execution's."""
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._active = 0
        self._calls = 0
        self._records: dict[str, list[dict[str, Any]]] = {}
        self._retries: dict[str, PromiseRecord] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watched: set[str] = set()
        self._watching: asyncio.TimerHandle | None = None
        self._room = room
        """Where it may stay while it only waits for children; None where it never does."""
        self._children: dict[str, str] = {}
        """The promises of the child executions that its functions began or found, by link."""
        self._followed: dict[str, Follower] = {}
        self._staying: asyncio.TimerHandle | None = None
        """The next look whether it stays on."""
        self._heard_at = 0.0
        """When a child's end was heard of last, or it began to stay: the loop's time."""
        self._ran_at = 0.0
        """When a child was last seen to run here."""
        self._held_up = False
        """Whether a child is held up: it stays no more, so that whoever waits is told."""
        self.gone = False
        """Whether its promise was settled or halted while it only waited: nothing is to be recorded of its end."""
        self.outcome: asyncio.Future[Any] = self._loop.create_future()
        """The function's JSON result; or Rejection, Suspended, PlatformError."""

    @property
    def cancelling(self) -> bool:
        """Whether the execution is to end, whatever it comes to."""
        return self.cancelled_at is not None

    # -- the record -----------------------------------------------------------------------------------------------

    def load(self, record: ExecutionRecord) -> None:
        """Take over what earlier passes recorded."""
        if record.logged:
            self.logged = msgspec.json.decode(record.logged, type=dict[str, int])
        if record.cancelled is not None:
            self.cancelled_at = record.cancelled_at or 0
        for promise in record.promises:
            place = _PLACE.fullmatch(promise["id"])
            if place is None:
                continue  # a call of foreign code that a step ran, the answer of one of several persons
            owner, number = place["owner"], int(place["number"])
            if place["kind"] == ":retry:":
                known = self._retries.get(owner)
                if known is None or number > int(known.id.rpartition(":")[2]):
                    self._retries[owner] = record_of(promise)
                continue
            if place["kind"] == ":input:":
                if owner != self.promise_id:
                    continue  # a question of a cell that the function had run
                owner = f"exec:{(promise.get('tags') or {}).get('durable:scope', '')}"
                self._calls = max(self._calls, number)
            self._records.setdefault(owner, []).append(promise)

    @property
    def has_record(self) -> bool:
        """Whether an earlier pass recorded anything."""
        return bool(self._records or self._retries)

    def recorded(self, function: str) -> tuple[list[Recorded], dict[str, PromiseRecord]]:
        """The operations of a function by its promise, and their promises by id."""
        found, records = [], {}
        for promise in self._records.pop(function, ()):
            operation = read(promise["id"], promise.get("tags") or {}, settled=promise["state"] != "pending")
            if operation is not None:
                found.append(operation)
                records[promise["id"]] = record_of(promise)
        return found, records

    def last_retry(self, step: str) -> PromiseRecord | None:
        """The last recorded retry of a step."""
        return self._retries.get(step)

    def retried(self, step: str, retry: PromiseRecord) -> None:
        """Note that a step is to be tried again."""
        self._retries[step] = retry

    def tell(self, event: Event) -> None:
        """Tell the engine's observer, whose errors are no fault of the function."""
        try:
            self._observer(event)
        except Exception as error:
            message = f"the observer failed at {type(event).__name__}"
            self._loop.call_exception_handler({"message": message, "exception": error})

    def require(self, feature: str) -> None:
        """StoreLacks where the store has promises alone, and not this."""
        self._store.require(feature)

    def step_begun(self, step: str, name: str, attempt: int = 1, *, nested: bool = False) -> None:
        """Tell, in the step's own context, that it is run."""
        if self._watched_steps:
            self.tell(StepBegun(self.execution_id, step.removeprefix(PREFIX), name, attempt, nested))

    def step_recorded(self, step: str, name: str, state: str) -> None:
        """Tell that what it came to is recorded."""
        if self._watched_steps:
            self.tell(StepRecorded(self.execution_id, step.removeprefix(PREFIX), name, state == "resolved"))

    def step_retried(self, step: str, name: str, retry: int, delay: float) -> None:
        """Tell that it is to be tried again. delay: s."""
        if self._watched_steps:
            told = StepRetried(self.execution_id, step.removeprefix(PREFIX), name, retry, int(delay * 1000))
            self.tell(told)

    def traced(self) -> dict[str, str]:
        """The tag that carries the trace context of this code to what it has others do."""
        traceparent = observers.traceparent(self._observer)
        return {TRACEPARENT: traceparent} if traceparent else {}

    async def ask(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send the store a request beside the record, and return the data of its answer. StoreRefused."""
        return (await self._store.request(kind, data)).data

    def next_call(self, capability: str) -> str:
        """The id of a new call: numbered over all functions of the execution."""
        self._calls += 1
        return f"{self.promise_id}:{capability}:{self._calls}"

    # -- what is under way ----------------------------------------------------------------------------------------

    def spawn(
        self,
        work: Coroutine[Any, Any, Any],
        context: contextvars.Context | None = None,
        done: Callable[[asyncio.Task[Any]], None] | None = None,
        *,
        at_once: bool = False,
    ) -> asyncio.Task[Any]:
        """Run something of this pass on the engine's loop, and call `done` at its end: with the pass at the latest.

        at_once: it begins before this returns; only where the engine's loop is the running one.
        """
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self._loop, context=context, eager_start=at_once)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard if done is None else partial(self._done, done))
        return task

    def _done(self, done: Callable[[asyncio.Task[Any]], None], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        done(task)

    def began(self) -> None:
        """Note that something is under way that goes on without any promise of others."""
        self._active += 1

    def ended(self) -> None:
        self._active -= 1
        self.look()

    def look(self) -> None:
        """Suspend when nothing is under way and every function can only wait (R2)."""
        if self.over or self.checks:
            return
        if self._active:
            self._watch_soon()
        elif not any(each.waits for each in self.passes):  # one that waits for nothing has ended, as a deadlock
            self.fail(RuntimeError("a pass goes on, and nothing can bring it further"))
        elif not self._stays():
            self._suspend()

    def _suspend(self) -> None:
        waits = [promise_id for each in self.passes for promise_id in each.externals()]
        self.waits = list(dict.fromkeys(waits))
        self._end(ExecutionPassEvent.SUSPEND, Suspended())

    def _watch_soon(self) -> None:
        if self._watching is None and any(each.waits for each in self.passes):
            self._watching = self._loop.call_later(WATCH_AFTER_S, self._watch)

    def _watch(self) -> None:
        """While steps run here: learn what promises of others come to, and deliver it at once (R2)."""
        self._watching = None
        if self.over:
            return
        for each in self.passes:
            for promise_id in [*each.externals()]:
                if promise_id not in self._watched and promise_id not in self._followed:
                    self._watched.add(promise_id)
                    self.spawn(self._settled(each, promise_id))

    async def _settled(self, function_pass: FunctionPass, promise_id: str) -> None:
        child = self._children.get(promise_id)
        try:
            await self._store.settled(child or promise_id, halts=child is not None)
            promise = (await self._store.request("promise.get", {"id": promise_id})).data["promise"]
        except Halted:
            self.hold_up()
            return
        except DurableError:
            return  # the suspension asks again
        self._heard_at = self._loop.time()
        function_pass.arrived(promise_id, record_of(promise))

    # -- children that run here -----------------------------------------------------------------------------------

    def knows_child(self, link: str, child: str) -> None:
        """Note the child execution that a link stands for, by their promises."""
        self._children[link] = child

    def follow_child(self, function_pass: FunctionPass, link: UnderWay) -> None:
        """Have it delivered as soon as the link is settled: to be called before the link is made."""
        if self._store.local is None:
            return

        def settled(promise: dict[str, Any]) -> None:
            self._unfollow(link.promise_id)
            self._heard_at = self._loop.time()
            function_pass.heard(link, record_of(promise))

        self._follow(link.promise_id, Follower(settled, self._children[link.promise_id], self.hold_up))

    def _follow(self, promise_id: str, follower: Follower) -> None:
        assert self._store.local is not None
        self._followed[promise_id] = follower
        self._store.local.follow(promise_id, follower)

    def _unfollow(self, promise_id: str) -> None:
        follower = self._followed.pop(promise_id, None)
        if follower is not None and self._store.local is not None:
            self._store.local.unfollow(promise_id, follower)

    def _stays(self) -> bool:
        """Whether it stays in memory where it can only wait: children that it began run on this engine (R12)."""
        if self._held_up or self._room is None or self._store.local is None or not self.recorder.wrote:
            return False
        if self._staying is None:
            if self._awaited_child() is None or not self._room.enter():
                return False
            self._heard_at = self._loop.time()
            self._staying = self._loop.call_later(STAY_LOOK_S, self._look_whether_it_stays)
            self._follow(self.promise_id, Follower(self._go_away, self.promise_id, self._go_away))
        if len(self._followed) <= sum(each.waiting for each in self.passes):  # its own promise is followed too
            self._watch_soon()
        return True

    def _awaited_child(self) -> str | None:
        """A child that is waited for."""
        waits = (promise_id for each in self.passes for promise_id in each.externals())
        return next((self._children[promise_id] for promise_id in waits if promise_id in self._children), None)

    def _runs_child(self) -> bool:
        assert self._room is not None
        waits = (promise_id for each in self.passes for promise_id in each.externals())
        return any(self._room.runs(self._children[link]) for link in waits if link in self._children)

    def _look_whether_it_stays(self) -> None:
        assert self._room is not None
        if self.over:
            return
        now = self._loop.time()
        if self._runs_child():
            self._ran_at = now
        if self._active or self._room.goes_on(now - self._heard_at, now - max(self._ran_at, self._heard_at)):
            self._staying = self._loop.call_later(STAY_LOOK_S, self._look_whether_it_stays)
        else:
            self._suspend()

    def hold_up(self) -> None:
        """A child is held up, by a halt: what waits for this execution hears of it once it is suspended (T1)."""
        self._held_up = True
        if self._staying is not None and not self._active and not self.over:
            self._suspend()

    def _go_away(self, _promise: dict[str, Any] | None = None) -> None:
        """Its promise was settled or halted: while it only waits it ends without a word."""
        if not self._active and not self.over:
            self.gone = True
            self._suspend()

    def _leave_room(self) -> None:
        if self._staying is not None:
            assert self._room is not None
            self._room.leave()
            self._staying.cancel()
            self._staying = None
        for promise_id in [*self._followed]:
            self._unfollow(promise_id)

    def cancel(self) -> None:
        """The execution is to end: every function in it is told, in the order in which a replay would (R10).

        A pass that is over does not hear of it: when it is recorded as suspended, the store says so (S16).
        """
        if self.over:
            for each in self.passes:
                each.stop_steps()  # those under way when it was halted
        elif not self.cancelling:
            self.cancelled_at = now_ms()
            for each in sorted(self.passes, key=self._place):
                each.cancel()
            if self.passes:  # else it is about to begin
                self.look()

    def _place(self, function_pass: FunctionPass) -> tuple[int, list[int]]:
        """The place of a function: by depth, and then as they were begun."""
        numbers = function_pass.promise_id[len(self.promise_id) :].split(".")[1:]
        return len(numbers), [int(number) for number in numbers]

    # -- the end --------------------------------------------------------------------------------------------------

    def complete(self, outcome: Any) -> None:
        """The function ended: with JSON builtins or a Rejection."""
        if isinstance(outcome, BaseException):
            self._end(ExecutionPassEvent.COMPLETE, outcome)
        elif not self.over:
            self._go(ExecutionPassEvent.COMPLETE)
            if not self.outcome.done():
                self.outcome.set_result(outcome)

    def replayed(self, function_pass: FunctionPass) -> None:
        """A function of a check has come to what is new: the outermost one's last, when all have (X5)."""
        if function_pass.promise_id == self.promise_id:
            self.complete(None)

    def halt(self, error: DurableError) -> None:
        """Stop the pass so that it can be resumed: steps under way end and are recorded, nothing else begins (R4)."""
        if self.over:
            return
        self._go(ExecutionPassEvent.HALT)
        for each in self.passes:
            each.loop.stopped = True
        self._loop.call_soon(self._halt, HaltTask(error))

    def halted(self, error: DurableError) -> PlatformError:
        """Halt the pass from something that runs on the engine's loop: raise what is returned."""
        self.halt(error)
        return PlatformError([HaltTask(error)])

    def _halt(self, halted: HaltTask) -> None:
        self.spawn(self._drained(PlatformError([halted])))

    async def _drained(self, error: BaseException) -> None:
        leaves = {task for each in self.passes for task in each.leaves}
        if leaves:
            await asyncio.wait(leaves)
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """The attempt is broken: the store refused something, or the engine failed."""
        if not isinstance(error, PlatformError):
            assert isinstance(error, Exception)
            error = PlatformError([internal(f"run {self.execution_id}", error)])
        self._end(ExecutionPassEvent.FAIL, error)

    def _end(self, event: ExecutionPassEvent, error: BaseException) -> None:
        if not self.over:
            self._go(event)
            for each in self.passes:
                each.loop.stopped = True
            if not self.outcome.done():
                self.outcome.set_exception(error)

    def _go(self, event: ExecutionPassEvent) -> None:
        self.state = step_execution_pass(self.state, event)
        self.over = True

    def dispose(self) -> None:
        """Let go of everything: tasks, loops, records. Idempotent."""
        self._go(ExecutionPassEvent.DROP)
        if self._watching is not None:
            self._watching.cancel()
        self._leave_room()
        for task in [*self._tasks]:
            task.cancel()
        for each in [*self.passes]:
            each.dispose()
        self._records.clear()
        self._retries.clear()
        if self.outcome.done() and not self.outcome.cancelled():
            self.outcome.exception()


def forget_frames(error: BaseException) -> None:
    """Drop the frames that an error holds, which hold it: nothing waits for the garbage collector."""
    error.__traceback__ = None
    for inner in (error.__cause__, error.__context__):
        if inner is not None and inner.__traceback__ is not None:
            forget_frames(inner)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            forget_frames(inner)
