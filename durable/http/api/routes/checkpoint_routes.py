"""The routes about checkpoints of a session: listed, looked into, made, compared, restored, begun from."""

from __future__ import annotations

from typing import Annotated

import msgspec

from durable.client import api_models
from durable.client.api_models import Page
from durable.engine.views import iso
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.http.api.api_route import Answer, ApiCall, ApiRoute, PageQuery, RouteQuery, within
from durable.http.api.execution_views import converted
from durable.http.api.routes.session_routes import TURN_S, get_session, opened_session, variable_set
from durable.sessions.checkpoints.history import CheckpointHistory, CheckpointInfo

type Which = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class DiffQuery(RouteQuery, frozen=True, kw_only=True):
    """Two checkpoints, by number or label."""

    before: Which
    after: Which


def which_one(text: str) -> str | int:
    """A checkpoint's number where it is digits, else a label."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


async def _history(call: ApiCall) -> CheckpointHistory:
    return (await call.engine()).checkpoints_of((await call.session()).name)


def _view(info: CheckpointInfo) -> api_models.CheckpointView:
    return api_models.CheckpointView(
        id=info.id,
        label=info.label,
        execution=info.execution,
        statement=info.statement,
        final=info.final,
        created_at=iso(info.created_at_ms) or "",
    )


async def list_checkpoints(call: ApiCall) -> Page[api_models.CheckpointView]:
    """The checkpoints that are kept, oldest first."""
    of, query = ("checkpoints", call.params["name"]), call.query
    after = read_cursor(query.cursor, of, int) or 0
    found = [info for info in await (await _history(call)).listing() if info.id > after]
    page = found[: query.limit]
    return Page(
        items=[_view(info) for info in page], next=write_cursor(page[-1].id, of) if len(found) > len(page) else None
    )


async def make_checkpoint(call: ApiCall) -> Answer:
    """Save the variables now. This server has to run an engine, and no other one may have the session."""
    session, label = await opened_session(call), call.body.label
    number = await within(TURN_S, session.checkpoint(label), f"session {session.name!r}")
    return Answer(api_models.CheckpointMade(session=session.name, checkpoint=number, label=label), 201)


async def get_checkpoint(call: ApiCall) -> api_models.CheckpointContents:
    """One checkpoint, by number or label, and the names in it; every byte of it is verified."""
    found = await (await _history(call)).show(which_one(call.params["which"]))
    return api_models.CheckpointContents(
        checkpoint=_view(found.info),
        names=list(found.names),
        modules=[api_models.ModuleView(name=name, module=module, version=v) for name, module, v in found.modules],
        lost=[converted(each, api_models.LostVariable) for each in found.lost],
        size=found.size,
    )


async def list_checkpoint_variables(call: ApiCall) -> api_models.VariableSet:
    """The variables of a checkpoint, looked at in a worker that is made for it."""
    return await variable_set(call, (await call.session()).name, which_one(call.params["which"]))


async def diff_checkpoints(call: ApiCall) -> Page[api_models.VariableChange]:
    """The names that differ between two checkpoints. Both are loaded, each in a worker that is made for it."""
    before, after = which_one(call.query.before), which_one(call.query.after)
    changes = await (await _history(call)).diff(before, after)
    return Page(items=[converted(each, api_models.VariableChange) for each in changes])


async def label_checkpoint(call: ApiCall) -> api_models.CheckpointView:
    """Give a checkpoint a label, by which it is found and kept, or take it away."""
    return _view(await (await _history(call)).label(which_one(call.params["which"]), call.body.label))


async def drop_checkpoint(call: ApiCall) -> None:
    """Forget a checkpoint."""
    await (await _history(call)).drop(which_one(call.params["which"]))


async def restore_checkpoint(call: ApiCall) -> api_models.CheckpointRestored:
    """Bring a checkpoint's variables back; others stay, unless `clear_existing`.

    This server has to run an engine, and no other one may have the session.
    """
    session, body = await opened_session(call), call.body
    await (await _history(call)).show(which_one(call.params["which"]))
    restoring = session.restore(
        which_one(call.params["which"]),
        clear_existing=body.clear_existing,
        override_environment=body.override_environment,
        recompute=body.recompute,
    )
    found = await within(TURN_S, restoring, f"session {session.name!r}")
    return api_models.CheckpointRestored(
        restored=list(found.restored),
        rebuilt=list(found.rebuilt),
        lost=[converted(each, api_models.LostVariable) for each in found.lost],
        recomputed=list(found.recomputed),
    )


async def fork_session(call: ApiCall) -> Answer:
    """Make a session that begins with what a checkpoint of this one holds, the newest by default.

    This server has to run an engine.
    """
    session, body = await opened_session(call), call.body
    which = which_one(body.checkpoint) if isinstance(body.checkpoint, str) else body.checkpoint
    await within(TURN_S, session.fork(body.name, checkpoint=which), f"session {session.name!r}")
    call.params["name"] = body.name
    return Answer(await get_session(call), 201, (("location", f"/api/v1/sessions/{body.name}"),))


ROUTES = (
    ApiRoute(
        "GET", "/sessions/{name}/checkpoints", "read", list_checkpoints, Page[api_models.CheckpointView], PageQuery
    ),
    ApiRoute(
        "POST",
        "/sessions/{name}/checkpoints",
        "operate",
        make_checkpoint,
        api_models.CheckpointMade,
        body=api_models.MakeCheckpoint,
        status=201,
        refusals=(409,),
    ),
    ApiRoute(
        "GET",
        "/sessions/{name}/checkpoints/{which}",
        "read",
        get_checkpoint,
        api_models.CheckpointContents,
        refusals=(409,),
    ),
    ApiRoute(
        "GET",
        "/sessions/{name}/checkpoints/{which}/variables",
        "read",
        list_checkpoint_variables,
        api_models.VariableSet,
        refusals=(409,),
    ),
    ApiRoute(
        "GET",
        "/sessions/{name}/diff",
        "read",
        diff_checkpoints,
        Page[api_models.VariableChange],
        DiffQuery,
        refusals=(409,),
    ),
    ApiRoute(
        "PATCH",
        "/sessions/{name}/checkpoints/{which}",
        "operate",
        label_checkpoint,
        api_models.CheckpointView,
        body=api_models.LabelCheckpoint,
        refusals=(409,),
    ),
    ApiRoute(
        "DELETE",
        "/sessions/{name}/checkpoints/{which}",
        "admin",
        drop_checkpoint,
        None,
        status=204,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/sessions/{name}/checkpoints/{which}/restore",
        "operate",
        restore_checkpoint,
        api_models.CheckpointRestored,
        body=api_models.RestoreCheckpoint,
        refusals=(409,),
    ),
    ApiRoute(
        "POST",
        "/sessions/{name}/fork",
        "operate",
        fork_session,
        api_models.SessionDetail,
        body=api_models.ForkSession,
        status=201,
        refusals=(409,),
    ),
)
