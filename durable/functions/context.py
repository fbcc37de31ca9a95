"""`ctx`: what a durable function does durably. Each operation is recorded once and answered from the record after."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, overload
from uuid import UUID

from resonate.types import PromiseRecord

from capabilities.sandbox.wasm.wit_values import plain
from durable.core import ids
from durable.core.agent_tool import tool_tags
from durable.core.clock import TIME_MAX_MS
from durable.core.durations import seconds
from durable.core.errors import BadArguments, ExecutionError, StoreRefused
from durable.core.events import ArgumentsChanged
from durable.core.limits import PATCH_NAME_CHARS_MAX
from durable.functions import sandbox_step
from durable.functions.child_methods import Starting
from durable.functions.definition import NEVER, Function, Retry
from durable.functions.failures import add_note, rejection
from durable.functions.operation import Derived, Operation
from durable.functions.prompt_methods import Asking, until_valid
from durable.functions.prompt_records import Asked
from durable.functions.replay.function_body import perform_body
from durable.functions.replay.function_pass import LEFT, FunctionPass, Perform, UnderWay
from durable.functions.replay.record import OperationKey
from durable.functions.replay.recorder import Outcome
from durable.functions.signal_methods import Receiving
from durable.functions.step import Arguments, Step, StepThreads, step_of
from durable.functions.step_run import Body, Leaf
from durable.functions.stream_methods import Publishing
from durable.records.result import Result
from durable.records.values import code_to_json, digest, encode, from_json, to_json
from durable.store.port import StoreFace

if TYPE_CHECKING:  # imported with the first foreign code
    from capabilities.sandbox.front import Directories, Ran
    from capabilities.sandbox.limits import SandboxLimits
    from capabilities.sandbox.wasm.exports import Inputs


class Cells(Protocol):
    """The engine's side of `ctx.execute`: how a cell becomes a promise."""

    def cell(self, code: str, session: str, inputs: dict[str, Any]) -> dict[str, Any]: ...
    def cell_tags(self, session: str) -> dict[str, str]: ...
    def cell_target(self) -> str: ...
    @property
    def sandbox(self) -> Any: ...
    @property
    def store(self) -> StoreFace: ...
    @property
    def actors(self) -> Any: ...


