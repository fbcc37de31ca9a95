"""The routes about sessions: made, looked at, code run in them, variables, permissions."""

from __future__ import annotations

from typing import Any

from bridge.confine.limits import Limits
from capabilities.capability import Capabilities
from durable.client import api_models
from durable.client.api_models import Page
from durable.core import ids
from durable.core.errors import DurableError
from durable.engine.views import session_view
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.http.api.api_route import Answer, ApiCall, ApiRoute, PageQuery, within
from durable.http.api.execution_views import converted, served
from durable.http.api.output_stream import printed_page
from durable.http.api.routes.execution_routes import OutputQuery, made_execution
from durable.records.view_models import SessionView
from durable.sessions.calls.audit import Audit
from durable.sessions.language import language_of
from durable.sessions.ownership.left_worker import end_worker, start_time
from durable.sessions.permissions import PermissionChanges
from durable.sessions.session import Session
from durable.store.rows import SessionRow

TURN_S = 30.0
"""How long a request waits for its turn in a session in which code runs."""


async def list_sessions(call: ApiCall) -> Page[SessionView]:
    """Sessions, by name. Closed ones are listed for as long as they are kept."""
    of, query = ("sessions",), call.query
    rows = await call.reads.sessions_page(read_cursor(query.cursor, of, str) or "", query.limit)
    living = await served(call.store)
    views = [session_view(row, living) for row in rows if not row.run]
    return Page(items=views, next=write_cursor(rows[-1].name, of) if len(rows) == query.limit else None)


async def open_session(call: ApiCall) -> Answer:
    """Make a session, or find the one of that name.

    What it was made with counts: 409 when something else is asked for.
    """
    body, engine = call.body, await call.engine()
    known = await call.reads.session(body.name)
    await engine.session(
        body.name,
        grants=body.grants,
        level=body.level,
        permissions=body.permissions,
        profile=body.profile,
        limits=None if body.limits is None else Limits.read({name: _limit(v) for name, v in body.limits.items()}),
        output=body.output,
        language=body.language,
    )
    row = await call.reads.session(body.name)
    assert row is not None, "it was made just now"
    new = known is None or known.closed
    return Answer(await _detail(call, row), 201 if new else 200, (("location", f"/api/v1/sessions/{row.name}"),))


def _limit(value: float) -> int | float:
    return int(value) if value == int(value) else value


async def get_session(call: ApiCall) -> api_models.SessionDetail:
    """One session: what it does, who has it, and what it was made with."""
    return await _detail(call, await call.session())


async def _detail(call: ApiCall, row: SessionRow) -> api_models.SessionDetail:
    view = session_view(row, await served(call.store))
    options = row.options
    return api_models.SessionDetail(
        **{name: getattr(view, name) for name in SessionView.__dataclass_fields__},
        language=language_of(options),
        profile=options.get("profile") or "open",
        limits=options.get("limits") or {},
        grants=list(options.get("grants") or []),
    )


async def opened_session(call: ApiCall) -> Session:
    """The session of the path as the engine of this server has it. NotFound."""
    row = await call.session()
    grants = tuple(row.options.get("grants") or ())
    return Session(await call.engine(), row.name, grants, language_of(row.options))


async def close_session(call: ApiCall) -> None:
    """Forget a session: its worker, variables, checkpoints and files. What has not ended is cancelled."""
    session = await opened_session(call)
    record = (await call.store.request("session.get", {"session": session.name})).data
    await session.close()
    await _end_worker(record)


async def restart_session(call: ApiCall) -> api_models.SessionDetail:
    """End a session's worker; the next execution gets another one, with the variables restored. What runs goes on
    there, from its newest checkpoint. A worker on another machine is not ended."""
    row = await call.session()
    await _end_worker((await call.store.request("session.get", {"session": row.name})).data)
    return await _detail(call, await call.reads.session(row.name) or row)


async def _end_worker(record: dict[str, Any]) -> None:
    worker = record.get("worker")
    if worker is not None and start_time(int(worker["pid"])) == int(worker["start"]):
        await end_worker(int(worker["pid"]), int(worker["start"]))


async def run_cell(call: ApiCall) -> Answer:
    """Run code in a session, behind what has not ended there. The header Idempotency-Key is an id, too.

    201 where it was recorded now, 200 where this code was recorded under this id before. It runs where an engine serves
    sessions; `/executions/{id}/result` waits for what comes of it.
    """
    body, session = call.body, await opened_session(call)
    chosen = call.chosen_id(body.id)
    if chosen is not None:
        ids.check_cell_id(chosen)
    known = None if chosen is None else await call.reads.get_execution(f"{session.name}@{chosen}")
    execution = await session.submit(
        body.code,
        inputs=body.inputs,
        timeout=body.timeout,
        checkpoint=body.checkpoint,
        transaction=body.transaction,
        on_busy=body.on_busy,
        id=chosen,
    )
    return await made_execution(call, execution.id, new=known is None)


