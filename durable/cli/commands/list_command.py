"""`durable list`: all executions, filtered."""

from __future__ import annotations

from typing import get_args

import click

from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.upkeep_options import Duration
from durable.core.clock import now_ms
from durable.executions.states import ExecutionState

STATES = [state.value for state in ExecutionState]


@click.command("list", cls=Command, short_help="Executions, newest first.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--session", metavar="NAME", help="Only cells of this session.")
@click.option("--function", metavar="NAME", help="Only those of this function: its name, or where::name@version.")
@click.option("--where", metavar="TAG=VALUE", help="Only those that have this tag.")
@click.option("--since", type=Duration(), metavar="AGE", help="Only those made within this time: 30d, 12h, 90m.")
@click.option("--until", type=Duration(), metavar="AGE", help="Only those made before that.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.option("--before", metavar="ID", help="Those older than this one: the next page.")
@asynchronous
async def command(
    chosen: Settings,
    state: str | None,
    session: str | None,
    function: str | None,
    where: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    before: str | None,
) -> int:
    """Executions, newest first."""
    from durable.cli.engine_or_client import opened
    from durable.cli.execution_status import find
    from durable.cli.tables import show_executions
    from durable.store.rows import State

    tag = None
    if where is not None:
        name, equals, value = where.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--where {where!r} is not TAG=VALUE")
        tag = (name, value)
    now = now_ms()
    word: State | None = next((each for each in get_args(State.__value__) if each == state), None)
    async with opened(chosen, create=False) as store:
        if before is not None:
            await find(store.reads, before)
        rows = await store.reads.list_executions(
            state=word,
            session=session,
            function=function,
            tag=tag,
            since=None if since is None else now - int(since * 1000),
            until=None if until is None else now - int(until * 1000),
            limit=limit,
            before=before,
        )
        return await show_executions(chosen.out(), store, rows, "no executions")
