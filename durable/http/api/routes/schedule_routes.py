"""The routes about schedules: executions that the clock starts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from durable.client import api_models
from durable.client.api_models import Page
from durable.core.errors import Conflict, NotFound
from durable.engine.engine import GROUP
from durable.engine.schedule_operations import (
    SchedulePolicies,
    Schedules,
    line_for,
    next_times,
    schedule_record,
    schedule_request,
)
from durable.engine.views import iso, schedule_view
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.http.api.api_route import Answer, ApiCall, ApiRoute, PageQuery, RouteQuery
from durable.http.api.function_call import FunctionCall, function_id
from durable.records.view_models import ScheduleView


class NextTicksQuery(RouteQuery, frozen=True, kw_only=True):
    """`count`: how many ticks."""

    count: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 5


async def list_schedules(call: ApiCall) -> Page[ScheduleView]:
    """Schedules, in order of their ids."""
    of, query = ("schedules",), call.query
    request = {"after": read_cursor(query.cursor, of, str) or "", "limit": query.limit}
    found = (await call.store.request("schedule.list", request)).data
    views = [schedule_view(record) for record in found["schedules"]]
    return Page(items=views, next=write_cursor(views[-1].id, of) if found["more"] else None)


async def get_schedule(call: ApiCall) -> ScheduleView:
    """One schedule, and when it comes next."""
    return schedule_view(await schedule_record(call.store, call.params["id"]))


async def list_next_ticks(call: ApiCall) -> api_models.NextTicks:
    """The next ticks of a schedule, whether it is paused or not."""
    line = (await schedule_record(call.store, call.params["id"]))["cron"]
    return api_models.NextTicks(
        items=[iso(int(at.timestamp() * 1000)) or "" for at in next_times(line, call.query.count)]
    )


async def create_schedule(call: ApiCall) -> Answer:
    """Run a function at every tick of a cron line, as `<id>-<time in ms>`.

    200 where the same schedule is there already.
    """
    body: api_models.CreateSchedule = call.body
    request = await _request(call, body.id, body)
    known = await _record(call, body.id)
    if known is None:
        if request["paused"] is None:
            request["paused"] = False
        known = await _put(call, request)
    elif not _is_same(known, request):
        raise Conflict(f"schedule {body.id!r} exists with another line, function, arguments or policy; PUT replaces it")
    return _made(known, request)


async def put_schedule(call: ApiCall) -> Answer:
    """Make a schedule, or let the one of this id be this from now on: line, function, arguments, policies.

    What was missed under an unchanged line is made up for; a pause goes on where `paused` is null.
    """
    known = await _record(call, call.params["id"])
    record = await _put(call, await _request(call, call.params["id"], call.body))
    return Answer(schedule_view(record), 201 if known is None else 200, (_location(record),))


async def _request(call: ApiCall, schedule: str, body: api_models.PutSchedule) -> dict[str, Any]:
    line = line_for(body.cron, body.timezone)
    function = FunctionCall.of(await function_id(call.store, body.function), body.args, body.kwargs)
    policies = SchedulePolicies(body.overlap, body.jitter, body.missed, body.paused, body.timeout)
    return schedule_request(schedule, line, function.data(), function.tags(), policies, GROUP)


async def _put(call: ApiCall, request: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await call.store.request("schedule.put", request)).data["schedule"]
    return found


def _made(record: dict[str, Any], request: dict[str, Any]) -> Answer:
    new = record["promiseTags"].get("durable:nonce") == request["schedule"]["promiseTags"]["durable:nonce"]
    return Answer(schedule_view(record), 201 if new else 200, (_location(record),))


def _location(record: dict[str, Any]) -> tuple[str, str]:
    return "location", f"/api/v1/schedules/{record['id']}"


def _is_same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    asked = wanted["schedule"]
    names = ("durable:function", "durable:arguments", "durable:missed")
    return (
        all(found[name] == asked[name] for name in ("cron", "promiseTimeout"))
        and all(found[name] == wanted[name] for name in ("overlap", "jitterMs"))
        and wanted["paused"] in (None, found["paused"])
        and all(found["promiseTags"].get(name) == asked["promiseTags"].get(name) for name in names)
    )


async def pause_schedule(call: ApiCall) -> ScheduleView:
    """Let no tick fire. What was started goes on."""
    await _schedules(call).pause(call.params["id"])
    return await get_schedule(call)


async def resume_schedule(call: ApiCall) -> ScheduleView:
    """Let ticks fire again. Those that passed meanwhile are not made up for; backfill does that."""
    await _schedules(call).resume(call.params["id"])
    return await get_schedule(call)


async def trigger_schedule(call: ApiCall) -> api_models.Triggered:
    """Start an execution now, whether the schedule is paused or not."""
    return api_models.Triggered(execution=await _schedules(call).trigger(call.params["id"]))


async def backfill_schedule(call: ApiCall) -> api_models.Backfilled:
    """Make up for the ticks of a stretch of time that is over, in their order. No tick is started twice."""
    body: api_models.BackfillSchedule = call.body
    found = await _schedules(call).backfill(call.params["id"], body.since, body.until, overlap=body.overlap)
    return api_models.Backfilled(executions=found)


async def delete_schedule(call: ApiCall) -> None:
    """Fire no more ticks. What was started goes on."""
    await _schedules(call).delete(call.params["id"])


def _schedules(call: ApiCall) -> Schedules:
    return Schedules(call.store, GROUP)


async def _record(call: ApiCall, schedule: str) -> dict[str, Any] | None:
    try:
        return await schedule_record(call.store, schedule)
    except NotFound:
        return None


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
    ApiRoute(
        "PUT",
        "/schedules/{id}",
        "operate",
        put_schedule,
        ScheduleView,
        body=api_models.PutSchedule,
        status=201,
        also=(200,),
        refusals=(409,),
    ),
    ApiRoute("DELETE", "/schedules/{id}", "operate", delete_schedule, None, status=204),
    ApiRoute("GET", "/schedules/{id}/next", "read", list_next_ticks, api_models.NextTicks, NextTicksQuery),
    ApiRoute("POST", "/schedules/{id}/pause", "operate", pause_schedule, ScheduleView),
    ApiRoute("POST", "/schedules/{id}/resume", "operate", resume_schedule, ScheduleView),
    ApiRoute("POST", "/schedules/{id}/trigger", "operate", trigger_schedule, api_models.Triggered),
    ApiRoute(
        "POST",
        "/schedules/{id}/backfill",
        "operate",
        backfill_schedule,
        api_models.Backfilled,
        body=api_models.BackfillSchedule,
    ),
)