COMPENSATION_RETRY = Retry(max_retries=10, delay=0.5, max_delay=300.0, on_exhausted="pause")
"""For compensations that say nothing else: over about four minutes, then somebody has to look."""


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A function and its place. `id` is its own execution id, `execution` that of the outermost function."""

    id: str
    execution: str
    function: str
    created_at: datetime
    deadline: datetime | None
    """When it is ended, whatever it does; None for never."""


class Context(Asking, Publishing, Receiving, Starting):
    """The context of one durable function: begin operations with it, await what it returns."""

    def __init__(self, function_pass: FunctionPass, threads: StepThreads, cells: Cells) -> None:
        self._pass = function_pass
        self._threads = threads
        self._cells = cells
        self._timeout: float | None = None
        self._retry: Retry | None = None
        self._name: str | None = None

    @property
    def _ends(self) -> sandbox_step.Ends:
        cells, execution = self._cells, self._pass.run.execution_id
        return lambda: cells.sandbox.ends_with(execution)  # holds neither this nor the run

    @property
    def _instances(self) -> sandbox_step.Instances:
        found = self._pass.instances
        if found is None:
            found = self._pass.instances = sandbox_step.Instances(self._pass, self._ends)
        return found

    @property
    def id(self) -> str:
        """The execution id of the durable function (a nested function has its own: `<id>.<k>`)."""
        return self._pass.promise_id.removeprefix(ids.PREFIX)

    @property
    def store(self) -> StoreFace:
        """The engine's store, for what is kept beside the record: in steps only."""
        return self._cells.store

    @property
    def info(self) -> FunctionInfo:
        """The function's place: its execution, its name, when it began, its deadline."""
        function_pass = self._pass
        until = function_pass.timeout_at
        return FunctionInfo(
            self.id,
            function_pass.run.execution_id,
            function_pass.function,
            _moment(function_pass.created_at),
            None if until >= TIME_MAX_MS else _moment(until),
        )

    @property
    def replaying(self) -> bool:
        """Whether the function goes through what was recorded before. For what is only shown: what it does must not
        depend on it."""
        return self._pass.replaying

    # -- what a replay gets again ---------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time, in UTC: when the newest result that the function got was recorded. A replay gets the same."""
        self._pass.check()
        return datetime.fromtimestamp(self._pass.loop.time(), UTC)

    @property
    def random(self) -> Random:
        """Random numbers that a replay draws again, others in each execution. Not for secrets: make those in a step."""
        self._pass.check()
        found = self._pass.random
        if found is None:
            found = self._pass.random = Random(f"{self._pass.run.seed} {self._place}")  # noqa: S311 - as said
        return found

    @property
    def _place(self) -> str:
        """The function's place in its execution, which does not name that: "" for its own function."""
        return self._pass.promise_id.removeprefix(self._pass.run.promise_id)

    def patched(self, name: str) -> bool:
        """Whether this execution goes the new way of a change in the code: `if ctx.patched("fee"): … else: …`.

        True where nothing that is recorded went the old way, and from then on in each replay; False where it did. An
        execution keeps the answer that it got first. When none that got False is open any more, remove the old way and
        this question: records of those that got True go on without it (`durable replay check` says who needs it).
        """
        if not isinstance(name, str) or not 0 < len(name) <= PATCH_NAME_CHARS_MAX or "\0" in name:
            raise BadArguments(f"a patch has a name of 1 to {PATCH_NAME_CHARS_MAX} characters, not {name!r:.80}")
        return self._pass.patched(name, Leaf(self._pass, _nothing, NEVER, stoppable=True).perform)

    def uuid(self) -> UUID:
        """A random UUID (version 4) that a replay gets again."""
        return UUID(int=self.random.getrandbits(128), version=4)

    def options(
        self, *, name: str | None = None, timeout: float | timedelta | None = None, retry: Retry | None = None
    ) -> Context:
        """A context whose next operations carry these.

        name: what the record calls a step. timeout: seconds or timedelta that a step may take, each time it is tried;
        then it fails with TimeoutError. retry: how often a step that raised is tried again; a nested durable function
        takes none, its steps do.
        """
        if not isinstance(name, str | None) or not isinstance(retry, Retry | None):
            raise BadArguments(f"options(): name is text and retry a durable.Retry, not {name!r:.80} and {retry!r:.80}")
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
        return self._step("step", fn, args, kwargs)

    def _step(self, kind: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation[Any]:
        step = step_of(fn)
        name = self._name or step.name
        made = OperationKey(kind, name, digest(name, args, kwargs))
        retry = self._retry or step.retry
        if step.takes_context:
            if self._retry is not None and self._retry.max_retries:
                raise BadArguments(
                    f"{name} is a durable function: its steps are tried again, it is not, since it would go the same "
                    "way over its record. Give retry to the steps inside it"
                )
            perform = self._nested(step, name, args, kwargs)
        else:
            perform = Leaf(self._pass, self._leaf(step, args, kwargs), retry, stoppable=step.is_async).perform
        return self._begin(
            made, perform, lambda value: from_json(value, step.returns, f"step {name}"), nested=step.takes_context
        )

    def _leaf(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Body:
        run, threads, limit = self._pass.run, self._threads, self._timeout

        async def call() -> Any:
            if step.is_async:
                return await step.fn(*args, **kwargs)
            value = await threads.run(lambda: step.fn(*args, **kwargs))
            return await value if inspect.isawaitable(value) else value  # `lambda: fetch(url)`, a partial

        async def body(promise_id: str) -> Any:
            given = Arguments(args, kwargs)
            try:
                if limit is not None:
                    value = await _limited(step.name, limit, call)
                elif step.is_async:
                    value = await step.fn(*args, **kwargs)
                else:
                    value = await call()
                changed = given.changed()
                if changed:
                    run.tell(ArgumentsChanged(run.execution_id, step.name, changed))
                return encode(value, f"the result of step {step.name}", step.returns)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and run.closing():
                    raise
                raise rejection(error, promise_id.removeprefix(ids.PREFIX)) from None

        return body

    def _inside(self, function_pass: FunctionPass) -> Context:
        """The context of a function that this one runs: of the same class, unless that is about something else."""
        return type(self)(function_pass, self._threads, self._cells)

    def _nested(self, step: Step, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Perform:
        outer, limit = self._pass, self._timeout
        cleans_up = outer.cleans_up

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            run = outer.run
            record = known or await outer.create(found, outer.local(found, limit))
            if record.state != "pending":
                return record
            nested = FunctionPass(
                run,
                found.promise_id,
                name,
                timeout_at=record.timeout_at,
                created_at=record.created_at,
                caller=None if known is None else outer,  # a replay of it, which the caller waits for
                cleans_up=cleans_up,
            )
            outer.inner.add(nested)
            run.step_begun(found.promise_id, name, nested=True)
            if outer.ended:
                nested.leave_off()
            context = self._inside(nested)

            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            body = partial(perform_body, context, step.fn, args, kwargs, name, step.returns)
            nested.start(body, outcome.set_result)
            if limit is not None:
                outer.wait_for(found, found.promise_id)  # its deadline ends it, whatever it waits for itself
            run.ended()  # what is under way from here on are the operations inside
            try:
                result = await outcome
            except asyncio.CancelledError:
                run.began()
                raise
            finally:
                outer.inner.discard(nested)
                nested.dispose()
            if result is LEFT:
                return record
            outer.wait_for(found, "")
            record = await run.recorder.settle(found.promise_id, result)
            run.step_recorded(found.promise_id, name, record.state)
            return record

        return perform

    # -- undoing ------------------------------------------------------------------------------------------------

    @overload
    def compensate[**P](self, fn: Function[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    def compensate[**P](self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    def compensate(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Say what undoes what this function has done: it is called when the function fails or is cancelled.

        All that were said are called then in reverse, each as a step, or as a nested durable function; they are not
        when the function returns. One that fails is tried again COMPENSATION_RETRY or as `ctx.options(retry=…)` says;
        with its last retry the execution is halted, so that somebody sees it, and `resume` goes on there.
        """
        self._pass.check()
        step = step_of(fn)
        context = self.options(name=self._name or step.name, timeout=self._timeout)
        context._retry = self._retry or (None if step.takes_context else step.retry)
        if context._retry is None or context._retry == NEVER:
            context._retry = None if step.takes_context else COMPENSATION_RETRY
        self._pass.compensations.append(lambda: context._step("compensation", fn, args, kwargs))

    async def undo(self, error: BaseException) -> None:
        """Call the compensations, the newest first. What of them fails for good is noted on the function's error."""
        while self._pass.compensations:
            operation = self._pass.compensations.pop()()
            try:
                await operation
            except Exception as failure:
                add_note(error, f"its compensation {operation.promise_id.removeprefix(ids.PREFIX)} failed: {failure}")

    # -- being found ----------------------------------------------------------------------------------------------

    def tag(self, **tags: str | None) -> Operation[None]:
        """Give the execution tags that it is found by: `engine.executions(tag=…)`, `durable list --where`. None takes
        one off. It has those of `engine.start(tags=…)`; a nested function tags the execution that it is in."""
        run = self._pass.run
        run.require("tags")

        async def body(_promise_id: str) -> None:
            try:
                await run.ask("execution.tag", {"id": run.promise_id, "tags": tags})
            except StoreRefused as refused:
                raise rejection(BadArguments(refused.message), run.execution_id) from None

        perform = Leaf(self._pass, body, NEVER, stoppable=True).perform
        return self._begin(OperationKey("tag", "tag", digest(tags)), perform, lambda _: None)

    # -- telling ------------------------------------------------------------------------------------------------

    def log(self, message: object, *args: object, level: int = logging.INFO) -> None:
        """Tell what the function does, once: a replay does not say it again.

        message, args, level: as for a logger of `logging`. It goes to the logger `durable.function`, and as the event
        `durable.Logged` to the engine's observer. A line may come twice when the engine died just after it.
        """
        self._pass.log(level, str(message) % args if args else str(message))

    # -- time ---------------------------------------------------------------------------------------------------

    def sleep(self, duration: float | timedelta) -> Operation[None]:
        """Sleep durably, for days if need be, holding nothing. `duration` in seconds or a timedelta."""
        length = seconds(duration)
        if length is None:
            raise BadArguments("a sleep has an end: seconds or a timedelta, not None")
        made = OperationKey("sleep", "sleep", digest(length))
        return self._begin(made, self._pass.sleeping(length), lambda _: None)

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
        given = code_to_json(code, inputs)
        cell = self._cells.cell(code, session, given)
        limit = self._timeout if timeout is None else seconds(timeout)
        made = OperationKey("execute", session, digest(code, session, given))
        function_pass = self._pass
        data = {"func": "durable_execute", "args": [cell], "kwargs": {}, "version": 1}

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            if known is not None:
                return known
            found.tags |= function_pass.run.traced() | tool_tags()
            return await function_pass.create(found, function_pass.remote(found, timeout=limit, data=data, task=True))

        operation = self._begin(made, perform, Result.from_record, self._cells.cell_tags(session))
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
        modules: Mapping[str, str | bytes] | None = None,
        args: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        directories: Directories | None = None,
    ) -> Operation[Ran]:
        """Run foreign code as `engine.sandbox.run` does, once: what it gave is recorded.

        What it asks for is recorded call by call; killed, it runs again and gets the recorded answers. Its value has
        to be JSON; what JSON has not has the forms of specs/sandbox.md. identity: whose `kv` and files
        it has; without one they are this run's alone. Raises ExecutionError for whatever it came to instead, which also
        is the SandboxError that it was.
        """
        given = sandbox_step.given(inputs or {}, "the inputs")
        asked, argv = sorted(grants), list(args)
        more: list[Any] = [each for each in (function, identity, modules) if each]
        if argv or env or directories:
            more.append({"args": argv, "env": env, "directories": sorted(directories or ())})
        made = OperationKey("sandbox", language, digest(code, language, given, asked, *more))

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
                args=argv,
                env=env,
                directories=directories,
            )
            return to_json(asdict(replace(ran, value=plain(ran.value))), "what the sandbox gave")

        return self._begin(made, sandbox_step.performing(self._pass, perform, self._ends), _ran)

    def component(self, component: str, function: str, *args: Any, instance: str = "") -> Operation[Any]:
        """Call an export of a component that this engine knows (`engine.sandbox.add`), once: its value is recorded.

        What it asks for is recorded call by call; killed, it runs again and gets the recorded answers. Arguments and
        value have to be JSON. instance: a core module's state lives on from call to call under this name, within this
        durable function; one task makes its calls, one runs at a time. Raises ExecutionError for whatever it came to
        instead, as `sandbox` does.
        """
        called = f"{component}.{function}"
        if not instance:
            made = OperationKey("component", called, digest(component, function, args))

            async def perform(execution: str) -> Any:
                await self._cells.sandbox.added(component)
                found = await self._cells.sandbox.call(component, function, *args, execution=execution)
                return to_json(plain(found.value), f"the value of {called}")

            return self._begin(made, sandbox_step.performing(self._pass, perform, self._ends), lambda value: value)
        self._instances.check(component, instance)
        made = OperationKey("component", called, digest(component, function, args, instance))

        async def stateful(execution: str, kept: sandbox_step.Kept | None) -> Any:
            await self._cells.sandbox.added(component)
            found, state = await self._cells.sandbox.call_instance(
                component, function, *args, execution=execution, instance=instance, kept=kept
            )
            return to_json(sandbox_step.with_state(plain(found.value), state), f"the value and the state of {called}")

        call = self._instances.next(component, instance, stateful)
        operation: Operation[Any] = self._begin(made, call.perform, lambda value: value["value"], begun=call.begun)
        return operation

    # -- actors ---------------------------------------------------------------------------------------------------

    def actor(self, cls: type, key: str) -> Any:
        """An actor of a class and a key: `await ctx.actor(Cart, "ana").add("book")` is a request, recorded once.

        Its `tell` sends a message that is not waited for. Raises ActorStopped and what its method raised, on await.
        """
        activation = self._pass.run.activation
        return self._cells.actors.inside(self, cls, key, [] if activation is None else activation.chain)

    # -- people -------------------------------------------------------------------------------------------------

    def _ask(self, question: Asked) -> Operation[Any]:
        record = question.prompt.record()
        to_json(record, "the question")
        made = OperationKey("input", "input", digest(record))
        function_pass = self._pass

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            if known is not None:
                return known
            found.tags |= function_pass.run.traced()
            return await function_pass.create(found, function_pass.remote(found, timeout=question.timeout, data=record))

        tags = {
            "durable:capability": "input",
            "durable:execution": self._pass.run.promise_id,
            "durable:scope": self.id,
        }
        return until_valid(self._begin(made, perform, question.value, tags), question, self._ask)

    # -- the common part --------------------------------------------------------------------------------------

    def _begin[T](
        self,
        made: OperationKey,
        perform: Perform,
        shape: Callable[[Any], T],
        tags: dict[str, str] | None = None,
        *,
        nested: bool = False,
        begun: Callable[[UnderWay], None] | None = None,
    ) -> Operation[T]:
        operation = Operation(self._pass, shape)
        found = self._pass.begin(made, perform, operation.deliver, tags or {}, nested=nested)
        operation.begun(found, self._pass.failures)
        if begun is not None:
            begun(found)
        return operation

    def _enter(
        self,
        operation: Operation[Any],
        made: OperationKey,
        perform: Perform,
        deliver: Callable[[PromiseRecord], None],
        tags: dict[str, str],
    ) -> UnderWay:
        found = self._pass.begin(made, perform, deliver, tags)
        operation.begun(found, self._pass.failures)
        return found


async def _nothing(_promise_id: str) -> None:
    """A patch records that it is there."""


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


async def _limited(name: str, limit: float, call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        async with asyncio.timeout(limit) as scope:
            return await call()
    except TimeoutError as error:
        if scope.expired():
            raise TimeoutError(f"step {name} took longer than {limit:g} s") from error
        raise


def _unchecked(operation: Operation[Result]) -> Operation[Result]:
    async def look(inner: Operation[Result]) -> Result:
        try:
            return await inner
        except ExecutionError as error:
            return Result.failed(inner.promise_id.removeprefix(ids.PREFIX), error)

    return Derived(operation, look)


def _ran(value: dict[str, Any]) -> Ran:
    """The recorded result of foreign code."""
    from capabilities.sandbox.front import Ran

    return Ran(**value)


__all__ = ["NEVER", "Context"]
