"""`durable signal ID NAME [VALUE]`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.core import ids


@click.command("signal", cls=Command, short_help="Send a value to an execution.")
@click.argument("execution_id", metavar="ID")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--key", metavar="KEY", help="What is sent again under this key is not sent.")
@asynchronous
async def command(chosen: Settings, execution_id: str, name: str, value: str | None, key: str | None) -> int:
    """Send VALUE (JSON where it parses, else text; null without one) to an execution.

    It gets it by ctx.signal(NAME): now, or when it comes to that. One that has ended is a conflict (exit 6).
    """
    from durable.cli.arguments import Word
    from durable.cli.engine_or_client import opened
    from durable.executions.signal_sender import send_signal

    execution_id = execution_id.removeprefix(ids.PREFIX)
    out = chosen.out()
    async with opened(chosen, create=False) as store:
        sent = await send_signal(store, execution_id, name, None if value is None else Word(value).value, key=key)
    if out.json:
        out.document({"id": execution_id, "signal": name, "key": key, "sent": sent})
    out.say(f"{name} is sent to {execution_id}" if sent else f"{name} was sent to {execution_id} under this key before")
    return exit_codes.DONE
