"""`durable deployment …`: which code new executions go to, and whose the others are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.core import ids
from durable.core.definition_id import one_of_each

if TYPE_CHECKING:
    from durable.engine.deployment_operations import Deployment
    from durable.engine.engine import Engine
    from durable.functions.replay.replay_check import ReplayCheck
    from durable.store.rows import ExecutionRow


@click.group("deployment", short_help="Deployments: list, use, move, delete.")
def command() -> None:
    """Deployments: code of several releases side by side, each with the executions that it began."""


@command.command("list", cls=Command)
@asynchronous
async def list_(chosen: Settings) -> int:
    """All deployments, the newest first: their engines, and their executions that have not ended."""
    from durable.cli.engine_or_client import looked_at
    from durable.engine.deployment_operations import list_deployments

    async with looked_at(chosen) as store:
        found = await list_deployments(store)
    out = chosen.out()
    if out.json:
        out.document([{**asdict(each), "stranded": each.stranded} for each in found])
        return exit_codes.DONE
    rows = [
        (
            each.name,
            f"{len(one_of_each(each.new_work))} of {len(one_of_each(each.functions))}",
            len(each.engines),
            ", ".join(f"{count} {state}" for state, count in each.open.items()),
            _note(each),
        )
        for each in found
    ]
    out.table(("deployment", "functions with new work", "engines", "open", "note"), rows, "no deployments")
    return exit_codes.DONE


def _note(found: Deployment) -> str:
    """The hint where its executions cannot go on, or new ones begin."""
    if found.engines or not (found.open or found.new_work):
        return ""
    wishes = [f"`durable deployment move NAME --from {found.name}`"] if found.open else []
    wishes += ["`durable deployment use NAME` for new work"] if found.new_work else []
    return f"no engine is alive: start one, or {', '.join(wishes)}"


@command.command("use", cls=Command)
@click.argument("deployment", metavar="NAME")
@asynchronous
async def use(chosen: Settings, deployment: str) -> int:
    """Have new executions go to this deployment again. What has begun stays where it is."""
    from durable.cli.engine_or_client import opened
    from durable.engine.deployment_operations import use_deployment

    async with opened(chosen, create=False) as store:
        await use_deployment(store, deployment)
    chosen.out().say(f"new executions go to {deployment}")
    return exit_codes.DONE


@command.command("delete", cls=Command)
@click.argument("deployment", metavar="NAME")
@asynchronous
async def delete(chosen: Settings, deployment: str) -> int:
    """Forget a deployment whose executions have ended and whose engines are gone."""
    from durable.cli.engine_or_client import opened
    from durable.engine.deployment_operations import delete_deployment

    async with opened(chosen, create=False) as store:
        await delete_deployment(store, deployment)
    chosen.out().say(f"{deployment} is forgotten")
    return exit_codes.DONE


@command.command("move", cls=Command, short_help="Have executions go on with another deployment's code.")
@click.argument("name", metavar="NAME")
@click.argument("execution_ids", metavar="[ID]...", nargs=-1)
@click.option("--from", "old", metavar="OLD", help='All of this deployment in place of IDs; "" for those of none.')
@click.option(
    "--with", "targets", metavar="MODULE|FILE", multiple=True, help="NAME's code; else where it was loaded from last."
)
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="At most so many.")
@click.option("--dry-run", is_flag=True, help="Only say which would.")
@asynchronous
async def move(
    chosen: Settings,
    name: str,
    execution_ids: tuple[str, ...],
    old: str | None,
    targets: tuple[str, ...],
    limit: int,
    dry_run: bool,
) -> int:
    """Have executions that have begun go on with the code of the deployment NAME, where that replays their record.

    Those that it would not replay stay, and so do those that run now; then it ends with 1.
    """
    from durable.cli.engine_or_client import open_engine
    from durable.cli.load_target import load, load_ids, place_of

    if bool(execution_ids) == (old is not None):
        raise click.UsageError("name IDs, or say by --from whose executions are moved")
    out = chosen.out()
    for target in targets:
        load(place_of(target))
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        rows = await _chosen_rows(engine, execution_ids, old, limit)
        missing = await load_ids({row.function for row in rows}, engine.store.reads)
        found = [await _move(engine, row, name, missing, dry_run=dry_run) for row in rows]
    if out.json:
        out.document([{**asdict(each), "ok": each.ok} for each in found])
    else:
        cells = [(each.id, each.function, each.verdict, each.reason) for each in found]
        out.table(("id", "function", "verdict", "reason"), cells, "nothing is to be moved")
    return exit_codes.DONE if all(each.ok for each in found) else exit_codes.FAILED


async def _chosen_rows(
    engine: Engine, execution_ids: tuple[str, ...], old: str | None, limit: int
) -> list[ExecutionRow]:
    from durable.cli.execution_status import find
    from durable.core.errors import NotFound
    from durable.engine.deployment_operations import list_deployments, unsettled_of

    if old is None:
        return [await find(engine.store.reads, each.removeprefix(ids.PREFIX)) for each in execution_ids]
    if old and old not in {each.name for each in await list_deployments(engine.store)}:
        raise NotFound("deployment", old, "`durable deployment list` shows what there is")
    rows, place = await unsettled_of(engine.store.reads, old, limit=limit)
    while place is not None and len(rows) < limit:
        more, place = await unsettled_of(engine.store.reads, old, limit=limit - len(rows), after=place)
        rows += more
    return rows


async def _move(engine: Engine, row: ExecutionRow, name: str, missing: dict[str, str], *, dry_run: bool) -> ReplayCheck:
    from durable.functions.replay.replay_check import not_checked

    if row.function in missing:
        return not_checked(row.id, row.function, missing[row.function])
    return await engine.deployments.try_move(row.id, name, dry_run=dry_run)
