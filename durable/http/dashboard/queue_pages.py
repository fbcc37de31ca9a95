"""The requests of queues: how many executions wait and run in each, and pausing, resuming, draining them."""

from __future__ import annotations

from starlette.responses import Response

from durable.core.errors import NotFound
from durable.engine.views import queue_view
from durable.http.dashboard.page_request import PageRoute, Visit
from durable.http.dashboard.views.addresses import url_of
from durable.queues.queue import check_queue_name

KEYS_MAX = 100
"""Keys of one page."""

ACTIONS = {
    "pause": "Nothing of it begins until it is resumed.",
    "resume": "Its executions begin again.",
    "drain": "It takes nothing new.",
}
"""The actions on a queue, and what is said when one was done."""


async def queues(visit: Visit) -> Response:
    """`GET /ui/queues`: all, by name."""
    views = [queue_view(row) for row in await visit.reads.queues()]
    lines = [(view, url_of("queues", view.name)) for view in views]
    may = visit.viewer.may("operate")
    return visit.page("queues.html", title="Queues", section="queues", queues=lines, may=may)


async def queue(visit: Visit) -> Response:
    """`GET /ui/queues/{name}`: the keys of one queue with executions that wait or run."""
    name = check_queue_name(visit.path("name"))
    row = next((row for row in await visit.reads.queues() if row.name == name), None)
    if row is None:
        raise NotFound("queue", name)
    keys = await visit.reads.queue_keys(name, limit=KEYS_MAX, after=visit.query("after") or None)
    links = [("First page", visit.here(after=None))] if visit.query("after") else []
    if len(keys) == KEYS_MAX:
        links.append(("Next page", visit.here(after=keys[-1].key)))
    return visit.page("queue.html", title=name, section="queues", queue=queue_view(row), keys=keys, links=links)


async def turn(visit: Visit) -> Response:
    """`POST /ui/queues/{name}/{action}`: pause, resume, drain."""
    name, action = check_queue_name(visit.path("name")), visit.path("action")
    if action not in ACTIONS:
        raise NotFound("action", action)
    operations = (await visit.engine.client()).queues
    if action == "drain":
        await operations.drain(name, 0)
    else:
        await (operations.pause(name) if action == "pause" else operations.resume(name))
    return visit.go("/ui/queues", f"{name}: {ACTIONS[action]}")


ROUTES = (
    PageRoute("queues", "GET", "read", queues),
    PageRoute("queues/{name}", "GET", "read", queue),
    PageRoute("queues/{name}/{action}", "POST", "operate", turn),
)
