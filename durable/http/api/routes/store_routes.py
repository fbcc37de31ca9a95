"""The routes about the store as a whole: functions, engines, workers, figures, audit, doctor, events, and who asks."""

from __future__ import annotations

import asyncio
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import msgspec

from bridge.host.proc_vitals import cpu_seconds, memory_now, why_stuck
from checkpoint.engine_side.seal import read_manifest
from durable.client import api_models
from durable.client.api_models import Page
from durable.engine.views import iso, name_of
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.http.api.api_route import ApiCall, ApiRoute, PageQuery
from durable.http.api.event_log import EventDocument, EventLog
from durable.http.api.execution_views import converted, served
from durable.http.api.function_call import served_functions
from durable.http.metrics import by_function
from durable.sessions.calls.audit import read_audit
from durable.sessions.ownership.left_worker import start_time
from durable.store.upkeep.doctor import examine

_TOKENS = "token:"


class ListAuditQuery(PageQuery, frozen=True, kw_only=True):
    """`who`: a session, or `token:NAME`."""

    who: Annotated[str, msgspec.Meta(max_length=500)] | None = None


async def get_token(call: ApiCall) -> api_models.TokenView:
    """The name and role of the token that is shown, and the version that serves."""
    holder = call.holder
    return api_models.TokenView(
        name=holder.name, role=holder.role, teams=list(holder.teams), version=version("durable-exec")
    )


async def list_functions(call: ApiCall) -> Page[api_models.FunctionView]:
    """The durable functions that living engines serve, by id. One may be served under several ids."""
    found = sorted((await served_functions(call.store)).items())
    return Page(items=[api_models.FunctionView(id=id, name=name_of(id), engines=count) for id, count in found])


async def list_engines(call: ApiCall) -> Page[api_models.EngineView]:
    """The engines that joined and have not left, the oldest first."""
    rows = await call.reads.engines()
    return Page(
        items=[
            api_models.EngineView(
                id=row.engine,
                group=row.group,
                pid=row.pid,
                alive=call.store.engine_alive(row.engine),
                functions=list(row.functions),
                joined_at=iso(row.joined_at) or "",
                deployment=row.deployment,
            )
            for row in rows
        ]
    )


async def list_workers(call: ApiCall) -> Page[api_models.WorkerView]:
    """The workers of sessions, by session; a page has those of `limit` sessions."""
    of, query = ("workers",), call.query
    rows = await call.reads.sessions_page(read_cursor(query.cursor, of, str) or "", query.limit)
    living = await served(call.store)
    views = [await _worker(call, row.name, row.worker_pid, row.owner, living.pids) for row in rows if row.worker_pid]
    return Page(items=views, next=write_cursor(rows[-1].name, of) if len(rows) == query.limit else None)


async def _worker(
    call: ApiCall, session: str, pid: int, owner: str | None, living: dict[str, int]
) -> api_models.WorkerView:
    record = (await call.store.request("session.get", {"session": session})).data.get("worker")
    here = record is not None and start_time(pid) == int(record["start"])
    return api_models.WorkerView(
        session=session,
        pid=pid,
        engine=owner,
        alive=owner in living,
        memory=memory_now(pid) if here else None,
        cpu_time=cpu_seconds(pid) if here else None,
        stuck=(why_stuck(pid) or None) if here else None,
    )


async def get_figures(call: ApiCall) -> api_models.StoreSummary:
    """The figures of the store, as `/metrics` has them; a look is at most some seconds old."""
    figures, now = await call.site.metrics.figures()
    counts = sorted(by_function(figures.executions).items())
    return api_models.StoreSummary(
        executions=[api_models.FunctionFigure(function=f, state=state, count=n) for (f, state), n in counts],
        queue_depth=figures.queue_depth,
        queue_age=max(0, now - figures.queue_oldest) / 1000 if figures.queue_oldest else 0.0,
        leases=figures.leases,
        prompts=figures.prompts,
        prompts_age=max(0, now - figures.prompts_oldest) / 1000 if figures.prompts_oldest else 0.0,
        sessions=figures.sessions,
        workers=figures.workers,
        checkpoints=figures.checkpoints,
        schedules=figures.schedules,
        engines=sum(call.store.engine_alive(each) for each in figures.engines),
    )


async def list_audit(call: ApiCall) -> Page[api_models.AuditView]:
    """Decisions about calls and changes of permissions, the newest first. For admins also what holders of tokens did:
    a page of others may have fewer entries than `limit`."""
    query: ListAuditQuery = call.query
    of, admin = ("audit", query.who), call.holder.may("admin")
    call.site.audit.flush()
    found = await read_audit(call.store, query.who, query.limit, read_cursor(query.cursor, of, int))
    shown = [each for each in found if admin or not each.who.startswith(_TOKENS)]
    views = [converted({**_fields(each), "at": iso(each.at) or ""}, api_models.AuditView) for each in shown]
    return Page(items=views, next=write_cursor(found[-1].id, of) if len(found) == query.limit else None)


def _fields(entry: object) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in api_models.AuditView.__struct_fields__}


async def examine_store(call: ApiCall) -> api_models.Examination:
    """The findings of the doctor; none where all is well with the store. It reads the whole store."""
    look = call.site.examine
    if look is None:
        look = partial(examine, call.store.path, (), read_manifest)
    found = await asyncio.to_thread(look)
    return api_models.Examination(findings=[converted(each, api_models.ProblemFound) for each in found])


async def stream_events(call: ApiCall) -> Any:
    """Changes of executions and questions as events, from now on or behind Last-Event-ID.

    `ready` comes first and has an id to come back with; `reset` says that events were missed, so that the client has to
    look anew. The others are `execution.created`, `execution.running`, `execution.waiting`, `execution.interrupted`,
    `execution.settled`, `prompt.asked` and `prompt.settled`.
    """
    if call.site.events is None:
        call.site.events = EventLog(call.store, call.site.observe)
    return call.site.events.follow(call.last_event_id)


ROUTES = (
    ApiRoute("GET", "/token", "read", get_token, api_models.TokenView),
    ApiRoute("GET", "/functions", "read", list_functions, Page[api_models.FunctionView]),
    ApiRoute("GET", "/engines", "read", list_engines, Page[api_models.EngineView]),
    ApiRoute("GET", "/workers", "read", list_workers, Page[api_models.WorkerView], PageQuery),
    ApiRoute("GET", "/figures", "read", get_figures, api_models.StoreSummary),
    ApiRoute("GET", "/audit", "read", list_audit, Page[api_models.AuditView], ListAuditQuery),
    ApiRoute("GET", "/doctor", "admin", examine_store, api_models.Examination),
    ApiRoute("GET", "/events", "read", stream_events, EventDocument, stream=True),
)
