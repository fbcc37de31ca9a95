"""`durable ps`: what has not ended."""

from __future__ import annotations

import click

from durable.cli.command_group import Command, Settings, asynchronous

SESSIONS_MAX = 100
"""Sessions with an owner that are looked at for what was not saved."""


@click.command("ps", cls=Command, short_help="What runs, waits or is stuck.")
@asynchronous
async def command(chosen: Settings) -> int:
    """Executions that have not ended: what runs and where, what waits and for whom, what nobody serves (stuck)."""
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import unsettled
    from durable.cli.tables import show_executions
    from durable.sessions.execution.outcome import not_saved

    async with looked_at(chosen) as store:
        out = chosen.out()
        for row in [row for row in await store.reads.sessions() if row.owner is not None][:SESSIONS_MAX]:
            for last in await store.reads.list_executions(session=row.name, limit=1):
                if why := not_saved(last):
                    out.note(f"session {row.name}: {last.id} was not saved: {why}")
        return await show_executions(chosen.out(), store, await unsettled(store.reads), "nothing runs or waits")
