"""The operations of `ctx.run`, `ctx.ask`, `ctx.execute` and `ctx.sleep`: begun at the call, awaited whenever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from resonate.types import PromiseRecord

from durable.core.errors import KeyUnavailable, ValueDamaged
from durable.functions.failures import rebuild
from durable.functions.replay.failure_origin import FailureLog
from durable.functions.replay.function_loop import PassEnded
from durable.records.codec import decode

if TYPE_CHECKING:
    from durable.functions.replay.function_pass import FunctionPass, UnderWay


class Operation[T](Coroutine[Any, Any, T]):
    """A durable operation under way. Await it, pass it to gather, or to TaskGroup.create_task.

    It begins when it is made, so order of calls is order in the record. Cancelling the await leaves the operation to
    finish and be recorded.
    """

    promise_id = ""
    _hashed = 0
    _ordinal = 0
    _failures: FailureLog | None = None

    def __init__(self, function_pass: FunctionPass, shape: Callable[[Any], T]) -> None:
        self._function_pass: FunctionPass | None = function_pass
        self._shape = shape
        self._record: PromiseRecord | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._waiting: Coroutine[Any, Any, T] | None = None

    def begun(self, found: UnderWay, failures: FailureLog) -> None:
        """Note its place in the record of its function, which has these failures."""
        self.promise_id, self._ordinal, self._failures = found.promise_id, found.ordinal, failures

    def deliver(self, record: PromiseRecord) -> None:
        """Give the outcome to whoever awaits it, in the order in which they began to."""
        self._record = record
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __hash__(self) -> int:
        if not self._hashed:
            function_pass = self._function_pass
            self._hashed = object.__hash__(self) if function_pass is None else function_pass.loop.next_hash()
        return self._hashed

    async def _wait(self) -> T:
        if self._record is None:
            if self._function_pass is None:
                raise PassEnded
            self._function_pass.check()
            waiter = asyncio.Future[None](loop=self._function_pass.loop)  # nobody sees it, so it needs no hash of ours
            self._waiters.append(waiter)
            await waiter
        record = self._record
        assert record is not None, "a waiter is woken by a delivery"
        try:
            value = decode(record)
        except (KeyUnavailable, ValueDamaged) as error:  # nothing of it is known, so the function can be told neither
            assert self._function_pass is not None
            self._function_pass.run.halt(error)
            raise PassEnded from None
        if record.state == "resolved":
            return self._shape(value)
        failure = rebuild(record.state, value, self.promise_id.removeprefix("exec:"))
        raise failure if self._failures is None else self._failures.raises(self._ordinal, failure) from None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait().__await__()

    # The three methods of a coroutine, so that TaskGroup.create_task takes an operation as it is.

    def send(self, value: Any) -> Any:
        if self._waiting is None:
            self._waiting = self._wait()
        return self._waiting.send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:
        if self._waiting is None:
            self._waiting = self._wait()
        return self._waiting.throw(typ) if val is None and tb is None else self._waiting.throw(typ, val, tb)

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
        if self._record is None:
            self._function_pass = None  # a task that is left may hold this for long
            self._waiters.clear()


class Derived[T](Operation[T]):
    """An operation whose outcome is looked at once more."""

    def __init__(self, inner: Operation[T], look: Callable[[Operation[T]], Awaitable[T]]) -> None:
        assert inner._function_pass is not None
        super().__init__(inner._function_pass, inner._shape)
        self.promise_id = inner.promise_id
        self._inner = inner
        self._look = look

    async def _wait(self) -> T:
        return await self._look(self._inner)

    def close(self) -> None:
        super().close()
        self._inner.close()
        self._look = _over


async def _over(_operation: Operation[Any]) -> Any:
    """End a closed operation."""
    raise PassEnded
