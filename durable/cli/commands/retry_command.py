"""`durable retry [ID] [--state STATE --function NAME --limit N] [--dry-run]`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, get_args

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.text_output import counted
from durable.core import ids

if TYPE_CHECKING:
    from durable.executions.forking import Forked

STATES = ("failed", "lost", "cancelled", "timed_out")


@click.command("retry", cls=Command, short_help="Begin again what failed, from the step that failed.")
@click.argument("execution_id", metavar="[ID]", required=False)
@click.option("--id", "new", metavar="NEW", help="Its id; <ID>-retry-<n> by default.")
@click.option("--state", type=click.Choice(STATES), help="Retry all that ended so.")
@click.option("--function", metavar="NAME", help="With --state: only those of this function.")
@click.option("--where", metavar="TAG=VALUE", help="With --state: only those that have this tag.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="With --state: so many.")
@click.option("--dry-run", is_flag=True, help="Only show what would be kept, and what would be begun again.")
def command(
    execution_id: str | None,
    new: str | None,
    state: str | None,
    function: str | None,
    where: str | None,
    limit: int,
    dry_run: bool,
) -> int:
    """Start an execution with all that ID recorded but its failure, and wait for it as `durable run` does.

    What was done is not done again. With --state in place of ID all that ended so are retried, the newest first; they
    go on with `durable resume` where no engine runs.
    """
    if (execution_id is None) == (state is None):
        raise click.UsageError("name an ID, or --state of those to retry")
    if execution_id is None and new is not None:
        raise click.UsageError("--id names the retry of one ID")
    chosen = settings()
    if execution_id is not None:
        source = execution_id.removeprefix(ids.PREFIX)
        return in_loop(lambda: _retry(chosen, source, new, dry_run))
    tag = None if where is None else tuple(where.split("=", 1))
    if tag is not None and (len(tag) != 2 or not tag[0]):
        raise click.UsageError(f"--where {where!r} is not TAG=VALUE")
    return in_loop(lambda: _retry_all(chosen, str(state), function, tag, limit, dry_run))


async def _retry(chosen: Settings, source: str, new: str | None, dry_run: bool) -> int:
    from durable.cli.engine_or_client import opened
    from durable.executions.forking import fork

    async with opened(chosen, create=False) as store:
        made = await fork(store, source, None, new, dry_run=dry_run)
    if dry_run:
        return show_forks(chosen, [made])
    return await go_on_with(chosen, made)


async def _retry_all(
    chosen: Settings, state: str, function: str | None, tag: tuple[str, ...] | None, limit: int, dry_run: bool
) -> int:
    from durable.cli.engine_or_client import opened
    from durable.core.errors import Conflict
    from durable.executions.forking import fork
    from durable.store.rows import State

    word: State = next(each for each in get_args(State.__value__) if each == state)
    made: list[Forked] = []
    out = chosen.out()
    async with opened(chosen, create=False) as store:
        for row in await store.reads.list_executions(
            state=word, function=function, tag=None if tag is None else (tag[0], tag[1]), limit=limit
        ):
            if row.session is not None:
                continue
            try:
                made.append(await fork(store, row.id, None, dry_run=dry_run))
            except Conflict as error:
                out.say(f"{row.id} is not retried: {error}")
    return show_forks(chosen, made)


def show_forks(chosen: Settings, made: list[Forked]) -> int:
    """Show what was made, or would be."""
    out = chosen.out()
    if out.json:
        out.document([asdict(each) for each in made])
    else:
        rows = [(each.id, each.source, str(each.kept), " ".join(each.begun_again)) for each in made]
        out.table(("id", "from", "kept", "begun again"), rows, "nothing is retried")
    return exit_codes.DONE


async def go_on_with(chosen: Settings, made: Forked) -> int:
    """Wait for what was made, as `durable run` does."""
    from durable.cli.execution_wait import follow
    from durable.cli.report import report

    out = chosen.out()
    out.say(f"{made.id} begins with {counted(made.kept, 'recorded operation')} of {made.source}")
    return report(chosen, out, made.id, await follow(chosen, out, made.id))
