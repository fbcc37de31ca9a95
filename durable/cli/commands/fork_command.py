"""`durable fork SESSION NAME [--checkpoint WHICH]`, `durable fork ID --at STEP [NAME]`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.arguments import step_number, which_one
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.execution_filter import chooses_many, chosen_rows, filter_of, many
from durable.core import ids

if TYPE_CHECKING:
    from durable.executions.execution_search import ExecutionFilter


@click.command("fork", cls=Command, short_help="Begin a session from a checkpoint, an execution from a step.")
@click.argument("forked", metavar="[SESSION|ID]", required=False)
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--checkpoint", metavar="WHICH", type=which_one, help="Its number or label; the newest by default.")
@click.option("--at", "step", type=step_number, metavar="STEP", help="Fork the execution ID before this step.")
@click.option("--set", "changes", metavar="NAME=JSON", multiple=True, help="With --at: another value of an argument.")
@many
def command(
    forked: str | None,
    name: str | None,
    checkpoint: str | int | None,
    step: int | None,
    changes: tuple[str, ...],
    limit: int,
    dry_run: bool,
    **options: Any,
) -> int:
    """Make a session NAME that begins with what a checkpoint of SESSION holds, with the same grants and profile.

    With --at: an execution that has done what ID had done before its operation number STEP, and wait for it. Its id is
    NAME, or <ID>-fork-<n>. With --at and options that choose in place of ID, all of those are forked, the newest first;
    they go on with `durable resume` where no engine runs. --dry-run shows what would be kept.
    """
    in_bulk = chooses_many(forked, **options)
    chosen = settings()
    if in_bulk:
        if step is None or checkpoint is not None:
            raise click.UsageError("many executions are forked with --at STEP; a session is forked by its name")
        changed, wanted = changed_arguments(changes), filter_of(**options)
        return in_loop(lambda: fork_many(chosen, wanted, step, changed, limit, dry_run))
    assert forked is not None
    if step is not None:
        if checkpoint is not None:
            raise click.UsageError("--checkpoint is of a session, --at of an execution")
        changed = changed_arguments(changes)
        return in_loop(lambda: fork_one(chosen, forked.removeprefix(ids.PREFIX), step, name, changed, dry_run))
    if name is None or dry_run or changes:
        raise click.UsageError("name the new session; an execution is forked with --at STEP")
    return in_loop(lambda: _fork_session(chosen, forked, name, checkpoint))


async def _fork_session(chosen: Settings, session: str, name: str, checkpoint: str | int | None) -> int:
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=True, create=False) as engine:
        made = await engine.fork(session, name, checkpoint=checkpoint)
    if out.json:
        out.document(
            {"session": made.name, "from": session, "checkpoint": None if checkpoint is None else str(checkpoint)}
        )
    out.say(f"session {made.name} begins where {session} was")
    return exit_codes.DONE


def changed_arguments(changes: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of `--set`: JSON where it parses, else text."""
    from durable.cli.arguments import Word

    found: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--set {change!r} is not NAME=JSON")
        found[name] = Word(value).value
    return found


async def fork_many(
    chosen: Settings,
    wanted: ExecutionFilter,
    step: int,
    changed: dict[str, Any],
    limit: int,
    dry_run: bool,
    *,
    in_place: bool = False,
) -> int:
    """Fork, or rewind, those that are wanted, and show what came of each."""
    from durable.cli.commands.retry_command import show_forks
    from durable.cli.engine_or_client import opened
    from durable.cli.load_target import load_ids
    from durable.executions.forking import fork_each

    async with opened(chosen, create=False) as store:
        rows = await chosen_rows(store, wanted, limit)
        if changed:
            await load_ids({row.function for row in rows}, store.reads)
        made = await fork_each(store, rows, step, changed=changed, dry_run=dry_run, in_place=in_place)
    return show_forks(chosen, made, "rewound" if in_place else "forked")


async def fork_one(
    chosen: Settings,
    source: str,
    step: int,
    new: str | None,
    changed: dict[str, Any],
    dry_run: bool,
    *,
    in_place: bool = False,
) -> int:
    """Fork, or rewind, one execution, and wait for what goes on."""
    from durable.cli.commands.retry_command import go_on_with, show_forks
    from durable.cli.engine_or_client import opened
    from durable.cli.execution_status import find
    from durable.cli.load_target import load_ids
    from durable.executions.forking import fork, rewind

    async with opened(chosen, create=False) as store:
        if changed:
            await load_ids([(await find(store.reads, source)).function], store.reads)
        make = rewind if in_place else fork
        made = await make(store, source, step, new, changed=changed, dry_run=dry_run)
    return show_forks(chosen, [made], "forked") if dry_run else await go_on_with(chosen, made)
