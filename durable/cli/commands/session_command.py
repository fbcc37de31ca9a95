"""`durable session list`"""

from __future__ import annotations

import click

from durable.cli import exits
from durable.cli.app import Command, Settings, in_loop, settings


@click.group("session", short_help="Sessions.")
def command() -> None:
    """Sessions: named interpreters that keep their variables."""


@command.command("list", cls=Command)
def list_() -> int:
    """All sessions: how many executions each has had, and who holds it."""
    chosen = settings()
    return in_loop(lambda: _list(chosen))


async def _list(chosen: Settings) -> int:
    from durable.cli.driving import opened
    from durable.cli.standing import served
    from durable.views import session_view

    async with opened(chosen, create=False) as store:
        living = await served(store)
        views = [session_view(row, living) for row in await store.reads.sessions()]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exits.DONE
    rows = [
        (view.name, view.state, view.executions, view.unfinished or "", view.owner_pid, view.worker_pid)
        for view in views
    ]
    out.table(("session", "state", "executions", "unfinished", "engine", "worker"), rows, "no sessions")
    return exits.DONE
