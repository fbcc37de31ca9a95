"""`durable list`: all executions, filtered."""

from __future__ import annotations

from typing import Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.execution_filter import filter_of, filtering


@click.command("list", cls=Command, short_help="Executions, newest first.")
@filtering
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.option("--before", metavar="ID", help="Those older than this one: the next page.")
@click.option("--count", is_flag=True, help="Only how many there are in each state.")
@asynchronous
async def command(chosen: Settings, /, limit: int, before: str | None, count: bool, **options: Any) -> int:
    """Executions, newest first. Where there are more, the command for the next page is told.

    --count counts at most 10,000 of each state, and does not take --text or more than one --where.
    """
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import find
    from durable.cli.tables import show_executions
    from durable.executions.execution_search import search

    wanted = filter_of(**options)
    out = chosen.out()
    if count and not wanted.is_indexed:
        raise click.UsageError("--count counts what an index says: not --text, and one --where")
    async with looked_at(chosen) as store:
        if count:
            counts = await store.reads.count_executions(
                session=wanted.session,
                function=wanted.function,
                tag=wanted.tags[0] if wanted.tags else None,
                since=wanted.since,
                until=wanted.until,
            )
            return _show_counts(out, {s: n for s, n in counts.items() if wanted.state in (None, s)})
        if before is not None:
            await find(store.reads, before)
        page = await search(store.reads, wanted, limit=limit, before=before, whole=False)
        code = await show_executions(out, store, page, "no executions")
        if page.cursor is not None and not out.json:
            out.note(f"there may be more: --before {page.cursor}")
        return code


def _show_counts(out: Any, counts: dict[str, int]) -> int:
    from durable.core.limits import COUNTED_ROWS_MAX

    if out.json:
        out.document(counts)
    else:
        shown = [(state, f"{n}{'+' if n >= COUNTED_ROWS_MAX else ''}") for state, n in sorted(counts.items())]
        out.table(("state", "executions"), shown, "no executions")
    return exit_codes.DONE
