"""The routes about queues: listed, changed, paused, resumed, drained."""

from __future__ import annotations

from typing import Annotated

import msgspec

from durable.client import api_models
from durable.client.api_models import Page
from durable.engine.queue_operations import GivenLimits
from durable.engine.views import queue_view
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.http.api.api_route import PAGE_ROWS, ApiCall, ApiRoute, Limit, RouteQuery
from durable.queues.queue import check_queue_name
from durable.records.view_models import QueueKeyView, QueueView


class ListKeysQuery(RouteQuery, frozen=True, kw_only=True):
    """A page of the keys of a queue."""

    limit: Limit = PAGE_ROWS
    cursor: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None


async def list_queues(call: ApiCall) -> Page[QueueView]:
    """All queues, by name: how many executions wait and run, and for how long the first has waited."""
    return Page(items=[queue_view(row) for row in await call.reads.queues()])


async def get_queue(call: ApiCall) -> QueueView:
    """One queue."""
    queues = (await call.engine()).queues
    return queue_view(await queues.get(check_queue_name(call.params["name"])))


async def list_queue_keys(call: ApiCall) -> Page[QueueKeyView]:
    """The keys of a queue with executions that wait or run, by name."""
    name, query = (await get_queue(call)).name, call.query
    of = ("queue-keys", name)
    rows = await call.reads.queue_keys(name, limit=query.limit, after=read_cursor(query.cursor, of, str))
    items = [QueueKeyView(row.key, row.waiting, row.running) for row in rows]
    return Page(items=items, next=write_cursor(rows[-1].key, of) if len(rows) == query.limit else None)


async def set_queue(call: ApiCall) -> QueueView:
    """Change limits of a queue while it is in use; one that is not there is made. What has begun goes on."""
    body: api_models.SetQueue = call.body
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    limits = GivenLimits(**{name: value for name, value in given.items() if value is not msgspec.UNSET})  # type: ignore[typeddict-item]
    queues = (await call.engine()).queues
    return queue_view(await queues.set(check_queue_name(call.params["name"]), **limits))


async def pause_queue(call: ApiCall) -> QueueView:
    """Let nothing of a queue begin. What runs goes on, and executions can be enqueued."""
    queues = (await call.engine()).queues
    return queue_view(await queues.pause(check_queue_name(call.params["name"])))


async def resume_queue(call: ApiCall) -> QueueView:
    """Let executions of a queue begin again, and let it take new ones."""
    queues = (await call.engine()).queues
    return queue_view(await queues.resume(check_queue_name(call.params["name"])))


async def drain_queue(call: ApiCall) -> QueueView:
    """Let a queue take nothing new; it is empty when nothing of it waits and runs any more."""
    queues = (await call.engine()).queues
    name = check_queue_name(call.params["name"])
    await queues.drain(name, 0)
    return queue_view(await queues.get(name))


ROUTES = (
    ApiRoute("GET", "/queues", "read", list_queues, Page[QueueView]),
    ApiRoute("GET", "/queues/{name}", "read", get_queue, QueueView),
    ApiRoute("GET", "/queues/{name}/keys", "read", list_queue_keys, Page[QueueKeyView], ListKeysQuery),
    ApiRoute("PATCH", "/queues/{name}", "operate", set_queue, QueueView, body=api_models.SetQueue),
    ApiRoute("POST", "/queues/{name}/pause", "operate", pause_queue, QueueView, refusals=(409,)),
    ApiRoute("POST", "/queues/{name}/resume", "operate", resume_queue, QueueView, refusals=(409,)),
    ApiRoute("POST", "/queues/{name}/drain", "operate", drain_queue, QueueView, refusals=(409,)),
)
