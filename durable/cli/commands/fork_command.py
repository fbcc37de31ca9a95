"""`durable fork SESSION NAME [--checkpoint WHICH]`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.arguments import which_one
from durable.cli.command_group import Command, Settings, asynchronous


@click.command("fork", cls=Command, short_help="Begin a session from a checkpoint of another.")
@click.argument("session", metavar="SESSION")
@click.argument("name", metavar="NAME")
@click.option("--checkpoint", metavar="WHICH", type=which_one, help="Its number or label; the newest by default.")
@asynchronous
async def command(chosen: Settings, session: str, name: str, checkpoint: str | int | None) -> int:
    """Make a session NAME that begins with what a checkpoint of SESSION holds, with the same grants and profile."""
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
