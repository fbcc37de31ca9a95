"""One pass of a durable function over its record: suspension, quiescence, halting, and what an error means.

States of a pass: running -> suspended | halted | ended; each is final (specs/execution.md, R1-R6).

R1  Once a pass is suspended, every further operation suspends too and records nothing.
R2  A waiting branch suspends the pass only when no other branch has an operation under way.
R3  An exception group that holds only suspensions is a suspension; one that holds a failure is a failure.
R4  A halted pass records nothing more and settles nothing, whatever the function makes of the exception.
R5  SystemExit, KeyboardInterrupt and CancelledError reject the execution; they never end the engine.
R6  A function that ended waits for nobody: what it still had open is cancelled.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import msgspec

from durable.core.errors import DurableError, NonDeterminism
from durable.functions import sdk
from durable.functions.failure import Rejection, rejection
from durable.functions.journal import Journal, Made
from durable.functions.sdk import PlatformError, PromiseCreateReq, PromiseRecord, SdkContext, Suspended

TURNS = 8
"""Loop turns after which a branch that had something to go on with has begun it: future, shield, task, gather."""

current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("durable_run", default=None)


class FunctionExit(Exception):
    """SystemExit or KeyboardInterrupt of a task that a durable function started, kept from ending the loop."""


class Run:
    """What all contexts of one pass share."""

    def __init__(self, root: SdkContext, promise_id: str, closing: Callable[[], bool]) -> None:
        self.root = root
        self.promise_id = promise_id
        self.execution_id = promise_id.removeprefix("exec:")
        self.journal = Journal(promise_id)
        self.records: dict[str, PromiseRecord] = {}
        self.suspended = False
        self.halted: sdk.Halted | None = None
        self.closing = closing
        self._tags: dict[str, dict[str, str]] = {}
        self._active = 0
        self._concurrent = False
        self._idle = asyncio.Event()
        self._idle.set()
        inner = sdk.effects_of(root)
        self.effects = RecordedEffects(inner, self)
        self.fence = sdk.fence_of(inner)
        sdk.replace_effects(root, self.effects)

    def load(self, promises: list[dict[str, Any]]) -> None:
        """Take over what earlier passes recorded."""
        for promise in promises:
            self.journal.load(promise["id"], promise.get("tags") or {})
            sdk.know(self.effects.inner, promise)

    # -- operations -------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what ends this pass, if something has (R1, R4)."""
        self.check_halted()
        if self.suspended:
            raise Suspended

    def check_halted(self) -> None:
        """Raise when nothing more is to be recorded (R4)."""
        if self.halted is not None:
            raise PlatformError([self.halted])

    def halt(self, error: DurableError) -> PlatformError:
        """Stop the pass for good; raise what is returned."""
        if self.halted is None:
            self.halted = sdk.Halted(error)
        return PlatformError([self.halted])

    def note(self, promise_id: str, made: Made, extra: dict[str, str]) -> None:
        """Tags for a promise that the SDK is about to create."""
        self._tags[promise_id] = {
            "durable:kind": made.kind,
            "durable:name": made.name,
            "durable:digest": made.digest,
            **({"durable:scope": made.scope} if made.scope else {}),
            **extra,
        }

    def noted(self, promise_id: str) -> dict[str, str]:
        return self._tags.pop(promise_id, {})

    def compare(self, promise_id: str, noted: dict[str, str], found: dict[str, str]) -> None:
        """Halt when the promise was recorded for another operation than the noted one."""
        recorded = found.get("durable:digest")
        if noted and recorded is not None and recorded != noted["durable:digest"]:
            earlier = Made(found.get("durable:kind", ""), found.get("durable:name", ""), recorded)
            attempted = Made(noted["durable:kind"], noted["durable:name"], noted["durable:digest"])
            raise self.halt(NonDeterminism(promise_id, earlier.shown(), attempted.shown()))

    def began(self) -> None:
        """An operation is under way."""
        self._active += 1
        self._concurrent = self._concurrent or self._active > 1
        self._idle.clear()

    def ended(self) -> None:
        self._active -= 1
        if self._active == 0:
            self._idle.set()

    async def quiesce(self) -> None:
        """Return when no operation is under way and nobody starts one (R2)."""
        turns = TURNS if self._concurrent else 0
        while True:
            await self._idle.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
                if self._active:
                    break
            else:
                return

    # -- the end ----------------------------------------------------------------------------------------------

    async def meaning(self, error: BaseException) -> BaseException:
        """What the SDK is to see of an exception that left the function."""
        meant = self._signal(error)
        if meant is not None:
            self.suspended = self.suspended or isinstance(meant, Suspended)
            return meant
        failure = _without_suspensions(error)
        assert failure is not None
        await self._leave()
        return failure if isinstance(failure, Rejection) else rejection(failure, self.execution_id)

    async def meaning_inside(self, error: BaseException, child: SdkContext) -> BaseException:
        """The same for an exception that left a nested function: its failure is a recorded step's failure."""
        meant = self._signal(error)
        if meant is not None:
            return meant
        failure = _without_suspensions(error)
        assert failure is not None
        return failure if isinstance(failure, Rejection) else rejection(failure, child.info.id.removeprefix("exec:"))

    def _signal(self, error: BaseException) -> BaseException | None:
        """The control-flow signal that an exception stands for; None when it is a failure of the function."""
        if self.halted is not None:
            return PlatformError([self.halted])
        platform = _find(error, PlatformError)
        if platform is not None:
            return platform
        if isinstance(error, asyncio.CancelledError) and self.closing():
            return error
        # A failure that comes after the suspension was delivered is its echo; the replay will tell.
        echo = self.suspended and not isinstance(error, BaseExceptionGroup)
        return Suspended() if echo or _without_suspensions(error) is None else None

    async def _leave(self) -> None:
        """The function has ended: steps under way end, what it waited for is let go; the store cancels it (R6)."""
        self.suspended = True  # branches that go on meanwhile record nothing more
        await self.root.flush_local_work()
        sdk.abandon(self.root)

    async def finish(self) -> bool:
        """At a normal return: whether it counts. Raises the halt, also when something recorded was left out."""
        if self.halted is not None:
            raise PlatformError([self.halted])
        if self.suspended:
            return False
        left = self.journal.unmatched()
        if left is not None:
            raise self.halt(NonDeterminism(left[0], left[1].shown(), "nothing: the function returned"))
        await self._leave()
        return True


