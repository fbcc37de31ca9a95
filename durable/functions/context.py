"""`ctx`: what a durable function does durably. Each operation is recorded once and answered from the record after."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Protocol, overload

from capabilities.sandbox.entries import Inputs
from capabilities.sandbox.front import Ran
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.values import plain
from durable.core import ids
from durable.core.errors import ExecutionError, NonDeterminism
from durable.functions import foreign, leaf, sdk
from durable.functions.asking import Asking, until_valid
from durable.functions.failure import rejection
from durable.functions.function import NEVER, Function, Retry, seconds
from durable.functions.journal import Made
from durable.functions.journal import Sequence as Recorded
from durable.functions.operation import Derived, Operation
from durable.functions.questions import Asked
from durable.functions.run import Run
from durable.functions.sdk import PlatformError, SdkContext, Suspended
from durable.functions.steps import Step, StepThreads, step_of
from durable.functions.values import digest, encode, from_json, to_json
from durable.sessions.result import Result

_BODY = inspect.Signature([inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_ONLY)])
"""Every step's body has this signature: stated, it spares the SDK reading it anew for each step."""


class Cells(Protocol):
    """The engine's side of `ctx.execute`: how a cell becomes a promise."""

    def cell(self, code: str, session: str, inputs: dict[str, Any]) -> dict[str, Any]: ...
    def cell_tags(self, session: str) -> dict[str, str]: ...
    def cell_target(self) -> str: ...
    @property
    def sandbox(self) -> Any: ...


@dataclass(slots=True)
class _Open:
    """Operations of one context under way, and the task that made the last."""

    count: int = 0
    maker: asyncio.Task[Any] | None = None


