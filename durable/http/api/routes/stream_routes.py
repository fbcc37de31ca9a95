"""The routes about what executions write while they run: streams, and values that they publish."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from durable.client import api_models
from durable.client.api_models import Page
from durable.core.errors import BadArguments, Halted, NotFound
from durable.core.limits import HTTP_STREAM_ITEMS_MAX
from durable.engine.views import iso
from durable.executions.stream_reader import StreamItem, list_published, read_published, read_stream, wait_for_item
from durable.http.api.api_route import ApiCall, ApiRoute, RouteQuery
from durable.http.api.event_stream import StreamEvent
from durable.http.api.routes.execution_routes import WAIT_S_MAX
from durable.store.rows import PublishedRow

type WaitSeconds = Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)]


class StreamQuery(RouteQuery, frozen=True, kw_only=True):
    """`offset`: that of the first item that is wanted. `wait`: seconds to wait for one."""

    offset: api_models.Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=HTTP_STREAM_ITEMS_MAX)] = HTTP_STREAM_ITEMS_MAX
    wait: WaitSeconds = 0.0


class StreamEventsQuery(RouteQuery, frozen=True, kw_only=True):
    """`offset`: that of the first item that is wanted."""

    offset: api_models.Count = 0


class PublishedQuery(RouteQuery, frozen=True, kw_only=True):
    """`wait`: seconds to wait for a value, where there is none yet."""

    wait: WaitSeconds = 0.0


async def list_streams(call: ApiCall) -> Page[api_models.StreamView]:
    """The streams of an execution, by name."""
    row = await call.execution()
    found = await call.reads.streams(row.id)
    return Page(items=[api_models.StreamView(name=each.name, next_offset=each.next_offset) for each in found])


async def get_stream_items(call: ApiCall) -> api_models.StreamItems:
    """Items of a stream from an offset on. With `wait`, as soon as there is one, or the execution has ended."""
    row, query, name = await call.execution(), call.query, call.params["name"]
    found = await _items(call, row.id, name, query.offset, query.limit)
    if not found and query.wait:
        await wait_for_item(call.store, row.id, name, query.offset, query.wait)
    row = await call.execution()  # its end, before the look at all that it wrote until then
    found = await _items(call, row.id, name, query.offset, query.limit)
    end = next((each.next_offset for each in await call.reads.streams(row.id) if each.name == name), 0)
    following = found[-1].offset + 1 if found else max(query.offset, end)
    ended = row.settled_at is not None and following >= end
    return api_models.StreamItems(items=list(map(_item, found)), next_offset=following, ended=ended)


async def _items(call: ApiCall, execution: str, name: str, offset: int, limit: int) -> list[StreamItem]:
    page = await call.reads.stream(execution, name, offset, limit=limit)
    return [StreamItem.of(row) for row in page.items[:limit]]


def _item(item: StreamItem) -> api_models.StreamItemView:
    return api_models.StreamItemView(**item.to_json())


async def stream_stream_items(call: ApiCall) -> Any:
    """The items of a stream as events, until the execution ends.

    `item` events are items, `end` is the last one. A client that comes back with Last-Event-ID, which is an offset,
    goes on behind that item.
    """
    row, offset = await call.execution(), call.query.offset
    if call.last_event_id is not None:
        if not (call.last_event_id.isascii() and call.last_event_id.isdigit() and len(call.last_event_id) < 16):
            raise BadArguments("Last-Event-ID is none of this stream: leave it out, and begin at an offset")
        offset = int(call.last_event_id) + 1
    return _item_events(call, row.id, call.params["name"], offset)


async def _item_events(call: ApiCall, execution: str, name: str, offset: int) -> AsyncIterator[StreamEvent]:
    last = max(0, offset - 1)
    reader = read_stream(call.store, execution, name, offset, wait_through_halts=True)
    try:
        async for item in reader:
            last = item.offset
            yield StreamEvent("item", item.to_json(), str(last))
    except NotFound:
        pass  # it was collected meanwhile, which the event says
    finally:
        await reader.aclose()
    row = await call.reads.get_execution(execution)
    yield StreamEvent("end", {"execution": execution, "state": row.state if row else "gone"}, str(last))


async def list_published_values(call: ApiCall) -> Page[api_models.PublishedValue]:
    """The newest value of each key that an execution has published, by key."""
    row = await call.execution()
    return Page(items=[_published(each) for each in await list_published(call.store, row.id)])


def _published(row: PublishedRow) -> api_models.PublishedValue:
    at = iso(row.published_at) or ""
    return api_models.PublishedValue(key=row.key, value=row.value, n=row.n, published_at=at)


async def get_published_value(call: ApiCall) -> api_models.PublishedValue:
    """The newest value of a key. With `wait`, as soon as there is one."""
    row, key, wait_s = await call.execution(), call.params["key"], call.query.wait
    if wait_s:
        try:
            await read_published(call.store, row.id, key, wait=True, timeout=wait_s)
        except (TimeoutError, Halted):
            raise NotFound("published value", f"{key} of {row.id}") from None
    for each in await list_published(call.store, row.id):
        if each.key == key:
            return _published(each)
    raise NotFound("published value", f"{key} of {row.id}")


ROUTES = (
    ApiRoute("GET", "/executions/{id}/streams", "read", list_streams, Page[api_models.StreamView]),
    ApiRoute("GET", "/executions/{id}/streams/{name}", "read", get_stream_items, api_models.StreamItems, StreamQuery),
    ApiRoute(
        "GET",
        "/executions/{id}/streams/{name}/events",
        "read",
        stream_stream_items,
        api_models.StreamItemEvent,
        StreamEventsQuery,
        stream=True,
    ),
    ApiRoute("GET", "/executions/{id}/published", "read", list_published_values, Page[api_models.PublishedValue]),
    ApiRoute(
        "GET",
        "/executions/{id}/published/{key}",
        "read",
        get_published_value,
        api_models.PublishedValue,
        PublishedQuery,
    ),
)
