"""The requests of everything else: schedules, actors, engines and workers, the audit, the store and its doctor."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.responses import Response

from bridge.host.proc_vitals import cpu_seconds, memory_now, why_stuck
from durable.actors.names import shown
from durable.core.clock import now_ms
from durable.core.errors import NotFound, StoreRefused
from durable.engine.engine import GROUP
from durable.engine.retention_rules import list_retention_rules
from durable.engine.schedule_operations import Schedules
from durable.engine.store_doctor import examined
from durable.engine.views import iso, name_of, schedule_view
from durable.http.dashboard.page_request import PageRoute, Visit, read_place
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.value_text import WHOLE_CHARS_MAX, cut, preview
from durable.sessions.calls.audit import read_audit
from durable.sessions.ownership.left_worker import start_time
from durable.store.rows import SessionRow

PAGE_ROWS = 100
"""Lines of one page."""

RULES_MAX = 500
"""Rules of retention that the page of the store shows: functions by states."""

WORKERS_MAX = 200
"""Workers of this machine that are looked at."""


async def schedules(visit: Visit) -> Response:
    """`GET /ui/schedules`: by id, with when each runs next."""
    found = (await visit.store.request("schedule.list", {"after": visit.query("after"), "limit": PAGE_ROWS})).data
    views = [schedule_view(each) for each in found["schedules"]]
    links = [("First page", visit.here(after=None))] if visit.query("after") else []
    if found["more"]:
        links.append(("Next page", visit.here(after=views[-1].id)))
    lines = [(view, preview(view.arguments), url_of("schedules", view.id)) for view in views]
    return visit.page(
        "schedules.html",
        title="Schedules",
        section="schedules",
        schedules=lines,
        links=links,
        may=visit.viewer.may("operate"),
    )


async def turn_schedule(visit: Visit) -> Response:
    """`POST /ui/schedules/{id}/pause`, `/resume` and `/trigger`"""
    schedule, action = visit.path("id"), visit.path("action")
    operations = Schedules(visit.store, GROUP)
    if action == "trigger":
        started = await operations.trigger(schedule)
        text = f"{started} is started." if started else "Nothing is started: an execution goes on, and it skips."
    elif action == "pause":
        await operations.pause(schedule)
        text = f"{schedule} is paused."
    elif action == "resume":
        await operations.resume(schedule)
        text = f"{schedule} is open; what passed meanwhile is not made up for."
    else:
        raise NotFound("action", action)
    return visit.go("/ui/schedules", text)


async def delete_schedule(visit: Visit) -> Response:
    """`POST /ui/schedules/{id}/delete`: executions that it has begun go on."""
    schedule = visit.path("id")
    try:
        await visit.store.request("schedule.delete", {"id": schedule})
    except StoreRefused as refused:
        if refused.status != 404:
            raise
        raise NotFound("schedule", schedule) from None
    return visit.go("/ui/schedules", f"Schedule {schedule} is deleted; what it has begun goes on.")


async def actors(visit: Visit) -> Response:
    """`GET /ui/actors`: by class and key, with the messages that wait; and the newest dead letters."""
    asked: dict[str, object] = {"limit": PAGE_ROWS, "after": visit.query("after")}
    for name in ("kind", "status"):
        if visit.query(name):
            asked[name] = visit.query(name)
    rows = (await visit.store.request("actor.list", asked)).data["actors"]
    letters = (await visit.store.request("actor.letters", {"limit": 20})).data["letters"]
    links = [("First page", visit.here(after=None))] if visit.query("after") else []
    if len(rows) == PAGE_ROWS:
        links.append(("Next page", visit.here(after=rows[-1]["name"])))
    dead = [(shown(each["actor"]), each["promise"].removeprefix("exec:"), each["reason"]) for each in letters]
    return visit.page(
        "actors.html",
        title="Actors",
        section="actors",
        actors=[(each, url_of("actors", each["name"]), iso(each["updated_at"])) for each in rows],
        letters=dead,
        links=links,
        kind=visit.query("kind"),
        status=visit.query("status"),
    )


async def actor(visit: Visit) -> Response:
    """`GET /ui/actors/{name}`: one actor, its state and its messages."""
    name = visit.path("name")
    found = await _actor(visit, "actor.get", name)
    state = "" if found["state"] is None else json.dumps(json.loads(found["state"]), ensure_ascii=False, indent=2)
    messages = await visit.reads.list_executions(session=name, limit=PAGE_ROWS)
    return visit.page(
        "actor.html",
        title=shown(name),
        section="actors",
        actor=found,
        url=url_of("actors", name),
        state=cut(state, WHOLE_CHARS_MAX // 4),
        messages=[(row, url_of("executions", row.id), iso(row.created_at)) for row in messages],
        may=visit.viewer.may("operate"),
    )


async def _actor(visit: Visit, request: str, name: str, **more: object) -> dict[str, Any]:
    try:
        found: dict[str, Any] = (await visit.store.request(request, {"actor": name, **more})).data
        return found
    except StoreRefused as refused:
        if refused.status != 404:
            raise
        raise NotFound("actor", name, "the list of actors shows what there is") from None


async def stop_actor(visit: Visit) -> Response:
    """`POST /ui/actors/{name}/stop` and `/restart`"""
    name, action = visit.path("name"), visit.path("action")
    if action == "restart":
        await _actor(visit, "actor.restart", name, reset=False)
        return visit.go(url_of("actors", name), "It takes messages again.")
    if action != "stop":
        raise NotFound("action", action)
    found = await _actor(visit, "actor.stop", name, note=visit.field("note"), force=False)
    text = f"It is stopped; {found['letters']} messages are among the dead letters."
    return visit.go(url_of("actors", name), text)


async def workers(visit: Visit) -> Response:
    """`GET /ui/workers`: the engines that joined, and the workers of sessions on this machine."""
    engines = await visit.reads.engines()
    lines = [
        (
            row,
            visit.store.engine_alive(row.engine),
            iso(row.joined_at),
            [name_of(each) for each in row.functions],
            url_of("deployments", row.deployment),
        )
        for row in engines
    ]
    living = {row.engine for row, alive, *_ in lines if alive}
    held = [row for row in await visit.reads.sessions() if row.worker_pid is not None and row.owner in living]
    found = [await _worker(visit, row) for row in held[:WORKERS_MAX]]
    return visit.page("workers.html", title="Workers", section="workers", engines=lines, workers=found)


async def _worker(visit: Visit, row: SessionRow) -> dict[str, Any]:
    """A session's worker, with how it is where it is a process of this machine."""
    pid = row.worker_pid
    assert pid is not None
    record = (await visit.store.request("session.get", {"session": row.name})).data.get("worker")
    here = record is not None and int(record["pid"]) == pid and start_time(pid) == int(record["start"])
    vitals = (memory_now(pid), cpu_seconds(pid), why_stuck(pid)) if here else (None, None, "")
    return {
        "session": row.name,
        "url": url_of("executions", row.run) if row.run else url_of("sessions", row.name),
        "run": row.run,
        "pid": pid,
        "engine": row.owner,
        "here": here,
        "memory": vitals[0],
        "cpu": vitals[1],
        "stuck": vitals[2],
        "open": row.open_executions,
    }


