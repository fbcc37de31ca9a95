"""`durable ps`: what has not ended."""

from __future__ import annotations

import click

from durable.cli.app import Command, Settings, in_loop, settings


@click.command("ps", cls=Command, short_help="What runs, waits or is stuck.")
def command() -> int:
    """Executions that have not ended: what runs and where, what waits and for whom, what nobody serves (stuck)."""
    chosen = settings()
    return in_loop(lambda: _ps(chosen))


async def _ps(chosen: Settings) -> int:
    from durable.cli.driving import opened
    from durable.cli.listing import show_executions
    from durable.cli.standing import unsettled

    async with opened(chosen, create=False) as store:
        return await show_executions(chosen.out(), store, await unsettled(store.reads), "nothing runs or waits")
