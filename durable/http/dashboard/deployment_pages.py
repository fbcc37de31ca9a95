"""The requests of deployments: whose the executions are, where new ones go, and moving them from one to another."""

from __future__ import annotations

from starlette.responses import Response

from durable.core.definition_id import one_of_each
from durable.core.errors import BadArguments, NotFound
from durable.engine.deployment_operations import (
    Deployment,
    delete_deployment,
    list_deployments,
    unsettled_of,
    use_deployment,
)
from durable.engine.views import iso
from durable.functions.replay.replay_check import ReplayCheck, not_checked
from durable.http.api.server_engine import require_code_of
from durable.http.dashboard.page_request import PageRoute, Visit
from durable.http.dashboard.views.addresses import url_of

MOVED_MAX = 100
"""Executions that are moved at a time."""

FUNCTIONS_MAX = 500
"""Functions of a deployment that its page names."""


async def deployments(visit: Visit) -> Response:
    """`GET /ui/deployments`: all, the one that new work goes to first."""
    found = await list_deployments(visit.store)
    lines = [(each, url_of("deployments", each.name), *_functions(each), iso(each.joined_at)) for each in found]
    may = visit.viewer.may("operate")
    return visit.page("deployments.html", title="Deployments", section="deployments", lines=lines, may=may)


def _functions(found: Deployment) -> tuple[int, int]:
    """How many functions new work of which goes to it, and how many it has served."""
    return len(one_of_each(found.new_work)), len(one_of_each(found.functions))


async def deployment(visit: Visit) -> Response:
    """`GET /ui/deployments/{name}`: its engines, its executions that have not ended, its functions."""
    found, others = await _deployment(visit)
    new_work = set(found.new_work)
    functions = [(each, each in new_work) for each in one_of_each(found.functions)]
    return visit.page(
        "deployment.html",
        title=found.name,
        section="deployments",
        deployment=found,
        url=url_of("deployments", found.name),
        others=others,
        functions=functions[:FUNCTIONS_MAX],
        more=max(0, len(functions) - FUNCTIONS_MAX),
        created=iso(found.created_at),
        joined=iso(found.joined_at),
        may=visit.viewer.may("operate"),
    )


async def _deployment(visit: Visit) -> tuple[Deployment, list[str]]:
    """The deployment that the address names, and the names of the others. NotFound."""
    name, found = visit.path("name"), await list_deployments(visit.store)
    one = next((each for each in found if each.name == name), None)
    if one is None:
        raise NotFound("deployment", name, "the list of deployments shows what there is")
    return one, [each.name for each in found if each.name != name]


async def act(visit: Visit) -> Response:
    """`POST /ui/deployments/{name}/{action}`: use, delete, or move its executions to another one."""
    name, action = visit.path("name"), visit.path("action")
    if action == "use":
        await use_deployment(visit.store, name)
        return visit.go("/ui/deployments", f"New executions go to {name}.")
    if action == "delete":
        await delete_deployment(visit.store, name)
        return visit.go("/ui/deployments", f"{name} is forgotten.")
    if action == "move":
        return await _move(visit)
    raise NotFound("action", action)


async def _move(visit: Visit) -> Response:
    """Of its executions that have not ended, which another deployment's code replays; with `sure`, move those."""
    found, others = await _deployment(visit)
    to, chosen = visit.field("to"), [text for name, text in visit.form if name == "id"]
    if to not in others:
        raise BadArguments("choose the deployment to move them to")
    if len(chosen) > MOVED_MAX:
        raise BadArguments(f"at most {MOVED_MAX} at a time")
    done, more = bool(visit.field("sure")), False
    if not done:
        rows, following = await unsettled_of(visit.reads, found.name, limit=MOVED_MAX)
        chosen, more = [row.id for row in rows], following is not None
    checks = [await _tried(visit, execution_id, found.name, to, dry_run=not done) for execution_id in chosen]
    return visit.page(
        "deployment_move.html",
        title=f"Move {len(checks)} to {to}",
        section="deployments",
        url=url_of("deployments", found.name),
        to=to,
        results=[(each.id, url_of("executions", each.id), each.ok, each.reason) for each in checks],
        able=[each.id for each in checks if each.ok],
        done=done,
        more=more,
    )


async def _tried(visit: Visit, execution_id: str, old: str, to: str, *, dry_run: bool) -> ReplayCheck:
    """The move of one execution of a deployment, made or only tried."""
    engine = await visit.engine.client()
    require_code_of(visit.site, engine, to)
    row = await visit.reads.get_execution(execution_id)
    if row is None or row.deployment != old:
        return not_checked(execution_id, "", f"it is not of {old} any more")
    check = await engine.deployments.try_move(execution_id, to, dry_run=dry_run)
    if check.ok and not dry_run:
        visit.site.audit.done(visit.viewer, "move_execution", execution_id, 200)
    return check


ROUTES = (
    PageRoute("deployments", "GET", "read", deployments),
    PageRoute("deployments/{name}", "GET", "read", deployment),
    PageRoute("deployments/{name}/{action}", "POST", "operate", act),
)
