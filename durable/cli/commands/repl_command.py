"""`durable repl SESSION`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from durable.cli.app import Command, in_loop, settings
from durable.cli.exit_codes import Unusable
from durable.cli.session_options import Making, making_sessions
from durable.core import ids

if TYPE_CHECKING:
    from bridge.confine.limits import Profile
    from capabilities.permissions.manifest import Level
    from durable.sessions.language import Language


@click.command("repl", cls=Command, short_help="Talk to a session.")
@click.argument("session")
@making_sessions
def command(
    session: str,
    profile: Profile | None,
    limits: tuple[tuple[str, float], ...],
    grants: tuple[str, ...],
    capabilities: tuple[str, ...],
    level: Level | None,
    permissions: str | None,
    language: Language | None,
) -> int:
    """A prompt in SESSION: every input is an execution, recorded and resumable like any other.

    Tab completes from the live namespace, an open block or bracket takes more lines, Ctrl-C raises KeyboardInterrupt in
    the code that runs, Ctrl-D detaches. The session stays as it is, for the next `durable repl`, `exec` or program.
    """
    ids.check_session_name(session)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Unusable(f"a prompt needs a terminal; without one: durable exec {session} -")
    chosen, made_with = settings(), Making(profile, limits, grants, level, permissions, language, capabilities)

    async def talk() -> int:
        from durable.cli.repl import talk

        return await talk(chosen, session, made_with)

    return in_loop(talk)
