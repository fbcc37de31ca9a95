"""The routes about deployments and about how long executions are kept: listed, chosen, moved to, forgotten."""

from __future__ import annotations

import time
from dataclasses import asdict

from durable.client import api_models
from durable.client.api_models import DeploymentView, Page
from durable.core import ids
from durable.core.errors import BadArguments, NotFound
from durable.engine import deployment_operations, retention_rules
from durable.engine.deployment_operations import Deployment, unsettled_of
from durable.engine.views import iso
from durable.executions.deployment_name import check_deployment
from durable.executions.page_cursor import read_cursor, write_cursor
from durable.functions.replay.replay_check import ReplayCheck, not_checked
from durable.http.api.api_route import ApiCall, ApiRoute
from durable.http.api.routes.bulk_routes import BULK_S_MAX
from durable.http.api.server_engine import require_code_of


async def list_deployments(call: ApiCall) -> Page[DeploymentView]:
    """Deployments, the one that new work goes to first: their engines, and executions that have not ended."""
    return Page(items=[_view(each) for each in await deployment_operations.list_deployments(call.store)])


async def get_deployment(call: ApiCall) -> DeploymentView:
    """One deployment."""
    return _view(await _deployment(call))


async def use_deployment(call: ApiCall) -> DeploymentView:
    """Have new executions go to this deployment again, as far as it serves the functions."""
    await deployment_operations.use_deployment(call.store, call.params["name"])
    return _view(await _deployment(call))


async def delete_deployment(call: ApiCall) -> None:
    """Forget a deployment whose executions have ended and whose engines are gone."""
    await deployment_operations.delete_deployment(call.store, call.params["name"])


async def move_executions(call: ApiCall) -> api_models.MoveOutcome:
    """Have executions go on with this deployment's code, where that replays their record; the others stay.

    Nothing is performed. It needs a server that runs this deployment: only that one has its code.
    """
    body: api_models.MoveExecutions = call.body
    name = (await _deployment(call)).name
    if bool(body.ids) == (body.old is not None):
        raise BadArguments("name ids, or say by `from` whose executions are moved; one of them")
    if body.old is not None and check_deployment(body.old) == name:
        raise BadArguments(f"they belong to {name} already")
    engine = await call.engine()
    require_code_of(call.site, engine, name)
    of = ("move", name, body.ids, body.old)
    place = read_cursor(body.cursor, of, tuple[str, str])
    chosen, following = await _chosen(call, body, place)
    items: list[ReplayCheck] = []
    ends_at = time.monotonic() + BULK_S_MAX
    for n, (_, execution_id) in enumerate(chosen):
        if n and time.monotonic() > ends_at:
            following = chosen[n - 1]
            break
        try:
            items.append(await engine.deployments.try_move(execution_id, name, dry_run=body.dry_run))
        except NotFound:
            items.append(not_checked(execution_id, "", "there is no such execution"))
        if items[-1].ok and not body.dry_run:
            call.site.audit.done(call.holder, "move_execution", execution_id, 200)
    return api_models.MoveOutcome(
        items=[api_models.ExecutionMove(**asdict(each), ok=each.ok) for each in items],
        dry_run=body.dry_run,
        next=None if following is None else write_cursor(following, of),
    )


async def _chosen(
    call: ApiCall, body: api_models.MoveExecutions, place: tuple[str, str] | None
) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """The states and ids of the executions that are meant, behind a place, and where to go on."""
    if body.old is None:
        named = list(dict.fromkeys(each.removeprefix(ids.PREFIX) for each in body.ids))
        if place is not None and place[1] not in named:
            raise BadArguments("the cursor is none: take it from `next` of the answer before, unchanged")
        done = 0 if place is None else named.index(place[1]) + 1
        return [("", each) for each in named[done:]], None
    rows, following = await unsettled_of(call.reads, body.old, limit=body.limit, after=place)
    return [(row.state, row.id) for row in rows], following


async def list_retention_rules(call: ApiCall) -> Page[api_models.RetentionRule]:
    """How long executions are kept once they have ended, by function and state, where code says so."""
    found = await retention_rules.list_retention_rules(call.store)
    return Page(items=[api_models.RetentionRule(**each._asdict()) for each in found])


async def _deployment(call: ApiCall) -> Deployment:
    name = check_deployment(call.params["name"])
    found = next((each for each in await deployment_operations.list_deployments(call.store) if each.name == name), None)
    if found is None:
        raise NotFound("deployment", name, "GET /api/v1/deployments lists them")
    return found


def _view(found: Deployment) -> DeploymentView:
    return DeploymentView(
        name=found.name,
        functions=found.functions,
        new_work=found.new_work,
        engines=found.engines,
        open=found.open,
        stranded=found.stranded,
        created_at=iso(found.created_at) or "",
        joined_at=iso(found.joined_at) or "",
    )


ROUTES = (
    ApiRoute("GET", "/deployments", "read", list_deployments, Page[DeploymentView]),
    ApiRoute("GET", "/deployments/{name}", "read", get_deployment, DeploymentView),
    ApiRoute("POST", "/deployments/{name}/use", "operate", use_deployment, DeploymentView),
    ApiRoute(
        "POST",
        "/deployments/{name}/move",
        "operate",
        move_executions,
        api_models.MoveOutcome,
        body=api_models.MoveExecutions,
        refusals=(409,),
    ),
    ApiRoute("DELETE", "/deployments/{name}", "operate", delete_deployment, None, status=204, refusals=(409,)),
    ApiRoute("GET", "/retention", "read", list_retention_rules, Page[api_models.RetentionRule]),
)