async def interrupt_session(call: ApiCall) -> api_models.Changed:
    """Interrupt what runs or waits in a session, so that it can go on later."""
    session = await opened_session(call)
    changed = await session.interrupt(raises=call.body.raises)
    row = await call.session()
    return api_models.Changed(id=session.name, changed=changed, state=session_view(row, await served(call.store)).state)


async def get_session_output(call: ApiCall) -> api_models.PrintedPage:
    """The output of threads and tasks of a session while none of its cells ran."""
    row, query = await call.session(), call.query
    return await printed_page(call.reads, ids.session_output(row.name), query.offset, query.limit, ended=False)


async def list_variables(call: ApiCall) -> api_models.VariableSet:
    """The variables of a session as of its newest checkpoint: the one after the last execution, where that was saved.

    They are looked at in a worker that is made for it; whatever engine has the session is not disturbed.
    """
    row, engine = await call.session(), await call.engine()
    history = engine.checkpoints_of(row.name)
    listed = await history.listing()
    if not listed:
        return api_models.VariableSet(session=row.name, checkpoint=None, names=[], modules=[], lost=[], variables=[])
    return await variable_set(call, row.name, listed[-1].id)


async def variable_set(call: ApiCall, session: str, which: str | int) -> api_models.VariableSet:
    """The variables of a checkpoint. NotFound, CheckpointError."""
    history = (await call.engine()).checkpoints_of(session)
    found, problem, variables = await history.show(which), None, []
    if found.names:
        try:
            variables = await history.variables(found.info.id)
        except (DurableError, OSError) as error:
            problem = f"only names are known, the values cannot be loaded here: {error}"
    return api_models.VariableSet(
        session=session,
        checkpoint=found.info.id,
        names=list(found.names),
        modules=[api_models.ModuleView(name=name, module=module, version=v) for name, module, v in found.modules],
        lost=[converted(each, api_models.LostVariable) for each in found.lost],
        variables=[converted(each, api_models.VariableView) for each in variables],
        problem=problem,
    )


async def set_variables(call: ApiCall) -> api_models.VariablesSet:
    """Set variables of a session, JSON values, and save that. This server has to run an engine."""
    session = await opened_session(call)
    setting = session.update_namespace(call.body.values, strategy=call.body.strategy)
    return api_models.VariablesSet(changed=await within(TURN_S, setting, f"session {session.name!r}"))


async def grant_permission(call: ApiCall) -> api_models.PermissionChanged:
    """Allow a session more from its next call on."""
    return await _permit(call, revoke=False)


async def revoke_permission(call: ApiCall) -> api_models.PermissionChanged:
    """Allow a session something no more, from its next call on."""
    return await _permit(call, revoke=True)


async def _permit(call: ApiCall, *, revoke: bool) -> api_models.PermissionChanged:
    row, body = await call.session(), call.body
    audit = Audit(call.store)
    changes = PermissionChanges(call.store, Capabilities(), audit, any_name=True)
    if revoke:
        await changes.revoke(row.name, body.grant, by=call.holder.name)
    else:
        await changes.grant(row.name, body.grant, seconds=body.seconds, by=call.holder.name)
    audit.flush()
    state = "revoked" if revoke else "granted"
    return api_models.PermissionChanged(session=row.name, grant=body.grant, state=state)


ROUTES = (
    ApiRoute("GET", "/sessions", "read", list_sessions, Page[SessionView], PageQuery),
    ApiRoute(
        "POST",
        "/sessions",
        "operate",
        open_session,
        api_models.SessionDetail,
        body=api_models.OpenSession,
        status=201,
        also=(200,),
        refusals=(409,),
    ),
    ApiRoute("GET", "/sessions/{name}", "read", get_session, api_models.SessionDetail),
    ApiRoute("DELETE", "/sessions/{name}", "admin", close_session, None, status=204, refusals=(409,)),
    ApiRoute("POST", "/sessions/{name}/restart", "operate", restart_session, api_models.SessionDetail),
    ApiRoute(
        "POST",
        "/sessions/{name}/executions",
        "operate",
        run_cell,
        api_models.ExecutionDetail,
        body=api_models.RunCell,
        status=201,
        also=(200,),
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/sessions/{name}/interrupt",
        "operate",
        interrupt_session,
        api_models.Changed,
        body=api_models.InterruptExecution,
        refusals=(409,),
    ),
    ApiRoute("GET", "/sessions/{name}/output", "read", get_session_output, api_models.PrintedPage, OutputQuery),
    ApiRoute("GET", "/sessions/{name}/variables", "read", list_variables, api_models.VariableSet, refusals=(409,)),
    ApiRoute(
        "PATCH",
        "/sessions/{name}/variables",
        "operate",
        set_variables,
        api_models.VariablesSet,
        body=api_models.SetVariables,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/sessions/{name}/grant",
        "admin",
        grant_permission,
        api_models.PermissionChanged,
        body=api_models.ChangePermission,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/sessions/{name}/revoke",
        "admin",
        revoke_permission,
        api_models.PermissionChanged,
        body=api_models.ChangePermission,
        refusals=(409,),
    ),
)
