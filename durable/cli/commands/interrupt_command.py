"""`durable interrupt ID [--raise]`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous


@click.command("interrupt", cls=Command, short_help="Stop an execution so that it can go on later.")
@click.argument("execution_id", metavar="ID")
@click.option("--raise", "raises", is_flag=True, help="Raise KeyboardInterrupt in its code instead, as Ctrl-C does.")
@asynchronous
async def command(chosen: Settings, execution_id: str, raises: bool) -> int:
    """Stop an execution, wherever it runs; `durable resume ID` goes on with it. One that does not run is a conflict."""
    from durable.cli.engine_or_client import open_engine
    from durable.cli.execution_status import find, served
    from durable.core.errors import Conflict
    from durable.engine.views import execution_view

    execution_id = execution_id.removeprefix("exec:")
    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False, own=lambda: execution_id) as engine:
        row = await find(engine.store.reads, execution_id)
        done = await engine.interrupt(row.id, raises=raises)
        row = await find(engine.store.reads, execution_id)
        living = await served(engine.store)
    if not done:
        raise Conflict(f"{row.id} was not interrupted: it is {row.state}")
    if out.json:
        out.document(execution_view(row, living))
    out.say(f"KeyboardInterrupt was raised in {row.id}" if raises else f"{row.id} is interrupted")
    return exit_codes.DONE
