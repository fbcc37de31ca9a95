"""`engine.enqueue` and `engine.queues`: executions that begin when their queue lets them (specs/queues.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.core.limits import QUEUE_KEY_CHARS_MAX, QUEUE_LOOK_S, QUEUE_PRIORITY_MAX
from durable.functions.definition import seconds
from durable.queues.queue import Queue, QueueLimits, check_queue_name
from durable.store.rows import QueueKeyRow, QueueRow

if TYPE_CHECKING:
    from durable.store.port import StoreFace

type Debounce = float | timedelta | tuple[float | timedelta, float | timedelta]
"""How long nobody must call again before an execution begins, and how long it may be put off at most."""


type _KeyRows = list[QueueKeyRow]


class GivenLimits(TypedDict, total=False):
    """Limits of a queue by name; None for none."""

    concurrency: int | None
    per_engine: int | None
    per_key: int | None
    rate: tuple[int, float] | None


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an execution in a queue, as `engine.enqueue` takes it, checked. BadArguments."""

    key: str = ""
    priority: int = 0
    delay: float | timedelta | None = None
    dedupe: str | None = None
    debounce: Debounce | None = None

    def __post_init__(self) -> None:
        for name, text in (("key", self.key), ("dedupe", self.dedupe or "")):
            if not isinstance(text, str) or len(text) > QUEUE_KEY_CHARS_MAX:
                raise BadArguments(f"{name} is text of at most {QUEUE_KEY_CHARS_MAX} characters, not {text!r}")
        if type(self.priority) is not int or abs(self.priority) > QUEUE_PRIORITY_MAX:
            raise BadArguments(
                f"priority is a whole number from -{QUEUE_PRIORITY_MAX} to {QUEUE_PRIORITY_MAX}, not {self.priority!r}"
            )
        if self.debounce is not None and self.dedupe is None:
            raise BadArguments("debounce= needs dedupe=, which says what calls are taken for one")

    def request(self) -> dict[str, Any]:
        """The fields of the store's request."""
        found: dict[str, Any] = {"key": self.key, "priority": self.priority, "delay_ms": _ms(self.delay)}
        if self.dedupe is not None:
            found["dedupe"] = self.dedupe
        if isinstance(self.debounce, tuple):
            if len(self.debounce) != 2:
                raise BadArguments(f"debounce is seconds, or (seconds, at most), not {self.debounce!r}")
            found |= {"debounce_ms": max(1, _ms(self.debounce[0])), "debounce_max_ms": max(1, _ms(self.debounce[1]))}
        elif self.debounce is not None:
            found["debounce_ms"] = max(1, _ms(self.debounce))
        return found

    def tags(self, queue: str) -> dict[str, str]:
        """The tags of the execution's promise."""
        from durable.store.operations.queue_entries import KEY, PRIORITY, QUEUE

        found = {QUEUE: queue}
        if self.key:
            found[KEY] = self.key
        if self.priority:
            found[PRIORITY] = str(self.priority)
        return found


def _ms(given: float | timedelta | None) -> int:
    found = seconds(given)
    if found is None:
        return 0
    return round(found * 1000)


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

    async def declare(self, queue: Queue) -> None:
        """Record the limits that code declares, once in this engine. They take the place of what `set` said only where
        they are others than code declared before."""
        if self._declared.get(queue.name) != queue.limits:
            await self._store.request("queue.declare", {"queue": queue.name, "limits": wire_limits(queue.limits)})
            self._declared[queue.name] = queue.limits

    async def _turn(self, queue: Queue | str, event: Literal["pause", "resume", "drain"]) -> QueueRow:
        name = name_of(queue)
        try:
            await self._store.request("queue.turn", {"queue": name, "event": event})
        except StoreRefused as refused:
            raise queue_error(refused, name) from None
        return await self.get(name)


def name_of(queue: Queue | str) -> str:
    """The name of a queue. BadArguments."""
    return queue.name if isinstance(queue, Queue) else check_queue_name(queue)


def wire_limits(limits: QueueLimits) -> dict[str, Any]:
    """Limits as the store takes them: the rate's time in milliseconds."""
    rate = None if limits.rate is None else [limits.rate[0], limits.rate_ms]
    return {**limits.to_json(), "rate": rate}


def queue_error(refused: StoreRefused, queue: str) -> Exception:
    """The refusal of the store, as an error of ours."""
    if refused.status == 404:
        return NotFound("queue", queue, "give `enqueue` a durable.Queue, or make it with `durable queue set`")
    if refused.status == 409:
        return Conflict(refused.message)
    return BadArguments(refused.message) if refused.status == 400 else refused


def enqueue_request(queue: str, place: Place, promise: Mapping[str, Any]) -> dict[str, Any]:
    """The store's request for an execution whose promise is `promise`."""
    return {"queue": queue, "promise": promise, **place.request()}
