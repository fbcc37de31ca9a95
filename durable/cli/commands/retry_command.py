"""`durable retry [ID] [--state STATE --function NAME … --limit N] [--dry-run]`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.execution_filter import chooses_many, chosen_rows, filter_of, many
from durable.cli.text_output import counted
from durable.core import ids

if TYPE_CHECKING:
    from durable.executions.execution_search import ExecutionFilter
    from durable.executions.forking import Forked
    from durable.store.rows import ExecutionRow

_PASSED_SHOWN_MAX = 10
"""Executions of which it is said why they are passed over."""


@click.command("retry", cls=Command, short_help="Begin again what failed, from the step that failed.")
@click.argument("execution_id", metavar="[ID]", required=False)
@click.option("--id", "new", metavar="NEW", help="Its id; <ID>-retry-<n> by default.")
@many
def command(execution_id: str | None, new: str | None, limit: int, dry_run: bool, **options: Any) -> int:
    """Start an execution with all that ID recorded but its failure, and wait for it as `durable run` does.

    What was done is not done again. With options that choose in place of ID, all of those that failed, were lost,
    cancelled or timed out are retried, the newest first; they go on with `durable resume` where no engine runs.
    --dry-run shows what would be kept, and what would be begun again.
    """
    in_bulk = chooses_many(execution_id, **options)
    if in_bulk and new is not None:
        raise click.UsageError("--id names the retry of one ID")
    chosen = settings()
    if execution_id is not None:
        source = execution_id.removeprefix(ids.PREFIX)
        return in_loop(lambda: _retry(chosen, source, new, dry_run))
    wanted = filter_of(**options)
    return in_loop(lambda: _retry_all(chosen, wanted, limit, dry_run))


async def _retry(chosen: Settings, source: str, new: str | None, dry_run: bool) -> int:
    from durable.cli.engine_or_client import opened
    from durable.executions.forking import fork

    async with opened(chosen, create=False) as store:
        made = await fork(store, source, None, new, dry_run=dry_run)
    if dry_run:
        return show_forks(chosen, [made])
    return await go_on_with(chosen, made)


async def _retry_all(chosen: Settings, wanted: ExecutionFilter, limit: int, dry_run: bool) -> int:
    from durable.cli.engine_or_client import opened
    from durable.executions.forking import RETRIED, Forked, fork_each, passed_over

    done: list[Forked] = []
    async with opened(chosen, create=False) as store:

        async def is_left(row: ExecutionRow) -> bool:
            why = await passed_over(store, row) if row.state in RETRIED else ""
            if why:
                done.append(Forked("", row.id, 0, [], problem=why, passed_over=True))
            return not why

        rows = await chosen_rows(store, wanted, limit, RETRIED, is_left)
        made = await fork_each(store, rows, None, dry_run=dry_run)
    return show_forks(chosen, [*done, *made], "retried")


def show_forks(chosen: Settings, made: list[Forked], verb: str = "retried") -> int:
    """Show what was made, or would be, and say what could not be: then the exit code is not 0."""
    out = chosen.out()
    found = [each for each in made if not each.problem]
    passed = [each.problem for each in made if each.passed_over]
    for problem in passed[:_PASSED_SHOWN_MAX]:
        out.say(problem)
    if len(passed) > _PASSED_SHOWN_MAX:
        out.say(f"{len(passed) - _PASSED_SHOWN_MAX} more are passed over, likewise")
    for each in made:
        if each.problem and not each.passed_over:
            out.say(f"{each.source} is not {verb}: {each.problem}")
    if out.json:
        shown = ("id", "source", "kept", "begun_again", "queue")
        out.document([{name: getattr(each, name) for name in shown} for each in found])
    else:
        rows = [(each.id, each.source, str(each.kept), each.queue, " ".join(each.begun_again)) for each in found]
        out.table(("id", "from", "kept", "queue", "begun again"), rows, f"nothing is {verb}")
    return exit_codes.FAILED if any(each.problem and not each.passed_over for each in made) else exit_codes.DONE


async def go_on_with(chosen: Settings, made: Forked) -> int:
    """Wait for what was made, as `durable run` does."""
    from durable.cli.execution_wait import follow
    from durable.cli.report import report

    out = chosen.out()
    in_queue = f", in the queue {made.queue}" if made.queue else ""
    out.say(f"{made.id} begins with {counted(made.kept, 'recorded operation')} of {made.source}{in_queue}")
    return report(chosen, out, made.id, await follow(chosen, out, made.id))
