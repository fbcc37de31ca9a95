"""What `ctx.run`, `ctx.ask`, `ctx.execute` and `ctx.sleep` return: begun at the call, awaited whenever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from durable.functions import sdk
from durable.functions.failure import rebuild
from durable.functions.run import Run
from durable.functions.sdk import Suspended


class Operation[T](Coroutine[Any, Any, T]):
    """A durable operation under way. Await it, pass it to gather, or to TaskGroup.create_task.

    It begins when it is made, so order of calls is order in the record. Cancelling the await leaves the operation to
    finish and be recorded.
    """

    def __init__(self, run: Run, promise_id: str, task: asyncio.Task[Any], decode: Callable[[Any], T]) -> None:
        self.promise_id = promise_id
        self._run = run
        self._task = task
        self._decode = decode
        self._waiting: Coroutine[Any, Any, T] | None = None

    async def _wait(self) -> T:
        try:
            value = await asyncio.shield(self._task)
        except Suspended:
            await self._run.quiesce()
            self._run.suspended = True
            raise
        except sdk.ResonateError as error:
            record = self._run.records.get(self.promise_id)
            if record is None or record.state == "pending":
                raise
            message = {"message": error.message} if isinstance(error, sdk.ApplicationError) else None
            data = record.value.data if record.value.data is not None else message
            raise rebuild(record.state, data, self.promise_id.removeprefix("exec:")) from None
        return self._decode(value)

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


class Derived[T](Operation[T]):
    """An operation whose outcome is looked at once more."""

    def __init__(self, inner: Operation[T], look: Callable[[Operation[T]], Awaitable[T]]) -> None:
        super().__init__(inner._run, inner.promise_id, inner._task, inner._decode)
        self._inner = inner
        self._look = look

    async def _wait(self) -> T:
        return await self._look(self._inner)
