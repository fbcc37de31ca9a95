"""The requests of executions: the list, one of them, its steps, its output, and what can be done with them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.responses import Response

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import BadArguments, NotFound
from durable.engine.execution_overview import overview
from durable.engine.step_outline import prompt_rows, read_outline, step_views
from durable.engine.step_tree import drawn_with_depth, tree
from durable.engine.views import ServedFunctions, arguments_of, detail_of, error_of
from durable.executions import exported_record
from durable.executions.bulk_work import BulkAction, BulkWork, make_change, preview_change
from durable.executions.forking import fork, rewind
from durable.executions.signal_sender import send_signal
from durable.http.dashboard import output_pieces
from durable.http.dashboard.page_request import PageRoute, Visit, read_place
from durable.http.dashboard.page_templates import PAGE_HEADERS
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.display_frames import FRAME_HEADERS, document
from durable.http.dashboard.views.execution_list import AGES, PAGE_ROWS, ExecutionFilters, lines
from durable.http.dashboard.views.execution_page import (
    EVENT_KINDS,
    actions_for,
    awaited,
    events_of,
    parent_url_of,
    step_lines,
    steps_page,
    told_event,
)
from durable.http.dashboard.views.value_text import (
    CODE_CHARS_MAX,
    VALUE_CHARS_MAX,
    WHOLE_CHARS_MAX,
    as_text,
    cut,
    value_text,
)
from durable.records import notation
from durable.records.displays import Display
from durable.store.rows import WORDS, ExecutionRow

EVENTS_MAX = 500
"""Events of one page, the newest of those that the filter leaves."""

BULK_ACTIONS: dict[BulkAction, str] = {"cancel": "Cancel", "resume": "Resume", "retry": "Retry"}


async def executions(visit: Visit) -> Response:
    """`GET /ui/executions`: newest first, by the filters of the address, a page at a time."""
    names = ("state", "function", "session", "tag", "since", "before")
    filters = ExecutionFilters(**{name: visit.query(name) for name in names})
    rows = await visit.reads.list_executions(**filters.asked(now_ms()), limit=PAGE_ROWS, whole=False)
    found = lines(rows, await overview(visit.store, rows))
    links = [("Newest", visit.here(before=None))] if filters.before else []
    if len(rows) == PAGE_ROWS:
        links.append(("Older", visit.here(before=rows[-1].id)))
    return visit.page(
        "executions.html",
        title="Executions",
        section="executions",
        lines=found,
        filters=filters,
        states=WORDS,
        ages=tuple(AGES),
        links=links,
        actions=BULK_ACTIONS if visit.viewer.may("operate") else {},
    )


async def find(visit: Visit) -> ExecutionRow:
    """The execution that the address names. NotFound."""
    execution_id = visit.path("id")
    row = await visit.reads.get_execution(execution_id)
    if row is None:
        raise NotFound("execution", execution_id, "the list of executions shows what there is")
    return row


async def execution(visit: Visit) -> Response:
    """`GET /ui/executions/{id}`: what it waits for, its timeline and steps, its output, its outcome."""
    row, reads = await find(visit), visit.reads
    outline = await read_outline(reads, row.id)
    now = now_ms()
    page = steps_page(
        row,
        drawn_with_depth(tree(outline.steps)),
        now,
        page=read_place(visit.query("page")),
        window=_window(visit.query("from"), visit.query("to")),
        fold=visit.query("fold") != "no",
    )
    open_steps = [step for step in outline.steps if step.settled_at is None]
    retried = next((step for step in open_steps if step.retries), None)
    shown = [step for _, step in page.steps]
    views, long = await step_views(reads, [*shown, *([retried] if retried else [])], VALUE_CHARS_MAX)
    living = ServedFunctions.by(await reads.engines(), visit.store.engine_alive)
    prompts = await prompt_rows(reads, outline.prompts[:_PROMPTS_MAX])
    detail = await detail_of(reads, row, living, [], outline.prompts, prompts)
    cells = [row.id] if row.session is not None else [step.id for step in outline.steps if step.kind == "cell"]
    outputs = [(each, await output_pieces.tail(visit.reads, each)) for each in cells[-_OUTPUTS_MAX:]]
    return visit.page(
        "execution.html",
        title=row.id,
        section="executions",
        detail=detail,
        view=detail.execution,
        url=url_of("executions", row.id),
        parent=parent_url_of(row),
        session_url=url_of("sessions", row.session) if row.session else "",
        awaited=awaited(detail, views.get(retried.id) if retried else None, open_steps),
        asks_more=max(0, len(detail.execution.waits_for) - _PROMPTS_MAX),
        actions=actions_for(detail.execution) if visit.viewer.may("operate") else None,
        steps=page,
        lines=step_lines(page, row.id, views, long, now),
        zoom=_zoom(visit, page.axis.begin_ms, page.axis.end_ms),
        arguments=value_text(detail.arguments),
        result=value_text(detail.result) if detail.execution.state == "completed" else None,
        traceback=cut(detail.traceback, CODE_CHARS_MAX) if detail.traceback else None,
        outputs=[each for each in outputs if each[1].pieces or row.session is not None],
        code=cut(_code(row), CODE_CHARS_MAX),
        source=row.tags.get("durable:source", ""),
    )


_PROMPTS_MAX = 20
"""Open questions that the page of an execution names, the oldest; the inbox has all."""

_OUTPUTS_MAX = 5
"""Cells of a function whose output is shown, the newest."""


def _code(row: ExecutionRow) -> str:
    args = row.param.get("args") if isinstance(row.param, dict) else None
    cell = args[0] if row.session is not None and args else None
    return str(cell.get("code", "")) if isinstance(cell, dict) else ""


def _window(begin: str, end: str) -> tuple[float, float] | None:
    """The times between which the timeline is drawn, in ms; None for all of it."""
    first, last = read_place(begin), read_place(end)
    return None if first is None or last is None or first >= last else (float(first), float(last))


def _zoom(visit: Visit, begin: float, end: float) -> list[tuple[str, str]]:
    """The steps of zooming: a name, and the address that draws it so."""
    length = end - begin

    def at(name: str, first: float, last: float) -> tuple[str, str]:
        return name, visit.here(**{"from": f"{max(0.0, first):.0f}", "to": f"{max(1.0, last):.0f}"})

    return [
        at("Closer", begin + length / 4, end - length / 4),
        at("Earlier", begin - length / 2, end - length / 2),
        at("Later", begin + length / 2, end + length / 2),
        ("All", visit.here(**{"from": None, "to": None})),
    ]


async def events(visit: Visit) -> Response:
    """`GET /ui/executions/{id}/events`: what happened, as the record tells it, by kind."""
    row = await find(visit)
    kind = visit.query("kind")
    outline = await read_outline(visit.reads, row.id)
    placed = events_of(row, outline.steps, await visit.reads.discards(row.id))
    found = [each for each in placed if kind in ("", each.kind)]
    told = {each.step.id: each.step for each in found[-EVENTS_MAX:] if each.step is not None}
    views, _ = await step_views(visit.reads, list(told.values()), VALUE_CHARS_MAX)
    error = error_of(row)
    return visit.page(
        "execution_events.html",
        title=f"{row.id}: events",
        section="executions",
        url=url_of("executions", row.id),
        view_id=row.id,
        events=[told_event(each, views, error) for each in found[-EVENTS_MAX:]],
        total=len(found),
        kind=kind,
        kinds=EVENT_KINDS,
    )


async def step(visit: Visit) -> Response:
    """`GET /ui/executions/{id}/steps/{step}`: what went into an operation and what came out of it, whole."""
    row, step_id = await find(visit), visit.path("step")
    promise = await visit.reads.get_promise(step_id if step_id.startswith(ids.PREFIX) else f"{ids.PREFIX}{step_id}")
    if promise is None:
        raise NotFound("step", step_id, f"the page of {row.id} shows its steps")
    limit = 4_000 if visit.is_part else WHOLE_CHARS_MAX
    given = None if promise.param is None else value_text(notation.shown(promise.param), limit)
    came = None if promise.value is None else value_text(notation.shown(promise.value), limit)
    facts = [("id", promise.id), ("state", promise.state), *sorted(promise.tags.items())]
    failed = promise.state != "resolved"
    values: dict[str, Any] = {"given": given, "came": came, "facts": facts, "url": visit.here(), "failed": failed}
    if visit.is_part:
        return visit.piece("step_detail.html", **values)
    return visit.page(
        "step.html", title=step_id, section="executions", back=url_of("executions", row.id), back_id=row.id, **values
    )


async def value(visit: Visit) -> Response:
    """`GET /ui/executions/{id}/value/{which}`: the arguments or the result, as a page or as a file."""
    row, which = await find(visit), visit.path("which")
    if which not in ("arguments", "result"):
        raise NotFound("value", which)
    done = notation.shown(row.value) if row.state == "completed" else None
    text = as_text(arguments_of(row) if which == "arguments" else done)
    return _text(visit, row, which, f"{row.id}-{which}.json", text)


async def record(visit: Visit) -> Response:
    """`GET /ui/executions/{id}/record`: the record as JSON, as a page or as a file that `durable import` takes."""
    row = await find(visit)
    found = await exported_record.export(visit.store, row)
    return _text(visit, row, "record", f"{row.id}.json", json.dumps({"record": found}, ensure_ascii=False, indent=1))


def _text(visit: Visit, row: ExecutionRow, what: str, file_name: str, text: str) -> Response:
    """A long text of an execution, as the page or as the file that was asked for."""
    if visit.query("as") == "file":
        return _file(text, file_name, "application/json")
    return visit.page(
        "value.html",
        title=f"{what} of {row.id}",
        section="executions",
        back=url_of("executions", row.id),
        back_id=row.id,
        text=cut(text, WHOLE_CHARS_MAX),
        file_url=visit.here(**{"as": "file"}),
    )


def _file(text: str, name: str, media_type: str) -> Response:
    safe = "".join(char if char.isalnum() or char in "-_.@" else "_" for char in name)
    headers = {**PAGE_HEADERS, "content-disposition": f'attachment; filename="{safe}"'}
    return Response(text.encode("utf-8", "replace"), headers=headers, media_type=media_type)


async def output(visit: Visit) -> Response:
    """`GET /ui/executions/{id}/output?offset=…&rewinds=…`: what was printed since, as a piece of the page."""
    offset, rewinds = read_place(visit.query("offset")), read_place(visit.query("rewinds"))
    if offset is None or rewinds is None:
        raise BadArguments("offset= and rewinds= are whole numbers")
    found = await output_pieces.since(visit.reads, visit.path("id"), offset, rewinds)
    answer = visit.piece("output.html", output=found)
    answer.headers["x-offset"], answer.headers["x-rewinds"] = str(found.offset), str(found.rewinds)
    if found.again:
        answer.headers["x-again"] = "1"
    if found.more:
        answer.headers["x-more"] = "1"
    return answer


async def display(visit: Visit) -> Response:
    """`GET /ui/executions/{id}/displays/{offset}/{kind}`: one form of a display, as a document that can do nothing."""
    offset, kind = read_place(visit.path("offset")), visit.path("kind")
    rows = await visit.reads.output(visit.path("id"), offset, limit=1) if offset is not None else []
    shown = Display.read(rows[0].text) if rows and rows[0].stream == "display" else None
    data = None if shown is None else document(shown, kind)
    if data is None:
        raise NotFound("display", f"{visit.path('offset')} of {visit.path('id')}")
    media_type = "text/html; charset=utf-8" if kind == "text/html" else kind
    return Response(data, headers=FRAME_HEADERS, media_type=media_type)


# -- actions ----------------------------------------------------------------------------------------------------------


async def act(visit: Visit) -> Response:
    """`POST /ui/executions/{id}/{action}`: one of the actions of the page."""
    row, action = await find(visit), visit.path("action")
    url = url_of("executions", row.id)
    if action in ("fork", "rewind"):
        step = read_place(visit.field("step"))
        if step is None or not 0 < step < 2**31:
            raise BadArguments("a fork is made before an operation: its number, from 1")
        make = fork if action == "fork" else rewind
        made = await make(visit.store, row.id, step, visit.field("new") or None)
        return visit.go(url_of("executions", made.id), f"{made.id} begins with {made.kept} recorded operations.")
    if action == "retry":
        made = await fork(visit.store, row.id, None, visit.field("new") or None)
        return visit.go(url_of("executions", made.id), f"{made.id} begins with {made.kept} recorded operations.")
    if action == "signal":
        return visit.go(url, await _signal(visit, row.id))
    if action not in ("interrupt", "resume", "cancel"):
        raise NotFound("action", action)
    return visit.go(url, await _do(visit, action, row.id, visit.field("reason")))


async def _signal(visit: Visit, execution_id: str) -> str:
    try:
        sent = msgspec.json.decode(visit.field("value") or "null")
    except (msgspec.DecodeError, RecursionError):
        sent = visit.field("value")
    name = visit.field("signal")
    await send_signal(visit.store, execution_id, name, sent)
    return f"Signal {name} is sent."


async def _do(visit: Visit, action: str, execution_id: str, reason: str = "") -> str:
    """Do one of the actions that any number of executions can have; says what it did."""
    if action == "interrupt":
        done = await (await visit.engine.client()).interrupt(execution_id)
        return f"{execution_id} is interrupted." if done else f"{execution_id} had stopped before."
    return f"{(await make_change(visit.store, _work(visit, action, reason), execution_id)).note}."


def _work(visit: Visit, action: str, reason: str = "") -> BulkWork:
    known = next(each for each in BULK_ACTIONS if each == action)
    return BulkWork(known, reason or f"by {visit.viewer.name}")


async def bulk(visit: Visit) -> Response:
    """`POST /ui/executions`: of those that are chosen, what an action would do; with `sure`, do it."""
    action, chosen = visit.field("action"), [text for name, text in visit.form if name == "id"]
    if action not in BULK_ACTIONS:
        raise BadArguments("choose what to do with them")
    if not chosen:
        raise BadArguments("choose some executions first")
    if len(chosen) > PAGE_ROWS:
        raise BadArguments(f"at most {PAGE_ROWS} at a time")
    change = make_change if visit.field("sure") else preview_change
    found = [await change(visit.store, _work(visit, action), each) for each in dict.fromkeys(chosen)]
    return visit.page(
        "executions_bulk.html",
        title=f"{BULK_ACTIONS[action]} {len(found)}",
        section="executions",
        action=action,
        verb=BULK_ACTIONS[action],
        results=[(each.id, each.able, each.note) for each in found],
        able=[each.id for each in found if each.able],
        done=bool(visit.field("sure")),
    )


ROUTES = (
    PageRoute("executions", "GET", "read", executions),
    PageRoute("executions", "POST", "operate", bulk),
    PageRoute("executions/{id}", "GET", "read", execution),
    PageRoute("executions/{id}/events", "GET", "read", events),
    PageRoute("executions/{id}/record", "GET", "read", record),
    PageRoute("executions/{id}/output", "GET", "read", output),
    PageRoute("executions/{id}/value/{which}", "GET", "read", value),
    PageRoute("executions/{id}/steps/{step}", "GET", "read", step),
    PageRoute("executions/{id}/displays/{offset}/{kind:path}", "GET", "read", display),
    PageRoute("executions/{id}/{action}", "POST", "operate", act),
)
