"""`/executions/{id}/streams/{name}` and `/executions/{id}/published/{key}`: what executions write, over HTTP."""

from __future__ import annotations

from typing import Any

from durable.core import ids
from durable.core.errors import BadArguments, DurableError, Halted, NotFound
from durable.core.limits import HTTP_STREAM_ITEMS_MAX, HTTP_WAIT_S_MAX
from durable.executions.stream_reader import StreamItem, list_published, read_published, wait_for_item
from durable.http.prompt_api import error_answer
from durable.store.direct_store import DirectStore


class StreamApi:
    """Reads of streams and published values that wait for a while."""

    def __init__(self, store: DirectStore) -> None:
        self._store = store

    async def items(self, execution: str, name: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Items from `offset` on, as soon as there are some, or `wait` seconds are over, or the execution ends."""
        try:
            execution = execution.removeprefix(ids.PREFIX)
            offset, wait_s = _number(query, "offset"), _wait(query)
            if await self._store.reads.get_execution(execution) is None:
                raise NotFound("execution", execution)
            found = await self._items(execution, name, offset, wait_s)
            row = await self._store.reads.get_execution(execution)
            page = await self._store.reads.stream(execution, name, offset, limit=1)
        except DurableError as error:
            return error_answer(error)
        ended = row is None or row.settled_at is not None
        place = found[-1].offset + 1 if found else page.next_offset if not page.items else offset
        return 200, {"items": [item.to_json() for item in found], "next_offset": place, "ended": ended}

    async def _items(self, execution: str, name: str, offset: int, wait_s: float) -> list[StreamItem]:
        page = await self._store.reads.stream(execution, name, offset)
        if not page.items and wait_s:
            await wait_for_item(self._store, execution, name, offset, wait_s)
            page = await self._store.reads.stream(execution, name, offset)
        return [StreamItem.of(row) for row in page.items[:HTTP_STREAM_ITEMS_MAX]]

    async def published(self, execution: str, key: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The newest value of a key, as soon as there is one, or 404."""
        try:
            execution, wait_s = execution.removeprefix(ids.PREFIX), _wait(query)
            if await self._store.reads.get_execution(execution) is None:
                raise NotFound("execution", execution)
            try:
                value = await read_published(self._store, execution, key, wait=wait_s > 0, timeout=wait_s or None)
            except (TimeoutError, Halted):
                raise NotFound("published value", f"{key} of {execution}") from None
        except DurableError as error:
            return error_answer(error)
        return 200, {"value": value}

    async def all_published(self, execution: str) -> tuple[int, dict[str, Any]]:
        """The newest value of each key."""
        try:
            rows = await list_published(self._store, execution.removeprefix(ids.PREFIX))
        except DurableError as error:
            return error_answer(error)
        return 200, {"published": {row.key: row.value for row in rows}}


def _number(query: dict[str, str], name: str) -> int:
    text = query.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise BadArguments(f"{name} is a whole number from 0, not {text[:40]!r}")
    return int(text)


def _wait(query: dict[str, str]) -> float:
    return min(float(_number(query, "wait")), HTTP_WAIT_S_MAX)
