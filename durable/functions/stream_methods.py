"""Writes of a function and its steps for others to read: streams by name, values by key (specs/streams.md)."""

from __future__ import annotations

import asyncio
import json
import uuid
from abc import ABC
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from resonate.types import PromiseCreateReq, PromiseRecord, Value

from durable.core import ids
from durable.core.errors import BadArguments, StepNeeded
from durable.core.limits import STREAM_NAME_CHARS_MAX
from durable.functions.operation import Operation
from durable.functions.replay.function_pass import FunctionPass, Perform, UnderWay
from durable.functions.replay.record import OperationKey
from durable.records.codec import decode, encode
from durable.records.values import digest, to_json
from durable.store.operations.signals import EXECUTION
from durable.store.protocol.stream_tags import ITEM, ITEMS, POSITION, PUBLISH, STEP, STREAM


class ItemStream:
    """A stream of the execution, by its name, for the function and for its steps to write to."""

    def __init__(self, function_pass: FunctionPass, name: str, enter: Callable[..., UnderWay]) -> None:
        self.name = name
        self._pass = function_pass
        self._enter = enter

    def write(self, *items: Any) -> Awaitable[int]:
        """Write items, as JSON: others read them as soon as they are recorded, each once. The first one's offset.

        In a function it is an operation: recorded once, awaited or not. In a step it is recorded when it is awaited,
        and when the step ends at the latest; a synchronous step waits for it here. NotEncodable, BadArguments.
        """
        step = step_writer.get()
        if step is not None:
            return step.write(self.name, items)
        values = _checked(self.name, items)
        tags = {STREAM: self.name, EXECUTION: self._pass.run.promise_id}
        if len(items) != 1:
            tags[ITEMS] = str(len(items))
        operation = Operation[int](self._pass, int)
        made = OperationKey("stream", self.name, digest(self.name, values))
        self._enter(operation, made, _writing(self._pass, {"items": values}), operation.deliver, tags)
        return operation

    def __repr__(self) -> str:
        return f"<stream {self.name!r} of {self._pass.run.execution_id}>"


class Publishing(ABC):
    """The operations of a context that others read."""

    _pass: FunctionPass

    _enter: Callable[..., UnderWay]

    def stream(self, name: str) -> ItemStream:
        """A stream of this execution: `await ctx.stream("tokens").write("a")`; others read it by `engine.stream`.

        A nested function writes to the streams of the execution that it is in.
        """
        self._pass.run.require("streams")
        return ItemStream(self._pass, _name(name, "stream"), self._enter)

    def publish(self, **values: Any) -> Operation[None]:
        """Publish values under keys, for others to read by `engine.published`: the newest of each key counts.

        NotEncodable, BadArguments.
        """
        self._pass.run.require("published values")
        if not values:
            raise BadArguments("publish(key=value) needs a key")
        keys = [_name(key, "key") for key in values]
        plain = to_json(values, "what is published")
        tags = {PUBLISH: json.dumps(keys), EXECUTION: self._pass.run.promise_id}
        operation = Operation[None](self._pass, lambda _: None)
        made = OperationKey("publish", ", ".join(keys), digest(plain))
        self._enter(operation, made, _writing(self._pass, plain), operation.deliver, tags)
        return operation


def _writing(function_pass: FunctionPass, data: Any) -> Perform:
    async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
        if known is not None:
            return known
        task = asyncio.current_task()
        assert task is not None
        function_pass.leaves.add(task)  # recorded before its function ends
        try:
            return await function_pass.create(found, _request(function_pass, found.promise_id, data, found.tags))
        finally:
            function_pass.leaves.discard(task)

    return perform


def _request(function_pass: FunctionPass, promise_id: str, data: Any, tags: dict[str, str]) -> PromiseCreateReq:
    place = {
        "resonate:scope": "local",
        "resonate:branch": promise_id,
        "resonate:parent": function_pass.promise_id,
        "resonate:origin": function_pass.run.origin,
    }
    return PromiseCreateReq(
        id=promise_id, timeout_at=function_pass.timeout_at, param=Value(data=encode(data)), tags=place | tags
    )


