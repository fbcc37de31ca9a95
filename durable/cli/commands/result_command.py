"""`durable result ID`"""

from __future__ import annotations

import click

from durable.cli.command_group import Command, Settings, asynchronous


@click.command("result", cls=Command, short_help="Wait for an execution and print its result.")
@click.argument("execution_id", metavar="ID")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Give up after so many seconds (exit 5).")
@asynchronous
async def command(chosen: Settings, execution_id: str, timeout: float | None) -> int:
    """Wait until an execution ends and print its result; be its engine when there is none."""
    from durable.cli.execution_wait import follow
    from durable.cli.report import report

    execution_id = execution_id.removeprefix("exec:")
    out = chosen.out()
    return report(chosen, out, execution_id, await follow(chosen, out, execution_id, timeout=timeout))
