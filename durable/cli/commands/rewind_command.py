"""`durable rewind [ID] --at STEP [--id NEW] [--set NAME=JSON] [--state STATE … --limit N] [--dry-run]`"""

from __future__ import annotations

from typing import Any

import click

from durable.cli.arguments import step_number
from durable.cli.command_group import Command, in_loop, settings
from durable.cli.commands.fork_command import changed_arguments, fork_many, fork_one
from durable.cli.execution_filter import chooses_many, filter_of, many
from durable.core import ids


@click.command("rewind", cls=Command, short_help="Take an execution back to before a step.")
@click.argument("execution_id", metavar="[ID]", required=False)
@click.option("--at", "step", type=step_number, metavar="STEP", required=True, help="Go back to before this step.")
@click.option("--id", "new", metavar="NEW", help="The id of what goes on; <ID>-rewind-<n> by default.")
@click.option("--set", "changes", metavar="NAME=JSON", multiple=True, help="Another value of an argument.")
@many
def command(
    execution_id: str | None,
    step: int,
    new: str | None,
    changes: tuple[str, ...],
    limit: int,
    dry_run: bool,
    **options: Any,
) -> int:
    """Take an execution back to before its operation number STEP, and wait for what goes on in its place.

    That is a new execution NEW, which has done what ID had done before. ID keeps its record, names NEW, and is
    cancelled where it has not ended: without clean-up, and with its open children. With options that choose in place of
    ID, all of those are rewound, the newest first; they go on with `durable resume` where no engine runs. --dry-run
    shows what would be kept, and what would be begun again.
    """
    in_bulk = chooses_many(execution_id, **options)
    if in_bulk and new is not None:
        raise click.UsageError("--id names what goes on in the place of one ID")
    chosen, changed = settings(), changed_arguments(changes)
    if execution_id is not None:
        source = execution_id.removeprefix(ids.PREFIX)
        return in_loop(lambda: fork_one(chosen, source, step, new, changed, dry_run, in_place=True))
    wanted = filter_of(**options)
    return in_loop(lambda: fork_many(chosen, wanted, step, changed, limit, dry_run, in_place=True))
