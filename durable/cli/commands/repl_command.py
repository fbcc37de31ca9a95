"""`durable repl SESSION`"""

from __future__ import annotations

import sys

import click

from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.exit_codes import Unusable
from durable.cli.session_options import Making, making_sessions
from durable.core import ids


@click.command("repl", cls=Command, short_help="Talk to a session.")
@click.argument("session")
@making_sessions
@asynchronous
async def command(chosen: Settings, session: str, made_with: Making) -> int:
    """A prompt in SESSION: every input is an execution, recorded and resumable like any other.

    Tab completes from the live namespace, an open block or bracket takes more lines, Ctrl-C raises KeyboardInterrupt in
    the code that runs, Ctrl-D detaches. The session stays as it is, for the next `durable repl`, `exec` or program.
    """
    ids.check_session_name(session)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Unusable(f"a prompt needs a terminal; without one: durable exec {session} -")
    from durable.cli.repl import talk

    return await talk(chosen, session, made_with)
