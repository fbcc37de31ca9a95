"""The routes about schedules: executions that the clock starts."""

from __future__ import annotations

import uuid
from typing import Any

from durable.client import api_models
from durable.client.api_models import Page
from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.core.cron import Cron, CronError
from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.engine.engine import GROUP
from durable.engine.views import schedule_view
from durable.http.api.api_route import Answer, ApiCall, ApiRoute, PageQuery
from durable.http.api.function_call import FunctionCall, function_id
from durable.http.api.page_cursor import read_cursor, write_cursor
from durable.records.view_models import ScheduleView


async def list_schedules(call: ApiCall) -> Page[ScheduleView]:
    """Schedules, in order of their ids."""
    of, query = ("schedules",), call.query
    request: dict[str, Any] = {"limit": query.limit}
    if (after := read_cursor(query.cursor, of, str)) is not None:
        request["cursor"] = after
    found = (await call.store.request("schedule.search", request)).data
    following = found.get("cursor")
    views = [schedule_view(record) for record in found["schedules"]]
    return Page(items=views, next=None if following is None else write_cursor(following, of))


async def get_schedule(call: ApiCall) -> ScheduleView:
    """One schedule, and when it comes next."""
    record = await _record(call, call.params["id"])
    if record is None:
        raise NotFound("schedule", call.params["id"], "GET /api/v1/schedules lists them")
    return schedule_view(record)


async def create_schedule(call: ApiCall) -> Answer:
    """Run a function at every tick of a cron line, as `<id>-<time in ms>`.

    200 where the same schedule is there already.
    """
    body: api_models.CreateSchedule = call.body
    try:
        Cron.parse(body.cron)
    except CronError as error:
        raise BadArguments(str(error)) from None
    ids.check_given_id(body.id)
    function = FunctionCall.of(await function_id(call.store, body.function), body.args, body.kwargs)
    known = await _record(call, body.id)
    nonce = uuid.uuid4().hex
    request: dict[str, Any] = {
        "id": body.id,
        "cron": body.cron,
        "promiseId": f"{ids.PREFIX}{body.id}-{{{{.timestamp}}}}",
        "promiseTimeout": TIME_MAX_MS,
        "promiseParam": {"data": function.data()},
        "promiseTags": {
            "resonate:target": f"poll://any@{GROUP}",
            "durable:missed": body.missed,
            "durable:nonce": nonce,
            **function.tags(),
        },
    }
    found = (await call.store.request("schedule.create", request)).data["schedule"] if known is None else known
    if not _is_same(found, request):
        raise Conflict(f"schedule {body.id!r} exists with another line, function or arguments; delete it first")
    new = found["promiseTags"].get("durable:nonce") == nonce
    return Answer(schedule_view(found), 201 if new else 200, (("location", f"/api/v1/schedules/{body.id}"),))


def _is_same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    tags, asked = found["promiseTags"], wanted["promiseTags"]
    names = ("durable:function", "durable:arguments", "durable:missed")
    return found["cron"] == wanted["cron"] and all(tags.get(name) == asked.get(name) for name in names)


async def delete_schedule(call: ApiCall) -> None:
    """Fire no more ticks. What was started goes on."""
    await get_schedule(call)
    await call.store.request("schedule.delete", {"id": call.params["id"]})


async def _record(call: ApiCall, schedule: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = (await call.store.request("schedule.get", {"id": schedule})).data["schedule"]
    except StoreRefused as refused:
        if refused.status != 404:
            raise
        return None
    return found


ROUTES = (
    ApiRoute("GET", "/schedules", "read", list_schedules, Page[ScheduleView], PageQuery),
    ApiRoute(
        "POST",
        "/schedules",
        "operate",
        create_schedule,
        ScheduleView,
        body=api_models.CreateSchedule,
        status=201,
        also=(200,),
        refusals=(404, 409),
    ),
    ApiRoute("GET", "/schedules/{id}", "read", get_schedule, ScheduleView),
    ApiRoute("DELETE", "/schedules/{id}", "operate", delete_schedule, None, status=204),
)