class RecordedEffects:
    """Stands in for the SDK's two durable effects: tags what is created, checks what is found."""

    def __init__(self, inner: sdk.EffectsPort, run: Run) -> None:
        self.inner = inner
        self._run_of = weakref.ref(run)  # the context that the run has holds this

    @property
    def _run(self) -> Run:
        run = self._run_of()
        if run is None:
            raise Suspended  # the pass is over (R1)
        return run

    async def create_promise(self, req: PromiseCreateReq) -> PromiseRecord:
        run = self._run
        run.check_halted()
        noted = run.noted(req.id)
        if noted:
            req = msgspec.structs.replace(req, tags={**req.tags, **noted})
        with self._breaking(f"record {req.id.removeprefix('exec:')}"):
            record = await self.inner.create_promise(req)
        run.compare(req.id, noted, record.tags)
        run.records[req.id] = record
        return record

    async def settle_promise(self, id: str, result: Any) -> PromiseRecord:
        run = self._run
        run.check_halted()
        with self._breaking(f"record {id.removeprefix('exec:')}"):
            record = await self.inner.settle_promise(id, result)
        run.records[id] = record
        return record

    @contextmanager
    def _breaking(self, what: str) -> Generator[None]:
        """An error of the engine's own is none of the function's: it ends the attempt."""
        try:
            yield
        except sdk.ResonateError:
            raise
        except Exception as error:
            raise sdk.break_off(self.inner, sdk.internal(what, error)) from error


def _find[E: BaseException](error: BaseException, kind: type[E]) -> E | None:
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            found = _find(inner, kind)
            if found is not None:
                return found
    return None


def _without_suspensions(error: BaseException) -> BaseException | None:
    """The error without the suspensions in it; None when it holds nothing else."""
    if isinstance(error, Suspended):
        return None
    if isinstance(error, BaseExceptionGroup):
        return error.split(Suspended)[1]
    return error


def forget_frames(error: BaseException) -> None:
    """A suspension is told to nobody: what its traceback holds of the pass, and holds that in turn, can go."""
    error.__traceback__ = error.__context__ = None
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            forget_frames(inner)


# -- tasks that a function starts ------------------------------------------------------------------------------


async def _contained(coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any]) -> Any:
    try:
        return await coro  # type: ignore[misc]  # a generator-based coroutine is awaited as it always was
    except (SystemExit, KeyboardInterrupt) as error:
        raise FunctionExit(f"{type(error).__name__}: {error}") from error


def contain_tasks(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Keep SystemExit in a function's own tasks from ending the loop (R5); returns what undoes it."""
    earlier: Any = loop.get_task_factory()

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        ours = current.get() is not None and asyncio.iscoroutine(coro)
        if ours:
            coro = _contained(coro)
        task = asyncio.Task(coro, loop=loop, **options) if earlier is None else earlier(loop, coro, **options)
        if ours:
            task.add_done_callback(_noticed)
        return task

    loop.set_task_factory(factory)

    def undo() -> None:
        if loop.get_task_factory() is factory:
            loop.set_task_factory(earlier)

    return undo


def _noticed(task: asyncio.Task[Any]) -> None:
    """A branch that was suspended and that nobody awaits any more is nothing to warn of."""
    if not task.cancelled() and isinstance(task._exception, Suspended):
        task.exception()
