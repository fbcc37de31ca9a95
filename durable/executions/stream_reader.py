"""Readers of what executions write: streams from an offset on, published values (specs/streams.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from durable.core import ids
from durable.core.errors import NotFound, not_found
from durable.core.value_codec import opened
from durable.store.changes import StoreChange
from durable.store.port import StoreFace
from durable.store.rows import PublishedRow, StreamRow

PAGE_ROWS_MAX = 1_000
"""Writes that one look reads."""


@dataclass(frozen=True, slots=True)
class StreamItem:
    """An item of a stream. A reader that was interrupted goes on at `offset + 1`.

    step, position: of an item that a step wrote, the step's id and the number of the item in it. A step that runs
    again after a kill or a failure, and writes other things than before, writes at a position that it had written
    before: what a reader has of that step from this position on is void, and has left the stream.
    """

    offset: int
    value: Any
    written_at: datetime
    step: str | None = None
    position: int | None = None

    @classmethod
    def of(cls, row: StreamRow) -> StreamItem:
        """From the store's row."""
        step = None if row.step is None else row.step.removeprefix(ids.PREFIX)
        written_at = datetime.fromtimestamp(row.written_at / 1000, UTC)
        return cls(row.offset, opened(row.value), written_at, step, row.position)

    def to_json(self) -> dict[str, Any]:
        """Its fields, the time as text."""
        written_at = self.written_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {**asdict(self), "written_at": written_at}


class _News:
    """Done when an execution may have written something: asked for before a look, so that nothing falls between."""

    def __init__(self, promise_id: str) -> None:
        self._promise_id = promise_id
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next(self) -> asyncio.Future[None]:
        if self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def hear(self, change: StoreChange) -> None:
        if (change.foreign or self._promise_id in change.streams) and not self._next.done():
            self._next.set_result(None)


@contextmanager
def _listening(store: StoreFace, promise_id: str) -> Iterator[_News]:
    news = _News(promise_id)
    unwatch: Callable[[], None] = store.watch(news.hear)
    try:
        yield news
    finally:
        unwatch()


async def read_stream(
    store: StoreFace, execution_id: str, name: str, offset: int = 0, *, wait_through_halts: bool = False
) -> AsyncGenerator[StreamItem]:
    """The items of a stream from an offset on, until the execution has ended and all are read.

    NotFound; Halted as soon as it is held up, after what it wrote until then.
    """
    promise_id = ids.execution_promise(execution_id)
    settled = asyncio.ensure_future(store.settled(promise_id, halts=not wait_through_halts))
    try:
        with _listening(store, promise_id) as news:
            while True:
                changed, done = news.next(), settled.done()
                async for item in stored_items(store, execution_id, name, offset):
                    offset = item.offset + 1
                    yield item
                if done:
                    with not_found("execution", execution_id):
                        await settled
                    return
                both: set[asyncio.Future[Any]] = {settled, changed}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        settled.cancel()


async def wait_for_item(store: StoreFace, execution_id: str, name: str, offset: int, wait_s: float) -> None:
    """Until an item is there at an offset, the execution ends, or the time is over."""
    reader = read_stream(store, execution_id, name, offset, wait_through_halts=True)
    try:
        async with asyncio.timeout(wait_s):
            await anext(reader, None)
    except TimeoutError:
        pass
    finally:
        await reader.aclose()


async def stored_items(store: StoreFace, execution_id: str, name: str, offset: int = 0) -> AsyncGenerator[StreamItem]:
    """The items of a stream from an offset on that are there now."""
    while True:
        page = await store.reads.stream(execution_id, name, offset, limit=PAGE_ROWS_MAX)
        for row in page.items:
            yield StreamItem.of(row)
        if page.next_offset == offset:
            return
        offset = page.next_offset


async def read_published(
    store: StoreFace, execution_id: str, key: str, *, wait: bool = False, timeout: float | None = None
) -> Any:
    """The newest value of a key; with `wait`, as soon as there is one. timeout: s.

    NotFound where there is none, or the execution ends without one; Halted; TimeoutError.
    """
    promise_id = ids.execution_promise(execution_id)
    if not wait:
        found = await store.reads.published(execution_id, key)
        if found:
            return opened(found[0].value)
        raise NotFound("published value", f"{key} of {execution_id}")
    settled = asyncio.ensure_future(store.settled(promise_id, halts=True))
    try:
        with _listening(store, promise_id) as news:
            async with asyncio.timeout(timeout):
                while True:
                    changed, done = news.next(), settled.done()
                    found = await store.reads.published(execution_id, key)
                    if found:
                        return opened(found[0].value)
                    if done:
                        with not_found("execution", execution_id):
                            await settled
                        raise NotFound("published value", f"{key} of {execution_id}", "it has ended without one")
                    both: set[asyncio.Future[Any]] = {settled, changed}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        settled.cancel()


async def list_published(store: StoreFace, execution_id: str) -> list[PublishedRow]:
    """The newest value of each key. NotFound."""
    found = await store.reads.published(execution_id)
    if not found and await store.reads.get_execution(execution_id) is None:
        raise NotFound("execution", execution_id)
    return [replace(row, value=opened(row.value)) for row in found]
