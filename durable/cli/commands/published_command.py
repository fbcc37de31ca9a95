"""`durable published ID [KEY] [--wait]`: the values that an execution has published."""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.core import ids


@click.command("published", cls=Command, short_help="Values that an execution has published.")
@click.argument("execution_id", metavar="ID")
@click.argument("key", required=False)
@click.option("--wait", is_flag=True, help="Wait for a value of KEY.")
@asynchronous
async def command(chosen: Settings, execution_id: str, key: str | None, wait: bool) -> int:
    """Print the newest value of KEY; without KEY the newest of each as one JSON object.

    A key without a value, also one that the execution ends without, is not there (exit 3).
    """
    from durable.cli.engine_or_client import opened
    from durable.executions.stream_reader import list_published, read_published

    if wait and key is None:
        raise click.UsageError("--wait is for a KEY")
    execution_id = execution_id.removeprefix(ids.PREFIX)
    out = chosen.out()
    async with opened(chosen, create=False) as store:
        if key is None:
            out.document({row.key: row.value for row in await list_published(store, execution_id)})
        else:
            out.value(await read_published(store, execution_id, key, wait=wait))
    return exit_codes.DONE
