"""A handle on one execution: its result, its state, cancelling it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.core.errors import NotFound, Waiting, not_found
from durable.core.limits import CANCEL_GRACE_S
from durable.core.value_codec import opened
from durable.functions.failures import rebuild
from durable.records.values import from_json
from durable.store.rows import ExecutionRow

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.executions.stream_reader import StreamItem


class Execution[T]:
    """One execution, running here or elsewhere. It outlives this object and this process."""

    def __init__(self, engine: Engine, id: str, returns: Any = inspect.Parameter.empty) -> None:
        self.id = id
        self.promise_id = f"exec:{id}"
        self._engine = engine
        self._returns = returns

    async def result(self, timeout: float | None = None, *, wait_through_halts: bool = False) -> T:
        """The value, shaped to the function's return annotation.

        Raises ExecutionError (or its subclasses for lost, cancelled, timed out) when it failed, Halted as soon as it,
        or what it waits for, is halted, TimeoutError when `timeout` seconds pass first (the execution goes on),
        EngineClosed when the engine is closed meanwhile. wait_through_halts: wait on until somebody resumes it and it
        ends.
        """
        settled = self._engine.store.settled(self.promise_id, halts=not wait_through_halts, patient=False)
        with not_found("execution", self.id):
            async with asyncio.timeout(timeout):
                row = await settled
        value = opened(row.value)
        if row.state == "resolved":
            shaped: T = from_json(value, self._returns, f"the result of {self.id}")
            return shaped
        raise rebuild(row.state, value, self.id)

    async def result_or_wait(self) -> T:
        """The value, or Waiting as soon as the execution waits for people: for callers that must not hang. Halted."""
        settled = asyncio.ensure_future(self.result())
        try:
            while not settled.done():
                # Taken before the look, so that nothing falls between.
                both: set[asyncio.Future[Any]] = {settled, self._engine.changed()}
                prompts = await self._engine.blocking_prompts(self.id)
                if prompts is not None:
                    raise Waiting(self.id, prompts)
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return await settled
        finally:
            settled.cancel()

    async def info(self) -> ExecutionRow:
        """The store's row: state, function, attempts, last error. NotFound when there is no such execution."""
        row = await self._engine.store.reads.get_execution(self.id)
        if row is None:
            raise NotFound("execution", self.id)
        return row

    async def state(self) -> str:
        """pending, running, waiting, interrupted, completed, failed, lost, cancelled or timed_out."""
        return (await self.info()).state

    async def cancel(self, reason: str = "", *, grace: float | timedelta = CANCEL_GRACE_S) -> bool:
        """End it for good, and return when it has ended: its promise is rejected_canceled.

        grace: seconds or timedelta that a durable function has for its clean-up (`Engine.cancel`). False when it was
        settled before.
        """
        return await self._engine.cancel(self.id, reason, grace=grace)

    async def signal(self, name: str, value: Any = None, *, key: str | None = None) -> bool:
        """Send it a signal, which it gets by `ctx.signal(name)` (`Engine.signal`)."""
        return await self._engine.signal(self.id, name, value, key=key)

    def stream(self, name: str, offset: int = 0, *, wait_through_halts: bool = False) -> AsyncGenerator[StreamItem]:
        """The items that it writes to a stream, from an offset on, until it has ended (`Engine.stream`)."""
        return self._engine.stream(self.id, name, offset, wait_through_halts=wait_through_halts)

    async def published(self, key: str, *, wait: bool = False, timeout: float | timedelta | None = None) -> Any:
        """The newest value that it published under a key (`Engine.published`)."""
        return await self._engine.published(self.id, key, wait=wait, timeout=timeout)

    def __repr__(self) -> str:
        return f"<execution {self.id}>"
