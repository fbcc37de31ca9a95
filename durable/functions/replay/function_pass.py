"""One durable function running over its record, on an event loop of its own (specs/execution.md, X1-X7).

    run the loop until nothing is ready -> deliver one result -> run the loop -> …

During a replay the next result is the one that the record says; once every recorded operation was begun again, results
are delivered as they arrive. Between two deliveries the function is a pure function of what was delivered.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from resonate.types import PromiseCreateReq, PromiseRecord, Value

from durable.core.clock import now_ms
from durable.core.errors import BadArguments, Deadlock, DurableError, NonDeterminism, StepNeeded
from durable.core.events import Logged
from durable.core.limits import OPERATION_NAME_CHARS_MAX
from durable.functions.failures import Rejection, document
from durable.functions.replay.execution_pass import ExecutionPass, forget_frames
from durable.functions.replay.failure_origin import FailureLog
from durable.functions.replay.function_loop import WHAT_TO_DO, FunctionLoop, PassEnded, Timer, describe
from durable.functions.replay.record import CALL_KINDS, CANCEL, PATCH, OperationKey, Replay
from durable.functions.replay.recorder import Outcome
from durable.functions.replay.states import (
    IS_LEFT,
    IS_LIVE,
    IS_OVER,
    CancellationEvent,
    CancellationState,
    FunctionPassEvent,
    FunctionPassState,
    step_cancellation,
    step_function_pass,
)
from durable.functions.user_frames import innermost_frame, user_place
from durable.records.codec import encode
from durable.records.values import digest, to_json

if TYPE_CHECKING:
    from random import Random

    from durable.functions.operation import Operation
    from durable.functions.sandbox_step import Instances
    from durable.functions.signal_methods import SignalChannel

type Perform = Callable[[UnderWay, PromiseRecord | None], Coroutine[Any, Any, PromiseRecord]]
"""Brings an operation's promise about, on the engine's loop, from its record or from nothing. One that comes back
pending is settled by others."""


def _check_name(made: OperationKey) -> None:
    """Refuse a name that no record can hold in the line that gives it. NotEncodable, BadArguments."""
    if len(made.name) > OPERATION_NAME_CHARS_MAX:
        raise BadArguments(f"the name of a {made.kind} has at most {OPERATION_NAME_CHARS_MAX} characters")
    if not made.name.isascii():
        to_json(made.name, f"the name of a {made.kind}")


class UnderWay(msgspec.Struct, eq=False):
    """An operation that was begun and whose outcome is not delivered yet."""

    ordinal: int
    promise_id: str
    tags: dict[str, str]
    perform: Perform
    deliver: Callable[[PromiseRecord], None]
    context: contextvars.Context
    record: PromiseRecord | None = None
    nested: bool = False
    """A nested function, which ends before its caller when the execution is cancelled."""
    waits_for: str = ""
    """The promise of others that it waits for."""
    cancelled: bool = False
    stopped: bool = False
    """The function was cancelled after it was begun: nothing of it begins any more."""
    stop: Callable[[], None] | None = None
    """Stops what of it runs here."""
    task: asyncio.Task[PromiseRecord] | None = None
    performed: asyncio.Future[PromiseRecord] | None = None
    """For another operation that goes on from this one."""
    heard: PromiseRecord | None = None
    """The settled promise, heard of before the answer that says it was made."""

    @property
    def name(self) -> str:
        """Its name in the record."""
        return self.tags["durable:name"]

    @property
    def let_go(self) -> bool:
        """A timer that the code had cancelled: it never fires, and the replay cancels it again."""
        timer = self.tags.get("durable:kind") == "timer"
        return timer and self.record is not None and self.record.state == "rejected_canceled"


class FunctionPass:
    """One function, the execution's own or a nested one, in one pass. `function` is what messages call it."""

    def __init__(
        self,
        run: ExecutionPass,
        promise_id: str,
        function: str,
        *,
        timeout_at: int,
        created_at: int,
        caller: FunctionPass | None = None,
        cleans_up: bool = False,
    ) -> None:
        self.run = run
        self.promise_id = promise_id
        self.function = function
        self.timeout_at = timeout_at
        self.created_at = created_at
        recorded, self._records = run.recorded(promise_id)
        self._replay = Replay(recorded)
        self._outer = asyncio.get_running_loop()
        self.loop = FunctionLoop(  # type: ignore[abstract]
            on_timer=self._begin_timer,
            on_timer_cancelled=self._let_go_of_timer,
            on_error=self._unretrieved,
            now=created_at / 1000,
        )
        self.leaves: set[asyncio.Task[Any]] = set()
        """Steps that run here. What they come to is recorded also when the function has ended."""
        self._under_way: dict[int, UnderWay] = {}
        self._waiting: dict[str, UnderWay] = {}
        """By the promise of others that it waits for."""
        self._arrived: deque[UnderWay] = deque()
        self._deferred: list[UnderWay] = []
        self.state = FunctionPassState.REPLAYING
        self._caller = caller
        self._replaying_inside = 0
        """Nested functions that are still replayed: what is new here waits for them (X5)."""
        self.inner = set[FunctionPass]()  # the nested functions that it began and that go on
        self.instances: Instances | None = None
        """Of components, which its contexts share; made with the first call of one."""
        self.compensations: list[Callable[[], Operation[Any]]] = []
        """Each begins what undoes something, in the order in which they were said."""
        self.random: Random | None = None
        """Which its contexts share; made with the first use."""
        self.signals: dict[str, SignalChannel] = {}
        """By name: who waits for signals, which its contexts share."""
        self.failures = FailureLog()
        self.patches: dict[str, bool] = {}
        """What `ctx.patched` has said in this pass: it says the same again."""
        self._code: Callable[[], Coroutine[Any, Any, Any]] | None = None
        """The function itself, to be begun."""
        self._main: asyncio.Task[Any] | None = None
        self._done: Callable[[Outcome], object] | None = None
        """Told the function's outcome, once."""
        self._starting: list[tuple[UnderWay, PromiseRecord | None]] = []
        """Operations to perform as soon as this loop is left."""
        self._logged: list[Logged] = []
        """Lines to tell before that: once an operation that came later is recorded nobody would tell them any more."""
        self._cancellation = CancellationState.TOLD if cleans_up else CancellationState.UNTOLD
        self._lines = 0
        run.passes[self] = None
        if self._replay.old_concurrent:
            expected = recorded[0]
            run.halt(
                NonDeterminism(
                    expected.promise_id,
                    "operations of concurrent branches without the order of their results",
                    "a replay that needs it",
                    _OLD_CONCURRENT,
                )
            )

    # -- running --------------------------------------------------------------------------------------------------

    def start(self, main: Callable[[], Coroutine[Any, Any, Any]], done: Callable[[Outcome], object]) -> None:
        """Begin; `done` is called with the function's JSON result or its failure (a Rejection)."""
        self._code, self._done = main, done
        self.run.began()
        self._outer.call_soon(self._first)

    def _first(self) -> None:
        self._advance()
        self.run.ended()

    def _advance(self) -> None:
        """Run and deliver until only others can bring something."""
        if self._over or self.run.over:
            return
        self._run_and_deliver()
        if self._caller is not None and (self._live or self._over) and not self.run.over:
            caller, self._caller = self._caller, None
            caller._told_live()

    def _run_and_deliver(self) -> None:
        try:
            main = self._run_to_wait()
        except NonDeterminism as error:
            self.run.halt(error)
            return
        except StepNeeded as error:
            self._fail(error)
            return
        except Exception as error:  # the function's own are its tasks'
            self.run.fail(error)
            return
        if self.run.over:
            return
        if main.done():
            self._finish(main)
        elif self._left and self._live:
            self._leave_off()
        elif not self._under_way:
            self._fail(Deadlock.of(self.function, [describe(task) for task in self.loop.pending()]))

    def _run_to_wait(self) -> asyncio.Task[Any]:
        try:
            with self.loop.running():
                main = self._main
                if main is None:
                    assert self._code is not None
                    main = self._main = self.loop.create_task(self._code(), name=self.function)
                    self._code = None
                while True:
                    self.loop.run()
                    if self.run.over or main.done():
                        break
                    arrived = self._next()
                    if arrived is None:
                        break
                    if arrived == "cancel":
                        self._deliver_cancellation(main)
                    else:
                        self._deliver(arrived)
        finally:
            self._do_put_off()
        return main

    def _next(self) -> UnderWay | Literal["cancel"] | None:
        """The next delivery: an operation's outcome, or the cancellation. NonDeterminism when there can be none."""
        if not self._replay.live:
            self._replay.pass_over_patches()
        if not self._replay.live:
            ordinal = self._replay.due()
            if ordinal is None:
                error = self._replay.missing("nothing: the function waits for what came after it")
                assert error is not None
                raise error
            if ordinal == CANCEL:
                return "cancel"
            found = self._under_way.get(ordinal)
            if found is None or found.record is None:
                raise NonDeterminism(
                    f"{self.promise_id}.{ordinal}", "its result before the next operation", "nothing that waits for it"
                )
            return found
        if not self._live and not self._go_live():
            return None
        if self.run.checks:
            return None
        cancelling = self.run.cancelled_at is not None and not self.cleans_up
        while self._arrived and not (cancelling and self._after_cancel(self._arrived[0])):
            arrived = self._arrived.popleft()
            if not arrived.cancelled:
                return arrived
        if not cancelling:
            return None
        self._cancellation = step_cancellation(self._cancellation, CancellationEvent.HEAR)
        self._stop_begun()
        return None if self._nested() else "cancel"  # what nested ones come to is delivered after it

    def _after_cancel(self, arrived: UnderWay) -> bool:
        """Whether it came after the execution was cancelled. What came in the same millisecond may have by that."""
        assert arrived.record is not None
        hears = self._cancellation is CancellationState.HEARING
        return hears or (arrived.record.settled_at or 0) >= (self.run.cancelled_at or 0)

    def _go_live(self) -> bool:
        """Everything recorded was begun again: what is settled comes in the order of that, the rest is performed.

        Nested functions first: False until they have come as far, so that one that halts finds nothing performed (X5).
        """
        nested = [each for each in self._deferred if each.nested and each.promise_id in self._records]
        self._deferred = [each for each in self._deferred if each not in nested]
        self._replaying_inside += len(nested)
        for each in nested:
            self._perform(each, self._records[each.promise_id])
        if self._replaying_inside:
            return False
        self._go(FunctionPassEvent.GO_LIVE)
        if self.run.checks:
            self.run.replayed(self)
            return False
        if self._left:
            return False
        settled = [each for each in self._under_way.values() if each.record is not None and not each.let_go]
        settled.sort(key=lambda each: (each.record.settled_at or 0 if each.record else 0, each.ordinal))
        self._arrived = deque(settled)  # with what nested functions came to meanwhile
        self._perform_deferred()
        return True

    def _perform_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for each in deferred:
            self._perform(each, self._records.get(each.promise_id))

    def _told_live(self) -> None:
        """A nested function that was replayed has come to what is new, or to its end."""
        self._replaying_inside -= 1
        if not self._replaying_inside:
            self._advance()

    def _deliver(self, arrived: UnderWay) -> None:
        record = arrived.record
        assert record is not None
        del self._under_way[arrived.ordinal]
        self._replay.delivered(arrived.ordinal)
        self.loop.advance((record.settled_at or 0) / 1000)
        arrived.deliver(record)

    def _go(self, event: FunctionPassEvent) -> None:
        self.state = step_function_pass(self.state, event)

    @property
    def replaying(self) -> bool:
        """Whether something that the record has is still to be begun again."""
        return not self._live and not self._replay.live

    @property
    def _live(self) -> bool:
        return self.state in IS_LIVE

    @property
    def _left(self) -> bool:
        """Whether its caller has ended without it: it begins nothing more (R6)."""
        return self.state in IS_LEFT

    @property
    def _over(self) -> bool:
        return self.state in IS_OVER

    @property
    def ended(self) -> bool:
        """Whether the function itself has ended, steps that it had begun or not."""
        return self._over or (self._main is not None and self._main.done())

    @property
    def cleans_up(self) -> bool:
        """The execution is cancelled and the function knows: what it begins now is not cancelled once more."""
        return self._cancellation is CancellationState.TOLD

    # -- cancelling -----------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """The execution is to end: the function gets CancelledError where it waits, once nested ones have ended."""
        if self._over:
            self.stop_steps()
        elif self._live:
            self._advance()

    def _nested(self) -> bool:
        """Whether a nested function goes on, which has to end first."""
        return any(each.nested and each.record is None for each in self._under_way.values())

    def _deliver_cancellation(self, main: asyncio.Task[Any]) -> None:
        self._cancellation = step_cancellation(self._cancellation, CancellationEvent.TELL)
        self._replay.delivered(CANCEL)
        self._stop_begun()
        main.cancel("the execution is cancelled")

    def _stop_begun(self) -> None:
        """Stop, once, the operations that were begun before the function hears of the cancel."""
        for found in [*self._under_way.values()]:
            if not found.stopped:
                found.stopped = True
                if self._live:
                    self._stop_operation(found)

    def stop_steps(self) -> None:
        """Stop the steps that run here, of a function that goes on no more."""
        for found in self._under_way.values():
            if found.stop is not None and not found.stopped:
                found.stopped = True
                found.stop()

    def _stop_operation(self, found: UnderWay) -> None:
        """Asynchronous steps under way are cancelled, and cells; synchronous ones ask `durable.cancelled()`.

        A step that waits for its next try has failed.
        """
        if found.stop is not None:
            found.stop()
        elif found.waits_for == found.promise_id:
            if found.tags["durable:kind"] == "execute":
                self.run.spawn(self._let_go(found.promise_id))
        elif found.waits_for:
            retry = self.run.last_retry(found.promise_id)
            self.wait_for(found, "")
            self.run.began()
            self._outer.call_soon(self._stop_waiting, found, retry)  # behind those that are cancelled before it

    def _stop_waiting(self, found: UnderWay, retry: PromiseRecord | None) -> None:
        if not self.run.over:
            self._perform(found, retry)
        self.run.ended()

    # -- operations -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise unless this is the function's own code, and its pass goes on."""
        if self.run.over or self._over:
            raise PassEnded
        if not self.loop.is_running():
            raise StepNeeded(
                f"the context of {self.function} is used outside of it, in a step, a thread or another function: "
                "operations are begun by the function that the context was given to"
            )

    def begin(
        self,
        made: OperationKey,
        perform: Perform,
        deliver: Callable[[PromiseRecord], None],
        tags: dict[str, str],
        *,
        nested: bool = False,
    ) -> UnderWay:
        """Begin an operation: its place in the record, and on the engine's loop what it does."""
        self.check()
        _check_name(made)
        try:
            begun = self._replay.begin(made, self.loop.number(asyncio.current_task()))
        except NonDeterminism as error:
            self.run.halt(error)
            raise PassEnded from None
        if begun.recorded is not None:
            promise_id = begun.recorded.promise_id
        elif made.kind in CALL_KINDS:
            promise_id = self.run.next_call(made.kind)
        else:
            promise_id = f"{self.promise_id}.{begun.number}"
        self.run.begun()
        noted = {"durable:kind": made.kind, "durable:name": made.name, "durable:digest": made.digest}
        noted |= tags | begun.tags
        context = contextvars.copy_context()
        found = UnderWay(begun.ordinal, promise_id, noted, perform, deliver, context, nested=nested)
        self._under_way[begun.ordinal] = found
        record = self._records.get(promise_id)
        if record is not None and record.state != "pending":
            found.record = record
        elif self._live:
            self._perform(found, None)
        else:
            self._deferred.append(found)
        return found

    def recorded_tags(self, promise_id: str) -> Mapping[str, str]:
        """The tags of a promise that this pass found in the record; none of one that is new."""
        record = self._records.get(promise_id)
        return {} if record is None else record.tags

    def patched(self, name: str, perform: Perform) -> bool:
        """Whether the code goes the new way: the record says so, or nothing recorded has gone the old way (X10)."""
        self.check()
        known = self.patches.get(name)
        if known is None:
            operation = OperationKey(PATCH, name, "")
            _check_name(operation)
            begins = self._replay.is_next(operation)
            known = self.patches[name] = begins or name in self._replay.patches
            if begins:
                self.begin(operation, perform, lambda _: None, {})
        return known

    def _perform(self, found: UnderWay, known: PromiseRecord | None) -> None:
        if self.run.checks and not (found.nested and known is not None):
            return  # nothing is performed but what is replayed
        self.run.began()
        if self.loop.is_running():
            self._starting.append((found, known))
        else:
            self._spawn(found, known)

    def _do_put_off(self) -> None:
        """On the engine's loop: what was put off while this loop ran."""
        logged, self._logged = self._logged, []
        for event in logged:
            self.run.tell(event)
        starting, self._starting = self._starting, []
        for found, known in starting:
            if not self.run.over:
                self._spawn(found, known)

    def _spawn(self, found: UnderWay, known: PromiseRecord | None) -> None:
        if self.run.cancelled_at is not None and not self.cleans_up:
            found.stopped = True  # also of a function that ends, or had ended, and never hears of it
        done = partial(self._performed, found)
        found.task = self.run.spawn(found.perform(found, known), found.context, done, at_once=True)

    def _performed(self, found: UnderWay, task: asyncio.Task[PromiseRecord]) -> None:
        """On the engine's loop: an operation has its promise."""
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self.run.fail(error)
            else:
                self._came(found, task.result())
        self.run.ended()

    def _came(self, found: UnderWay, record: PromiseRecord) -> None:
        if self._over or found.record is not None:
            return
        if record.state == "pending" and found.heard is not None:
            record = found.heard
        if record.state == "pending":
            if found.stopped and record.id != found.promise_id:  # a retry, which comes no more
                self._perform(found, record)
                return
            self.wait_for(found, record.id)
            if found.cancelled or (found.stopped and found.tags["durable:kind"] == "execute"):
                self.run.spawn(self._let_go(found.promise_id))
            return
        found.record = record
        self.wait_for(found, "")
        if found.performed is not None and not found.performed.done():
            found.performed.set_result(record)
        self._arrived.append(found)
        self._advance()

    def arrived(self, promise_id: str, record: PromiseRecord) -> None:
        """A promise of others was settled while the pass goes on."""
        found = self._waiting.get(promise_id)
        if found is not None and found.record is None:
            if promise_id == found.promise_id:
                self._came(found, record)
                if found.task is not None:
                    found.task.cancel()  # a nested function whose deadline has passed
            else:  # a retry whose time has come
                self.wait_for(found, "")
                self._perform(found, record)
        self.run.look()

    def heard(self, found: UnderWay, record: PromiseRecord) -> None:
        """An operation's promise was settled, maybe before it is known here that it was made."""
        if found.waits_for == record.id:
            self.arrived(record.id, record)
        else:
            found.heard = record

    def wait_for(self, found: UnderWay, promise_id: str) -> None:
        """An operation waits for this promise of others; "" for none any more."""
        self._waiting.pop(found.waits_for, None)
        found.waits_for = promise_id
        if promise_id and not found.cancelled:
            self._waiting[promise_id] = found

    @property
    def waits(self) -> bool:
        """Whether the function waits for a promise of others."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many promises of others the function waits for."""
        return len(self._waiting)

    def externals(self) -> Iterable[str]:
        """The promises of others that the function waits for."""
        return self._waiting

    async def record_of(self, found: UnderWay) -> PromiseRecord:
        """On the engine's loop: the settled promise of an operation, for another that goes on from it."""
        if found.record is not None:
            return found.record
        if found.performed is None:
            found.performed = self._outer.create_future()
        return await asyncio.shield(found.performed)

    # -- timers ---------------------------------------------------------------------------------------------------

    def _begin_timer(self, timer: Timer, delay: float) -> None:
        """`asyncio.sleep`, `asyncio.timeout`, `call_later` of the function: a durable timer."""
        if self.run.over or self._over:
            raise PassEnded

        def deliver(_record: PromiseRecord) -> None:
            self.loop.advance(timer.when())  # a part of a millisecond more than the promise can say
            if not timer.cancelled():
                self.failures.timer_fires(timer.ordinal)
                self.loop.fire(timer)

        made = OperationKey("timer", "timer", digest(round(delay, 3)))
        timer.ordinal = self.begin(made, self.sleeping(delay), deliver, {}).ordinal

    def _let_go_of_timer(self, timer: Timer) -> None:
        found = self._under_way.pop(timer.ordinal, None)
        if found is not None:
            found.cancelled = True
            if found.waits_for:
                self.wait_for(found, "")
                self.run.spawn(self._let_go(found.promise_id))

    def sleeping(self, delay: float) -> Perform:
        """The Perform of a durable timer; `delay` in seconds from now."""

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            return known or await self.create(found, self.remote(found, timeout=delay, timer=True))

        return perform

    # -- what is recorded -----------------------------------------------------------------------------------------

    def local(self, found: UnderWay, timeout: float | None = None) -> PromiseCreateReq:
        """The promise of a step or of a nested function, which this engine settles. timeout: s."""
        tags = {
            "resonate:scope": "local",
            "resonate:branch": self.promise_id,
            "resonate:parent": self.promise_id,
            "resonate:origin": self.run.origin,
        }
        if timeout is not None:
            tags["resonate:external"] = "true"  # others may wait for it: its deadline wakes this execution
        return PromiseCreateReq(id=found.promise_id, timeout_at=self._until(timeout), tags=tags | found.tags)

    def remote(
        self,
        found: UnderWay,
        *,
        timeout: float | None = None,
        data: Any = None,
        timer: bool = False,
        task: bool = False,
    ) -> PromiseCreateReq:
        """The promise of what others settle: a person, a timer, or with `task` another engine. timeout: s."""
        external = not (timer or task)
        tags = {"resonate:scope": "global"}
        if not external:
            tags["resonate:target"] = self.run.target  # a timer too: it is scheduled by it
        tags["resonate:branch"] = found.promise_id
        tags["resonate:parent"] = self.run.origin if external else self.promise_id
        tags["resonate:origin"] = self.run.origin
        if timer:
            tags["resonate:timer"] = "true"
        if external:
            tags["resonate:external"] = "true"
        param = Value(data=encode(data))
        return PromiseCreateReq(
            id=found.promise_id, timeout_at=self._until(timeout), param=param, tags=tags | found.tags
        )

    async def create(self, found: UnderWay, request: PromiseCreateReq) -> PromiseRecord:
        """Create an operation's promise, or find it there. PlatformError."""
        record = await self.run.recorder.create(request)
        self.check_same(found, record.tags)
        return record

    def _until(self, timeout: float | None) -> int:
        if timeout is None:
            return self.timeout_at
        return min(now_ms() + math.ceil(round(timeout * 1000, 3)), self.timeout_at)  # never before its time

    def check_same(self, found: UnderWay, tags: dict[str, str]) -> None:
        """Halt when a promise with these tags exists, which another operation made. PlatformError."""
        recorded = tags.get("durable:digest")
        if recorded is not None and recorded != found.tags["durable:digest"]:
            earlier = OperationKey(tags.get("durable:kind", ""), tags.get("durable:name", ""), recorded)
            now = OperationKey(found.tags["durable:kind"], found.tags["durable:name"], found.tags["durable:digest"])
            raise self.run.halted(NonDeterminism(found.promise_id, earlier.shown(), now.shown()))

    async def _let_go(self, promise_id: str) -> None:
        await self.run.recorder.cancel(promise_id)

    # -- the end --------------------------------------------------------------------------------------------------

    def _finish(self, main: asyncio.Task[Any]) -> None:
        """The function ended by itself (R6)."""
        for task in self.loop.failed():
            if task is not main:
                message = f"Task exception was never retrieved in durable function {self.function}"
                self._unretrieved({"message": message, "exception": task.exception(), "task": task})
        error = asyncio.CancelledError() if main.cancelled() else main.exception()
        left = self._replay.missing("nothing: the function ended" if error is None else f"nothing: {error!r:.200}")
        if left is not None:
            self.run.halt(left)
        elif isinstance(error, PassEnded):
            self.run.fail(DurableError("a function ended its own pass"))
        else:
            self._end(main.result() if error is None else self._rejection(error))

    def _rejection(self, error: BaseException) -> Rejection:
        if isinstance(error, RuntimeError) and str(error).endswith(_NESTED_LOOP):
            place = user_place(innermost_frame(error))
            error = StepNeeded(f"{place}: {error}: {WHAT_TO_DO}").with_traceback(error.__traceback__)
        found = error if isinstance(error, Rejection) else self._recorded(error)
        forget_frames(error)
        return found

    def _recorded(self, error: BaseException) -> Rejection:
        """The rejection of the function by an error, which says also which of its operations that came from."""
        told = document(error, self.promise_id.removeprefix("exec:"))
        return Rejection(json.dumps({**told, "operations": self.failures.origin(error)}))

    def _fail(self, error: DurableError) -> None:
        self._end(self._rejection(error))

    def leave_off(self) -> None:
        """Its caller has ended without it: what it has begun ends, nothing more begins."""
        if not self._left and not self._over:
            self._go(FunctionPassEvent.LEAVE)
            if self._live:
                self._leave_off()

    def _leave_off(self) -> None:
        self._deferred = [each for each in self._deferred if each.promise_id in self._records]
        self._end(LEFT)

    def _end(self, outcome: Outcome) -> None:
        if self._replay.live and (not self._live or self._left):
            self._perform_deferred()  # a step that was begun and that nobody awaited is performed all the same
        for inner in [*self.inner]:
            inner.leave_off()
        for found in [*self._waiting.values()]:
            retry = self.run.last_retry(found.promise_id)
            if retry is not None and found.waits_for == retry.id:
                self.wait_for(found, "")
                self._perform(found, retry)  # it has failed: its function does not wait for its next try
        self._go(FunctionPassEvent.END)
        self.loop.stopped = True
        self.run.began()  # until whoever began this function has its outcome
        starting = any(each.task is not None and not each.task.done() for each in self._under_way.values())
        if starting or self.leaves or (self._waiting and self.promise_id != self.run.promise_id):
            self.run.spawn(self._leave(outcome))
        else:
            self._tell(outcome)

    async def _leave(self, outcome: Outcome) -> None:
        """Steps under way end; what a nested function leaves open is cancelled, the store does so for the whole."""
        nested = [each.task for each in self._under_way.values() if each.nested and each.task is not None]
        if self.leaves or nested:
            await asyncio.wait([*self.leaves, *nested])
        if self.promise_id != self.run.promise_id:
            for promise_id in [*self._waiting]:
                await self.run.recorder.cancel(promise_id)
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(outcome)

    def dispose(self) -> None:
        """Let go of the loop and of all that is under way. Idempotent."""
        self._go(FunctionPassEvent.END)
        self.loop.dispose()
        self._main = self._code = None
        self.run.passes.pop(self, None)
        for found in self._under_way.values():
            found.task = None  # its frames hold this in turn
        self._under_way.clear()
        self._waiting.clear()
        self._arrived.clear()
        self._deferred.clear()
        self._starting.clear()
        self._records.clear()
        self.signals.clear()
        self.compensations.clear()
        self._done = None

    # -- what is told -----------------------------------------------------------------------------------------------

    def log(self, level: int, text: str) -> None:
        """Tell the engine's observer, unless an earlier pass did (R11)."""
        self.check()
        self._lines += 1
        told = self.run.logged.get(self.promise_id, 0)
        if self._replay.live and self._lines > told:
            self.run.logged[self.promise_id] = self._lines
            context = self.promise_id.removeprefix("exec:")
            self._logged.append(Logged(self.run.execution_id, context, self._lines, level, text))

    def _unretrieved(self, context: dict[str, Any]) -> None:
        """Report what asyncio reports of a task or callback, once: not again at each replay."""
        if self._live and not self.run.over:
            self._outer.call_exception_handler({**context, "function": self.function})


LEFT: Any = object()
"""The outcome of a nested function whose caller ended without it."""

_NESTED_LOOP = "cannot be called from a running event loop"
"""The message of `asyncio.run` and `Runner.run`."""

_OLD_CONCURRENT = (
    "It was begun by a durable-exec before 0.2: let that finish it, or cancel it and start it again under another id."
)
