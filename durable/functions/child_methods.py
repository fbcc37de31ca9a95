"""Child executions of a durable function: started, awaited, cancelled, mapped over (specs/children.md)."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from datetime import timedelta
from typing import Any, Literal

import msgspec
from resonate.types import PromiseCreateReq, PromiseRecord

from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.definition_id import SOURCE
from durable.core.errors import BadArguments, Conflict, StoreRefused
from durable.core.limits import CANCEL_GRACE_S
from durable.functions.definition import NEVER, Function, require_durable
from durable.functions.failures import rejection
from durable.functions.operation import Operation
from durable.functions.replay.function_pass import FunctionPass, Perform, UnderWay
from durable.functions.replay.record import OperationKey
from durable.functions.step_run import Leaf
from durable.queues.queue import Queue
from durable.queues.queue_place import Debounce, Place, enqueue_request, name_of, queue_error, wire_limits
from durable.records.set_order import in_order
from durable.records.values import digest, from_json, pack

type ParentClose = Literal["cancel", "detach"]

_CALL = ("durable:function", "durable:arguments")
"""Tags that say what an execution is a call of."""

MAPPED_MAX = 1_000
"""Items of `ctx.map` that are under way at a time where nothing else is said: enough for any engine, and bounded."""


class ChildExecution[T]:
    """A child execution, begun by `ctx.start`. Await it, or its `result()`, for its value."""

    def __init__(self, id: str, operation: Operation[T], cancels: Callable[[str, str], Operation[bool]]) -> None:
        self.id = id
        self._operation = operation
        self._cancels = cancels

    def result(self) -> Operation[T]:
        """Its value, shaped to its function's annotation. ExecutionError, or its subclasses for lost, cancelled, timed
        out; await it as often as you like."""
        return self._operation

    def __await__(self) -> Generator[Any, Any, T]:
        return self._operation.__await__()

    def cancel(self, reason: str = "") -> Operation[bool]:
        """Ask it to end: it cleans up, and its result is ExecutionCancelled. False when it had ended before."""
        return self._cancels(self.id, reason)

    def __repr__(self) -> str:
        return f"<child execution {self.id}>"


class Starting(ABC):
    """The operations of a context on executions of their own."""

    _pass: FunctionPass
    _timeout: float | None
    _name: str | None

    _enter: Callable[..., UnderWay]

    @abstractmethod
    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Operation[Any]:
        """Run a step."""

    def start[**P, T](
        self,
        fn: Function[P, T],
        /,
        *args: Any,
        id: str | None = None,
        parent_close: ParentClose = "cancel",
        **kwargs: Any,
    ) -> ChildExecution[T]:
        """Start an execution of its own, on whatever engine has room, once: a child. Await the child for its value.

        id: its name; `<this execution>@@<k>` when None. Where that exists with this function and these arguments, it is
        that one. parent_close: "cancel" cancels it, clean-up included, when this function ends or is cancelled without
        it; "detach" lets it go on. `ctx.options(timeout=…)` is its deadline. BadArguments.
        """
        require_durable(fn)
        if parent_close not in ("cancel", "detach"):
            raise BadArguments(f'parent_close is "cancel" or "detach", not {parent_close!r}')
        self._pass.run.require("child executions")
        packed, named, arguments = fn.pack(args, kwargs)
        given = None if id is None else ids.check_given_id(id)
        data = {"func": fn.key, "args": packed, "kwargs": named, "version": fn.version}
        tags = {"durable:function": fn.id, SOURCE: fn.source, "durable:arguments": arguments}
        if parent_close == "detach":
            tags["durable:detached"] = "true"
        name = self._name or fn.name

        def shape(value: Any) -> T:
            shaped: T = from_json(value, fn.returns, f"child {name}")
            return shaped

        operation = Operation(self._pass, shape)
        made = OperationKey("child", name, digest(fn.key, packed, named, given, parent_close))
        self._enter(operation, made, self._link(given, data, tags), operation.deliver, {})
        child = self._child_at(operation.promise_id, given)
        operation.promise_id = ids.PREFIX + child  # which its errors name
        return ChildExecution(child, operation, self._cancel)

    def enqueue(
        self,
        queue: Queue | str,
        fn: Function[..., Any],
        /,
        *args: Any,
        id: str | None = None,
        key: str = "",
        priority: int = 0,
        delay: float | timedelta | None = None,
        dedupe: str | None = None,
        debounce: Debounce | None = None,
        **kwargs: Any,
    ) -> Operation[str]:
        """Put an execution of its own into a queue, once: its id, which is another one's where `dedupe` says so.

        It is no child: it goes on when this function ends, and nobody waits for it; `start` begins one that is awaited.
        queue, key, priority, delay, dedupe, debounce: as for `engine.enqueue`. id: its name; `<this execution>@@<k>`
        when None. `ctx.options(timeout=…)` is its deadline. BadArguments; when it is awaited NotFound where there is no
        queue of that name, Conflict where that is drained or the id is another call's.
        """
        require_durable(fn)
        run, limit = self._pass.run, self._timeout
        run.require("queues")
        place, name = Place(key, priority, delay, dedupe, debounce), name_of(queue)
        packed, named, arguments = fn.pack(args, kwargs)
        given = None if id is None else ids.check_given_id(id)
        data = {"func": fn.key, "args": packed, "kwargs": named, "version": fn.version}
        tags = {"durable:function": fn.id, SOURCE: fn.source, "durable:arguments": arguments, **place.tags(name)}

        async def body(promise_id: str) -> str:
            root = ids.PREFIX + (given or self._child_of(promise_id))
            until = TIME_MAX_MS if limit is None else now_ms() + int(limit * 1000)
            own = {
                "resonate:scope": "global",
                "resonate:target": run.target,
                "resonate:origin": ids.ORIGIN,
                "resonate:branch": root,
                "resonate:parent": root,
                "durable:nonce": os.urandom(16).hex(),
            }
            promise = {"id": root, "timeoutAt": until, "param": {"data": pack(data)}, "tags": {**own, **tags}}
            try:
                if isinstance(queue, Queue):
                    await run.ask("queue.declare", {"queue": name, "limits": wire_limits(queue.limits)})
                found = (await run.ask("queue.enqueue", enqueue_request(name, place, promise)))["promise"]
            except StoreRefused as refused:
                raise rejection(queue_error(refused, name), promise_id.removeprefix(ids.PREFIX)) from None
            if found["id"] == root and any(found["tags"].get(each) != tags[each] for each in _CALL):
                text = f"execution {root.removeprefix(ids.PREFIX)!r} exists with another function or arguments"
                raise rejection(Conflict(text), promise_id.removeprefix(ids.PREFIX))
            return str(found["id"]).removeprefix(ids.PREFIX)

        operation = Operation(self._pass, str)
        asked = {name: value for name, value in place.request().items() if value}
        made = OperationKey("enqueue", self._name or fn.name, digest(name, fn.key, packed, named, given, asked))
        self._enter(operation, made, Leaf(self._pass, body, NEVER, stoppable=True).perform, operation.deliver, {})
        return operation

    def _child_of(self, link: str) -> str:
        """The execution id of a child that was given none: outside of what its parent's replay reads."""
        run = self._pass.run
        place = link.removeprefix(f"{run.promise_id}.").replace(".", "-")
        return f"{run.execution_id}@@{place}"

    def _child_at(self, link: str, given: str | None) -> str:
        """The execution id of the child that a link is to: the recorded one, the given one, or its own."""
        recorded = self._pass.recorded_tags(link).get("durable:child", "")
        return recorded.removeprefix(ids.PREFIX) or given or self._child_of(link)

    def _link(self, given: str | None, data: dict[str, Any], tags: dict[str, str]) -> Perform:
        function_pass, limit = self._pass, self._timeout

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            child = ids.PREFIX + self._child_at(found.promise_id, given)
            function_pass.run.knows_child(found.promise_id, child)
            if known is not None:
                return known
            until = TIME_MAX_MS if limit is None else now_ms() + int(limit * 1000)
            own = {"durable:child": child, "durable:target": function_pass.run.target}
            own |= {"durable:until": str(until), "durable:nonce": os.urandom(16).hex()}
            request: PromiseCreateReq = function_pass.remote(found, data=data)
            function_pass.run.follow_child(function_pass, found)
            return await function_pass.create(
                found, msgspec.structs.replace(request, tags={**request.tags, **tags, **own})
            )

        return perform

    def _cancel(self, child: str, reason: str) -> Operation[bool]:
        run = self._pass.run

        async def body(_promise_id: str) -> bool:
            wish = {"id": ids.PREFIX + child, "reason": reason, "grace_ms": int(CANCEL_GRACE_S * 1000)}
            try:
                return bool((await run.ask("execution.cancel", wish))["cancelled"])
            except StoreRefused as refused:
                if refused.status == 404:
                    return False  # it was forgotten since
                raise

        operation = Operation(self._pass, bool)
        made = OperationKey("cancel", "cancel", digest(child, reason))
        self._enter(operation, made, Leaf(self._pass, body, NEVER, stoppable=True).perform, operation.deliver, {})
        return operation

    async def map(
        self,
        fn: Callable[..., Any],
        items: Iterable[Any],
        *,
        concurrency: int = MAPPED_MAX,
        min_successful: int | None = None,
        on_failure: Literal["raise", "return"] = "raise",
    ) -> list[Any]:
        """Call `fn` with each item, at most `concurrency` at a time: the values in the order of the items.

        A durable function runs as a child execution for each item, anything else as a step. on_failure: "raise" raises
        the first failure and begins nothing more, children that run are cancelled; "return" puts the error in its
        place. min_successful: failures are put in their places as long as so many can succeed; else an ExceptionGroup
        of them is raised at once. The items of a set come in the order of their types and texts.
        """
        return await _Map(self, fn, in_order(items), concurrency, min_successful, on_failure).run()