class Context(Asking):
    """The context of one durable function: begin operations with it, await what it returns."""

    def __init__(self, run: Run, inner: SdkContext, threads: StepThreads, cells: Cells) -> None:
        self._run = run
        self._inner = inner
        self._threads = threads
        self._cells = cells
        self._promise_id = inner.info.id
        self._children = run.journal.children(self._promise_id)
        self._open = _Open()  # shared by its options() copies
        execution = run.execution_id
        self._ends: foreign.Ends = lambda: cells.sandbox.ends_with(execution)  # holds neither this nor the run
        self._instances = foreign.Instances(run, self._ends)
        self._timeout: float | None = None
        self._retry: Retry | None = None
        self._name: str | None = None

    @property
    def id(self) -> str:
        """The execution id of the durable function (a nested function has its own: `<id>.<k>`)."""
        return self._promise_id.removeprefix(ids.PREFIX)

    def options(
        self, *, name: str | None = None, timeout: float | timedelta | None = None, retry: Retry | None = None
    ) -> Context:
        """A context whose next operations carry these.

        name: what the record calls a step. timeout: seconds or timedelta that a step may take, each time it is tried;
        then it fails with TimeoutError. retry: how often a step that raised is tried again.
        """
        other = copy.copy(self)
        other._name, other._timeout, other._retry = name, seconds(timeout), retry
        return other

    # -- steps --------------------------------------------------------------------------------------------------

    @overload
    def run[**P, T](self, fn: Function[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Operation[T]: ...
    @overload
    def run[**P, T](self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Operation[T]: ...
    @overload
    def run[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Operation[T]: ...
    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Operation[Any]:
        """Run a step: any function, sync (in a thread) or async, once. Its result or error is recorded.

        A durable function, or one whose first parameter is `ctx`, gets a context of its own and may have steps.
        Raises (on await) the step's error as ExecutionError, which also is the builtin it was, and NotEncodable. A
        step that is begun and never awaited ends before the function does; its error is recorded and goes no further.
        """
        step = step_of(fn)
        name = self._name or step.name
        made = Made("step", name, digest(name, args, kwargs))
        retry = self._retry or step.retry

        def begin(promise_id: str) -> asyncio.Task[Any]:
            if not step.takes_context:
                return leaf.begin(self._run, self._inner, promise_id, self._leaf(step, args, kwargs, promise_id), retry)
            child = self._inner.options(timeout=self._deadline(), retry_policy=retry)
            return sdk.task_of(child.run(self._nested(step, args, kwargs)), promise_id)

        return self._begin(made, self._children, begin, lambda value: from_json(value, step.returns, f"step {name}"))

    def _leaf(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any], promise_id: str) -> leaf.Body:
        run, limit = self._run, self._timeout

        async def call() -> Any:
            if step.is_async:
                return await step.fn(*args, **kwargs)
            return await self._threads.run(lambda: step.fn(*args, **kwargs))

        async def body() -> Any:
            try:
                value = await (call() if limit is None else _limited(step.name, limit, call))
                return encode(value, f"the result of step {step.name}", step.returns)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and run.closing():
                    raise
                raise rejection(error, promise_id.removeprefix(ids.PREFIX)) from None

        return body

    def _nested(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Awaitable[Any]]:
        run = self._run

        async def body(child: SdkContext) -> Any:
            run.ended()  # what is under way from here on are the operations inside
            try:
                context = Context(run, child, self._threads, self._cells)
                return encode(await step.fn(context, *args, **kwargs), f"the result of {step.name}", step.returns)
            except Suspended:
                sdk.forget_suspended(child)
                raise
            except PlatformError:
                raise
            except BaseException as error:
                raise await run.meaning_inside(error, child) from None
            finally:
                run.began()

        return _signed(body)

    # -- time ---------------------------------------------------------------------------------------------------

    def sleep(self, duration: float | timedelta) -> Operation[None]:
        """Sleep durably, for days if need be, holding nothing. `duration` in seconds or a timedelta."""
        length = seconds(duration) or 0.0
        made = Made("sleep", "sleep", digest(length))

        def begin(promise_id: str) -> asyncio.Task[Any]:
            return sdk.task_of(self._inner.sleep(timedelta(seconds=length)), promise_id)

        return self._begin(made, self._children, begin, lambda _: None)

    # -- code in a session ------------------------------------------------------------------------------------------

    def execute(
        self,
        code: str,
        *,
        session: str,
        inputs: dict[str, Any] | None = None,
        timeout: float | timedelta | None = None,
        check: bool = True,
    ) -> Operation[Result]:
        """Run a cell in a session. `inputs` are set as variables first. Its execution is `<id>.<k>`.

        timeout: seconds or timedelta after which the code is stopped and ExecutionTimedOut raised.

        Raises ExecutionError when the code raised, unless check=False, which returns the result with `.error`.
        """
        ids.check_session_name(session)
        given = {key: to_json(value, f"input {key!r}") for key, value in (inputs or {}).items()}
        cell = self._cells.cell(code, session, given)
        limit = seconds(timeout)
        deadline = self._deadline() if limit is None else timedelta(seconds=limit)
        made = Made("execute", session, digest(code, session, given))
        extra = self._cells.cell_tags(session)

        def begin(promise_id: str) -> asyncio.Task[Any]:
            child = self._inner.options(timeout=deadline, target=self._cells.cell_target())
            return sdk.task_of(child.rpc("durable_execute", cell), promise_id)

        def decode(value: Any) -> Result:
            return Result.from_record(value)

        operation = self._begin(made, self._children, begin, decode, extra)
        return operation if check else _unchecked(operation)

    # -- foreign code -------------------------------------------------------------------------------------------------

    def sandbox(
        self,
        code: str | bytes,
        *,
        language: str = "auto",
        inputs: Inputs | None = None,
        limits: SandboxLimits | None = None,
        grants: Iterable[str] = (),
        function: str = "",
        identity: str = "",
        modules: Mapping[str, str] | None = None,
    ) -> Operation[Ran]:
        """Run foreign code as `engine.sandbox.run` does, once: what it gave is recorded.

        What it asks for is recorded call by call; killed, it runs again and gets the recorded answers. Its value has
        to be JSON; what JSON has not has the forms of specs/sandbox.md. identity: whose `kv` and files
        it has; without one they are this run's alone. Raises ExecutionError for whatever it came to instead, which also
        is the SandboxError that it was.
        """
        given = foreign.given(inputs or {}, "the inputs")
        asked, more = sorted(grants), [each for each in (function, identity, modules) if each]
        made = Made("sandbox", language, digest(code, language, given, asked, *more))

        async def perform(execution: str) -> Any:
            ran = await self._cells.sandbox.run(
                code,
                language=language,
                function=function,
                inputs=given,
                limits=limits,
                grants=asked,
                execution=execution,
                identity=identity,
                modules=modules,
            )
            return to_json(asdict(replace(ran, value=plain(ran.value))), "what the sandbox gave")

        def begin(promise_id: str) -> asyncio.Task[Any]:
            return foreign.begin(self._run, self._inner, promise_id, perform, self._ends)

        return self._begin(made, self._children, begin, lambda value: Ran(**value))

    def component(self, component: str, function: str, *args: Any, instance: str = "") -> Operation[Any]:
        """Call an export of a component that this engine knows (`engine.sandbox.add`), once: its value is recorded.

        What it asks for is recorded call by call; killed, it runs again and gets the recorded answers. Arguments and
        value have to be JSON. instance: a core module's state lives on from call to call under this name, within this
        durable function; one task makes its calls, one runs at a time. Raises ExecutionError for whatever it came to
        instead, as `sandbox` does.
        """
        called = f"{component}.{function}"
        if not instance:
            made = Made("component", called, digest(component, function, args))

            async def perform(execution: str) -> Any:
                await self._cells.sandbox.added(component)
                found = await self._cells.sandbox.call(component, function, *args, execution=execution)
                return to_json(plain(found.value), f"the value of {called}")

            return self._begin(
                made,
                self._children,
                lambda promise_id: foreign.begin(self._run, self._inner, promise_id, perform, self._ends),
                lambda value: value,
            )
        self._instances.check(component, instance)
        made = Made("component", called, digest(component, function, args, instance))

        async def stateful(execution: str, kept: foreign.Kept | None) -> Any:
            await self._cells.sandbox.added(component)
            found, state = await self._cells.sandbox.call_instance(
                component, function, *args, execution=execution, instance=instance, kept=kept
            )
            return to_json(foreign.with_state(plain(found.value), state), f"the value and the state of {called}")

        return self._begin(
            made,
            self._children,
            lambda promise_id: self._instances.begin(self._inner, promise_id, component, instance, stateful),
            lambda value: value["value"],
        )

    # -- people -------------------------------------------------------------------------------------------------

    def _ask(self, question: Asked) -> Operation[Any]:
        record = question.prompt.record()
        made = Made("input", "input", digest(record), scope=self.id)
        calls = self._run.journal.calls("input")

        def begin(promise_id: str) -> asyncio.Task[Any]:
            limit = None if question.timeout is None else timedelta(seconds=question.timeout)
            return sdk.task_of(sdk.chosen_promise(self._inner, promise_id, timeout=limit, data=record), promise_id)

        extra = {"durable:capability": "input", "durable:execution": self._run.promise_id}
        return until_valid(self._begin(made, calls, begin, question.value, extra), question, self._ask)

    # -- the common part --------------------------------------------------------------------------------------

    def _deadline(self) -> timedelta:
        return sdk.NO_DEADLINE if self._timeout is None else timedelta(seconds=self._timeout)

    def _begin[T](
        self,
        made: Made,
        sequence: Recorded,
        begin: Callable[[str], asyncio.Task[Any]],
        decode: Callable[[Any], T],
        extra: dict[str, str] | None = None,
    ) -> Operation[T]:
        run = self._run
        run.check()
        maker = asyncio.current_task()
        if self._open.count or self._open.maker not in (None, maker):
            # Recorded with the operation: a replay, answered at once, may not overlap where this pass did.
            self._children.concurrent = run.journal.calls("input").concurrent = True
        self._open.maker = maker
        try:
            position = sequence.take(made)
        except NonDeterminism as error:
            raise run.halt(error) from None
        promise_id = f"{sequence.place}{position}"
        run.note(promise_id, made, {**(extra or {}), **({"durable:concurrent": "1"} if sequence.concurrent else {})})
        if sequence is self._children:
            sdk.set_next(self._inner, position)
        run.began()
        self._open.count += 1
        task = begin(promise_id)
        task.add_done_callback(self._finished)
        return Operation(run, promise_id, task, decode)

    def _finished(self, _task: asyncio.Task[Any]) -> None:
        self._open.count -= 1
        self._run.ended()


async def _limited(name: str, limit: float, call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        async with asyncio.timeout(limit) as scope:
            return await call()
    except TimeoutError as error:
        if scope.expired():
            raise TimeoutError(f"step {name} took longer than {limit:g} s") from error
        raise


def _signed(body: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    body.__signature__ = _BODY  # type: ignore[attr-defined]
    return body


def _unchecked(operation: Operation[Result]) -> Operation[Result]:
    async def look(inner: Operation[Result]) -> Result:
        try:
            return await inner
        except ExecutionError as error:
            return Result.failed(inner.promise_id.removeprefix(ids.PREFIX), error)

    return Derived(operation, look)


__all__ = ["NEVER", "Context"]