class StepWriter:
    """The writes of one run of a step.

    Their items are numbered for each stream. The store compares each write with what an earlier run wrote at its
    position (T4, T5).
    """

    def __init__(self, function_pass: FunctionPass, step: str) -> None:
        self._pass = function_pass
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._run = ""
        self._count = 0
        self._positions: dict[str, int] = {}
        self._tasks: set[asyncio.Task[int]] = set()
        self._over = False
        self._error: BaseException | None = None

    def write(self, name: str, items: tuple[Any, ...]) -> Awaitable[int]:
        """Record items behind those that this run wrote before; a thread waits here until they are."""
        if self._over:
            raise BadArguments(f"this run of the step {self._step.removeprefix(ids.PREFIX)} is over: it writes no more")
        values = _checked(name, items)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            return self._begin(name, values)
        written: Future[int] = asyncio.run_coroutine_threadsafe(self._await(name, values), self._loop)
        return asyncio.wrap_future(written) if running is not None else _Written(written.result())

    async def _await(self, name: str, values: list[Any]) -> int:
        return await self._begin(name, values)

    def _begin(self, name: str, values: list[Any]) -> asyncio.Task[int]:
        position = self._positions.get(name, 1)
        self._positions[name] = position + len(values)
        self._count += 1
        task = asyncio.Task(self._record(name, values, position, self._count), loop=self._loop, eager_start=True)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[int]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told at the step's end, awaited or not

    async def _record(self, name: str, values: list[Any], position: int, number: int) -> int:
        self._run = self._run or uuid.uuid4().hex[:12]
        run = self._pass.run
        tags = {
            "durable:kind": "stream",
            "durable:name": name,
            STREAM: name,
            EXECUTION: run.promise_id,
            STEP: self._step,
            POSITION: str(position),
            ITEM: digest(name, values),
        }
        if len(values) != 1:
            tags[ITEMS] = str(len(values))
        promise_id = f"{self._step}:stream:{self._run}-{number}"
        try:
            record = await run.recorder.create(_request(self._pass, promise_id, {"items": values}, tags))
        except BaseException as error:
            self._error = self._error or error
            raise
        return int(decode(record))

    async def end(self) -> None:
        """Wait until all is recorded. Raises what kept something from that: then the step has no result."""
        self._over = True
        if self._tasks:
            await asyncio.wait([*self._tasks])
        if self._error is not None:
            raise self._error


class _Written(Awaitable[int]):
    """A write that is recorded."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __await__(self) -> Generator[Any, Any, int]:
        return self._offset
        yield


step_writer: ContextVar[StepWriter | None] = ContextVar("durable_step_writer", default=None)
"""Set where a step is begun."""


class StepStream:
    """A stream of the execution that this step is of."""

    def __init__(self, name: str, writer: StepWriter) -> None:
        self.name = name
        self._writer = writer

    def write(self, *items: Any) -> Awaitable[int]:
        """Write items, as JSON. Await it in an asynchronous step; in a synchronous one they are recorded when it
        returns. NotEncodable, BadArguments."""
        return self._writer.write(self.name, items)


def stream(name: str) -> StepStream:
    """A stream to write to from a step, by its name: `await durable.stream("tokens").write("a")`.

    A function uses `ctx.stream(name)`. Raises StepNeeded outside a step.
    """
    writer = step_writer.get()
    if writer is None:
        raise StepNeeded("durable.stream(name) is for steps; a durable function writes by ctx.stream(name)")
    return StepStream(_name(name, "stream"), writer)


def _checked(name: str, items: tuple[Any, ...]) -> list[Any]:
    if not items:
        raise BadArguments("write() needs an item")
    values: list[Any] = to_json(list(items), f"an item of stream {name!r}")
    return values


def _name(name: str, what: str) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= STREAM_NAME_CHARS_MAX or "\0" in name:
        raise BadArguments(f"a {what} has a name of 1 to {STREAM_NAME_CHARS_MAX} characters, not {name!r:.80}")
    return name


__all__ = ["ItemStream", "Publishing", "StepStream", "stream"]
