"""The requests of sessions: the list, one as a notebook, its variables and checkpoints, and running code in it."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.definition_id import CELL
from durable.core.errors import BadArguments, DurableError, NotFound
from durable.engine.execution_overview import overview
from durable.engine.views import ServedFunctions, open_prompt, session_view
from durable.http.dashboard import output_pieces
from durable.http.dashboard.page_request import PageRoute, Visit
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.inbox_page import card
from durable.http.dashboard.views.session_page import (
    CELL_OUTPUT_CHARS,
    CELLS_MAX,
    NotebookCell,
    notebook_cell,
    rail,
    variable_lines,
)
from durable.sessions.checkpoints.history import CheckpointInfo
from durable.store.rows import ExecutionRow, SessionRow

SESSIONS_MAX = 500
"""Sessions of one list; the filter finds others."""

CODE_CHARS_GIVEN_MAX = 1_000_000
"""Of code that is typed into a page."""


async def sessions(visit: Visit) -> Response:
    """`GET /ui/sessions`: all that are not closed, by name."""
    living, words = await _living(visit), visit.query("q").lower()
    rows = [row for row in await visit.reads.sessions() if not row.run and words in row.name.lower()]
    rows = [row for row in rows if not row.closed or visit.query("closed")]
    shown = [(session_view(row, living), url_of("sessions", row.name)) for row in rows[:SESSIONS_MAX]]
    return visit.page(
        "sessions.html",
        title="Sessions",
        section="sessions",
        sessions=shown,
        total=len(rows),
        q=visit.query("q"),
        may_run=visit.viewer.may("operate"),
    )


async def _living(visit: Visit) -> ServedFunctions:
    return ServedFunctions.by(await visit.reads.engines(), visit.store.engine_alive)


async def find_session(visit: Visit) -> SessionRow:
    """The session that the address names. NotFound."""
    name = visit.path("name")
    row = next((row for row in await visit.reads.sessions() if row.name == name), None)
    if row is None:
        raise NotFound("session", name, "the list of sessions shows what there is")
    return row


async def session(visit: Visit) -> Response:
    """`GET /ui/sessions/{name}`: the newest cells as a notebook, and the checkpoints beside it."""
    found = await find_session(visit)
    before = visit.query("before")
    rows = await visit.reads.list_executions(session=found.name, limit=CELLS_MAX, before=before or None)
    rows = rows[::-1]
    cells = await _cells(visit, rows)
    links = [("Newest", visit.here(before=None))] if before else []
    if len(rows) == CELLS_MAX:
        links.append(("Older cells", visit.here(before=rows[0].id)))
    living = await _living(visit)
    view = session_view(found, living)
    return visit.page(
        "session.html",
        title=found.name,
        section="sessions",
        view=view,
        options=found.options,
        url=url_of("sessions", found.name),
        cells=cells,
        between=await output_pieces.tail(visit.reads, ids.session_output(found.name), CELL_OUTPUT_CHARS),
        links=links,
        newest=not before,
        checkpoints=rail(found.name, await _checkpoints(visit, found.name)),
        may_run=visit.viewer.may("operate") and not found.closed,
        runs_here=visit.engine.runs_code,
        served=living.serve((CELL,)),
        running=next((cell.view.id for cell in cells if cell.view.state in ("running", "waiting")), ""),
    )


async def _cells(visit: Visit, rows: list[ExecutionRow]) -> list[NotebookCell]:
    now, views = now_ms(), await overview(visit.store, rows)
    found = []
    for row, view in zip(rows, views, strict=True):
        shown = await output_pieces.tail(visit.reads, row.id, CELL_OUTPUT_CHARS)
        prompts = [await visit.reads.get_promise(prompt) for prompt in view.waits_for[:_QUESTIONS_MAX]]
        asked = [card(open_prompt(prompt), visit.viewer, now) for prompt in prompts if prompt is not None]
        found.append(notebook_cell(row, view, shown, asked))
    return found


_QUESTIONS_MAX = 10
"""Questions of one cell that stand in the notebook; the inbox has all."""


async def _checkpoints(visit: Visit, name: str) -> list[CheckpointInfo]:
    rows = (await visit.store.request("checkpoint.list", {"session": name})).data["checkpoints"]
    return [CheckpointInfo.of(row) for row in rows]


async def variables(visit: Visit) -> Response:
    """`GET /ui/sessions/{name}/variables`: those of the newest checkpoint, as a piece of the page.

    Their values are loaded in a worker of this machine, so only where code may run; elsewhere there are names.
    """
    found = await find_session(visit)
    history = (await visit.engine.client()).checkpoints_of(found.name)
    listed = await history.listing()
    if not listed:
        return visit.piece("variables.html", lines=[], said="It has no checkpoint yet.")
    detail = await history.show(listed[-1].id)
    changed = await history.changed(listed[-2].id, listed[-1].id) if len(listed) > 1 else {}
    loaded, said = [], ""
    if visit.engine.runs_code and visit.viewer.may("operate"):
        try:
            loaded = await history.variables(listed[-1].id)
        except (DurableError, OSError) as error:
            said = f"Only names are known, the values cannot be loaded here: {error}"
    else:
        said = f"This server runs no code, so there are names only; durable session vars {found.name} shows values."
    return visit.piece("variables.html", lines=variable_lines(detail.names, loaded, detail.lost, changed), said=said)


async def diff(visit: Visit) -> Response:
    """`GET /ui/sessions/{name}/diff?before=…&after=…`: names that two checkpoints have otherwise."""
    found = await find_session(visit)
    before, after = _number(visit.query("before")), _number(visit.query("after"))
    history = (await visit.engine.client()).checkpoints_of(found.name)
    if visit.engine.runs_code and visit.viewer.may("operate"):
        changes = [(each.kind, each.name, each.before, each.after) for each in await history.diff(before, after)]
    else:
        names = await history.changed(before, after)
        changes = [(kind, name, None, None) for name, kind in names.items()]
    values: dict[str, Any] = {"changes": changes, "before": before, "after": after, "name": found.name}
    if visit.is_part:
        return visit.piece("diff.html", **values)
    url = url_of("sessions", found.name)
    return visit.page("session_diff.html", title=f"{found.name}: changes", section="sessions", url=url, **values)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise BadArguments("a checkpoint is named by its number")
    return int(text)


# -- actions ----------------------------------------------------------------------------------------------------------


async def make(visit: Visit) -> Response:
    """`POST /ui/sessions`: a session of that name, with what sessions have unless they are made otherwise."""
    name = visit.field("name")
    await (await visit.engine.client()).session(name)
    return visit.go(url_of("sessions", name))


async def run(visit: Visit) -> Response:
    """`POST /ui/sessions/{name}/run`: record code as the next cell; whoever serves sessions runs it."""
    found = await find_session(visit)
    code = next((text for name, text in visit.form if name == "code"), "").replace("\r\n", "\n")
    if not code.strip():
        raise BadArguments("there is no code to run")
    if len(code) > CODE_CHARS_GIVEN_MAX:
        raise BadArguments(f"code has at most {CODE_CHARS_GIVEN_MAX:,} characters here")
    engine = await visit.engine.client()
    if visit.engine.runs_code and not (await _living(visit)).serve((CELL,)):
        await engine.serve()
    made = await (await engine.session(found.name)).submit(code)
    note = "" if (await _living(visit)).serve((CELL,)) else f"{made.id} waits: no engine that is alive runs sessions."
    return visit.go(url_of("sessions", found.name), note)


async def restore(visit: Visit) -> Response:
    """`POST /ui/sessions/{name}/restore`: merge a checkpoint into the variables."""
    found, which = await find_session(visit), _number(visit.field("checkpoint"))
    command = f"durable checkpoint restore {found.name} {which}"
    engine = await visit.engine.running("restoring a checkpoint", command)
    report = await (await engine.session(found.name)).restore(which, clear_existing=bool(visit.field("clear")))
    lost = f"; lost: {', '.join(each.name for each in report.lost)}" if report.lost else ""
    note = f"{len(report.restored)} variables are restored from checkpoint {which}{lost}."
    return visit.go(url_of("sessions", found.name), note)


async def fork_session(visit: Visit) -> Response:
    """`POST /ui/sessions/{name}/fork`: another session that begins with what a checkpoint holds."""
    found, which, new = await find_session(visit), _number(visit.field("checkpoint")), visit.field("new")
    command = f"durable fork {found.name} NAME --checkpoint {which}"
    engine = await visit.engine.running("forking a session", command)
    made = await engine.fork(found.name, new, checkpoint=which)
    return visit.go(url_of("sessions", made.name), f"{made.name} begins where {found.name} was at checkpoint {which}.")


async def stop(visit: Visit) -> Response:
    """`POST /ui/sessions/{name}/interrupt`: stop the cell that runs, so that it can go on later."""
    found = await find_session(visit)
    rows = await visit.reads.list_executions(session=found.name, limit=CELLS_MAX)
    open_cells = [row for row in rows if row.state in ("running", "waiting")]
    if not open_cells:
        return visit.go(url_of("sessions", found.name), "Nothing runs in it.")
    await (await visit.engine.client()).interrupt(open_cells[-1].id)
    return visit.go(url_of("sessions", found.name), f"{open_cells[-1].id} is interrupted; its page resumes it.")


ROUTES = (
    PageRoute("sessions", "GET", "read", sessions),
    PageRoute("sessions", "POST", "operate", make),
    PageRoute("sessions/{name}", "GET", "read", session),
    PageRoute("sessions/{name}/variables", "GET", "read", variables),
    PageRoute("sessions/{name}/diff", "GET", "read", diff),
    PageRoute("sessions/{name}/run", "POST", "operate", run),
    PageRoute("sessions/{name}/restore", "POST", "operate", restore),
    PageRoute("sessions/{name}/fork", "POST", "operate", fork_session),
    PageRoute("sessions/{name}/interrupt", "POST", "operate", stop),
)
