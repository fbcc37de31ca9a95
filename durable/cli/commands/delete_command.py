"""`durable delete [ID]`"""

from __future__ import annotations

from typing import Any

import click

from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.execution_filter import chooses_many, filter_of, many, named_or_chosen, preview, tell_changed


@click.command("delete", cls=Command, short_help="Forget executions that have ended.")
@click.argument("execution_id", metavar="[ID]", required=False)
@many
@asynchronous
async def command(chosen: Settings, /, execution_id: str | None, limit: int, dry_run: bool, **options: Any) -> int:
    """Forget an execution that has ended, with its steps, output and result. Its id is free then.

    What runs or waits, what somebody waits for, and children of what has not ended are conflicts (exit 6). With options
    that choose in place of ID, all of those that can be forgotten are; --dry-run shows those that have ended.
    """
    from durable.cli.engine_or_client import opened
    from durable.core.errors import Conflict
    from durable.executions.bulk_work import delete_execution
    from durable.executions.states import SETTLED

    chooses_many(execution_id, **options)
    named = None if execution_id is None else execution_id.removeprefix("exec:")
    out, deleted = chosen.out(), list[str]()
    async with opened(chosen, create=False) as store:
        rows = await named_or_chosen(store, named, filter_of(**options), limit, SETTLED)
        if dry_run:
            return await preview(out, store, rows)
        for row in rows:
            try:
                await delete_execution(store, row.id)
                deleted.append(row.id)
            except Conflict as error:
                if named is not None:
                    raise
                out.say(str(error))
    return tell_changed(out, deleted, len(rows), "deleted")
