"""`durable stream ID [NAME] [--offset N] [-f]`: what an execution writes to its streams."""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.core import ids


@click.command("stream", cls=Command, short_help="What an execution writes to its streams.")
@click.argument("execution_id", metavar="ID")
@click.argument("name", required=False)
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Begin with this item, from 0.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the execution ends.")
@asynchronous
async def command(chosen: Settings, execution_id: str, name: str | None, offset: int, follow: bool) -> int:
    """Print the items of the stream NAME, one a line; without NAME the streams that there are.

    A text is printed as it is, everything else as JSON. With --json each line has offset, value, step, position and
    written_at.
    """
    from durable.cli.engine_or_client import opened
    from durable.cli.execution_status import find
    from durable.cli.text_output import to_text
    from durable.executions.stream_reader import read_stream, stored_items

    execution_id = execution_id.removeprefix(ids.PREFIX)
    out = chosen.out()
    async with opened(chosen, create=False) as store:
        await find(store.reads, execution_id)
        if name is None:
            found = await store.reads.streams(execution_id)
            if out.json:
                out.document([{"name": each.name, "next_offset": each.next_offset} for each in found])
            else:
                out.table(("stream", "next offset"), [(each.name, each.next_offset) for each in found], "no streams")
            return exit_codes.DONE
        reader = read_stream if follow else stored_items
        async for item in reader(store, execution_id, name, offset):
            if out.json:
                out.data(to_text(item.to_json()))
            else:
                out.value(item.value)
    return exit_codes.DONE
