"""`engine.enqueue` and `engine.queues`: executions that begin when their queue lets them (specs/queues.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from durable.core.durations import seconds
from durable.core.errors import NotFound, StoreRefused
from durable.core.limits import QUEUE_LOOK_S
from durable.queues.queue import Queue, QueueLimits
from durable.queues.queue_place import name_of, queue_error, wire_limits
from durable.store.rows import QueueKeyRow, QueueRow

if TYPE_CHECKING:
    from durable.store.port import StoreFace

type _KeyRows = list[QueueKeyRow]


class GivenLimits(TypedDict, total=False):
    """Limits of a queue by name; None for none."""

    concurrency: int | None
    per_engine: int | None
    per_key: int | None
    rate: tuple[int, float] | None


class Queues:
    """The queues of the store: listed, changed, paused, drained. `engine.queues`."""

    def __init__(self, store: StoreFace, changed: Callable[[], asyncio.Future[None]]) -> None:
        self._store = store
        self._changed = changed
        self._declared: dict[str, QueueLimits] = {}

    async def list(self) -> list[QueueRow]:
        """All queues, by name, with how many executions wait and run and since when the oldest waits."""
        return await self._store.reads.queues()

    async def get(self, queue: Queue | str) -> QueueRow:
        """One queue. NotFound."""
        name = name_of(queue)
        found = next((row for row in await self.list() if row.name == name), None)
        if found is None:
            raise NotFound("queue", name, "`durable queue list` shows what there is")
        return found

    async def keys(self, queue: Queue | str, *, limit: int = 100, after: str | None = None) -> _KeyRows:
        """The keys of a queue with executions that wait or run, by name. after: the last one of the page before."""
        return await self._store.reads.queue_keys(name_of(queue), limit=limit, after=after)

    async def set(self, queue: Queue | str, **limits: Unpack[GivenLimits]) -> QueueRow:
        """Change limits, while executions wait and run: concurrency, per_engine, per_key, rate; None for no limit.

        The queue is made where it is not there. What has begun goes on. The limits hold until they are set again, or
        code declares other ones than it did before. BadArguments.
        """
        request = {"queue": name_of(queue), "limits": wire_limits(QueueLimits.of(limits)), "changes": sorted(limits)}
        await self._store.request("queue.set", request)
        return await self.get(queue)

    async def pause(self, queue: Queue | str) -> QueueRow:
        """Let nothing of it begin. What runs goes on, and executions can be enqueued. NotFound."""
        return await self._turn(queue, "pause")

    async def resume(self, queue: Queue | str) -> QueueRow:
        """Let executions of it begin, and take new ones. NotFound."""
        return await self._turn(queue, "resume")

    async def drain(self, queue: Queue | str, timeout: float | timedelta | None = None) -> bool:
        """Take nothing new, and return when all that is in it has ended; False when `timeout` passes first. NotFound.

        Until `resume`, `enqueue` raises Conflict.
        """
        limit = seconds(timeout)
        loop = asyncio.get_running_loop()
        ends = None if limit is None else loop.time() + limit
        await self._turn(queue, "drain")
        while True:
            changed = self._changed()
            row = await self.get(queue)
            if not row.delayed and not row.waiting and not row.running:
                return True
            left = QUEUE_LOOK_S if ends is None else min(QUEUE_LOOK_S, ends - loop.time())
            if left <= 0:
                return False
            await asyncio.wait([changed], timeout=left)

    async def delete(self, queue: Queue | str) -> None:
        """Forget a queue with its limits. NotFound; Conflict while an execution of it has not ended: drain it first."""
        name = name_of(queue)
        try:
            await self._store.request("queue.delete", {"queue": name})
        except StoreRefused as refused:
            raise queue_error(refused, name) from None
        self._declared.pop(name, None)

    async def declare(self, queue: Queue, *, anew: bool = False) -> None:
        """Record the limits that code declares, once in this engine, or `anew`. They take the place of what `set` said
        only where they are others than code declared before."""
        if anew or self._declared.get(queue.name) != queue.limits:
            await self._store.request("queue.declare", {"queue": queue.name, "limits": wire_limits(queue.limits)})
            self._declared[queue.name] = queue.limits

    async def _turn(self, queue: Queue | str, event: Literal["pause", "resume", "drain"]) -> QueueRow:
        name = name_of(queue)
        try:
            await self._store.request("queue.turn", {"queue": name, "event": event})
        except StoreRefused as refused:
            raise queue_error(refused, name) from None
        return await self.get(name)