class _Map:
    """One call of `ctx.map`."""

    def __init__(
        self, context: Starting, fn: Callable[..., Any], items: list[Any], concurrency: int,
        min_successful: int | None, on_failure: str,
    ) -> None:  # fmt: skip
        if concurrency < 1:
            raise BadArguments(f"concurrency is a whole number from 1, not {concurrency!r}")
        if on_failure not in ("raise", "return"):
            raise BadArguments(f'on_failure is "raise" or "return", not {on_failure!r}')
        if min_successful is not None and not 0 <= min_successful <= len(items):
            raise BadArguments(f"min_successful is from 0 to the number of items, {len(items)}, not {min_successful!r}")
        self._context = context
        self._fn = fn
        self._items = items
        self._concurrency = min(concurrency, len(items))
        self._tolerated = 0 if on_failure == "raise" else len(items)
        if min_successful is not None:
            self._tolerated = len(items) - min_successful
        self._alone = min_successful is None
        self._values: list[Any] = [None] * len(items)
        self._failures: list[Exception] = []
        self._failure: Exception | None = None
        """The failure that is too much: the first one, or all of them, which were too many."""
        self._next = iter(range(len(items)))
        self._children: dict[int, ChildExecution[Any]] = {}

    async def run(self) -> list[Any]:
        """All values, or the failure that is too much."""
        workers = [asyncio.create_task(self._work(), name=f"map {n}") for n in range(self._concurrency)]
        try:
            if workers:
                await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            if self._failure is not None:
                raise self._failure
            for worker in workers:
                await worker
        finally:
            for worker in workers:
                worker.cancel()
            if self._failure is not None:
                await asyncio.gather(*(child.cancel("its map has failed") for child in self._children.values()))
            await asyncio.gather(*workers, return_exceptions=True)
        return self._values

    async def _work(self) -> None:
        for n in self._next:
            if self._failure is not None:
                return
            try:
                self._values[n] = await self._call(n)
            except Exception as error:
                self._failures.append(error)
                self._values[n] = error
                if len(self._failures) > self._tolerated and self._failure is None:
                    self._fail(error)

    def _fail(self, error: Exception) -> None:
        least = len(self._items) - self._tolerated
        text = f"fewer than {least} of {len(self._items)} can succeed"
        self._failure = error if self._alone else ExceptionGroup(text, self._failures)
        raise self._failure

    async def _call(self, n: int) -> Any:
        if not isinstance(self._fn, Function):
            return await self._context.run(self._fn, self._items[n])
        child = self._children[n] = self._context.start(self._fn, self._items[n])
        try:
            return await child
        finally:
            del self._children[n]


__all__ = ["ChildExecution", "Starting"]