async def audit(visit: Visit) -> Response:
    """`GET /ui/audit`: what code and tokens asked for, and what was decided, newest first."""
    who, before = visit.query("who"), visit.query("before")
    visit.site.audit.flush()
    found = await read_audit(visit.store, who or None, PAGE_ROWS, read_place(before))
    links = [("Newest", visit.here(before=None))] if before else []
    if len(found) == PAGE_ROWS:
        links.append(("Older", visit.here(before=str(found[-1].id))))
    lines = [(entry, iso(entry.at)) for entry in found]
    return visit.page("audit.html", title="Audit", section="audit", entries=lines, who=who, links=links)


async def store(visit: Visit) -> Response:
    """`GET /ui/store`: what it is. Its figures and its doctor are pieces of their own: they look at everything."""
    from importlib.metadata import version

    file = visit.store.file
    size = None if file is None else await asyncio.to_thread(lambda: file.path.stat().st_size)
    rules = await list_retention_rules(visit.store)
    return visit.page(
        "store.html",
        title="Store",
        section="store",
        name=visit.store.name,
        size=size,
        version=version("durable-exec"),
        rules=rules[:RULES_MAX],
        more=max(0, len(rules) - RULES_MAX),
        may=visit.viewer.may("operate"),
    )


async def figures(visit: Visit) -> Response:
    """`GET /ui/store/figures`: how much of everything there is."""
    found = await visit.reads.figures(now=now_ms())
    states: dict[str, int] = {}
    for _, state, count in found.executions:
        states[state] = states.get(state, 0) + count
    functions: dict[str, int] = {}
    for function, _, count in found.executions:
        functions[function] = functions.get(function, 0) + count
    most = sorted(functions.items(), key=lambda each: -each[1])[:20]
    return visit.piece(
        "figures.html",
        figures=found,
        states=sorted(states.items()),
        functions=most,
        oldest=iso(found.queue_oldest) if found.queue_oldest else None,
        asked=iso(found.prompts_oldest) if found.prompts_oldest else None,
    )


async def doctor(visit: Visit) -> Response:
    """`GET /ui/store/doctor`: what is wrong with the store; it may take a while."""
    findings = await asyncio.to_thread(examined, visit.engine.target)
    return visit.piece("doctor.html", findings=findings)


ROUTES = (
    PageRoute("schedules", "GET", "read", schedules),
    PageRoute("schedules/{id}/delete", "POST", "operate", delete_schedule),
    PageRoute("schedules/{id}/{action}", "POST", "operate", turn_schedule),
    PageRoute("actors", "GET", "read", actors),
    PageRoute("actors/{name}", "GET", "read", actor),
    PageRoute("actors/{name}/{action}", "POST", "operate", stop_actor),
    PageRoute("workers", "GET", "read", workers),
    PageRoute("audit", "GET", "admin", audit),
    PageRoute("store", "GET", "read", store),
    PageRoute("store/figures", "GET", "read", figures),
    PageRoute("store/doctor", "GET", "operate", doctor),
)
