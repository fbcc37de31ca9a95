"""`durable wait ID`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous


@click.command("wait", cls=Command, short_help="Wait until an execution ends.")
@click.argument("execution_id", metavar="ID")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Give up after so many seconds (exit 5).")
@asynchronous
async def command(chosen: Settings, execution_id: str, timeout: float | None) -> int:
    """Wait until an execution ends and print its state; be its engine when there is none."""
    from durable.cli.engine_or_client import opened
    from durable.cli.execution_status import HasEnded, served
    from durable.cli.execution_wait import follow
    from durable.cli.report import error_of, report
    from durable.engine.views import execution_view

    execution_id = execution_id.removeprefix("exec:")
    out = chosen.out()
    standing = await follow(chosen, out, execution_id, timeout=timeout)
    if not isinstance(standing, HasEnded):
        return report(chosen, out, execution_id, standing)
    row = standing.row
    if out.json:
        async with opened(chosen, create=False) as store:
            out.document(execution_view(row, await served(store)))
    else:
        out.data(row.state)
        if row.state != "completed":
            out.say(str(error_of(row)))
    return exit_codes.DONE if row.state == "completed" else exit_codes.OF_STATE.get(row.state, exit_codes.FAILED)
