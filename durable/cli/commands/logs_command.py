"""`durable logs ID|SESSION [-f]`: what an execution and its cells printed, or a session between its executions."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.core import ids

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.store.output_reader import OutputReader
    from durable.store.port import ReadsFace, StoreFace


@click.command("logs", cls=Command, short_help="What an execution printed.")
@click.argument("execution_id", metavar="ID|SESSION")
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends.")
@asynchronous
async def command(chosen: Settings, execution_id: str, follow: bool) -> int:
    """Print the output of an execution, that of cells inside a durable function included.

    Of a SESSION: what its threads and tasks printed while none of its executions ran.
    """
    from durable.cli.engine_or_client import looked_at, opened
    from durable.cli.execution_status import find
    from durable.store.output_reader import OutputReader

    execution_id = execution_id.removeprefix("exec:")
    out = chosen.out()
    async with opened(chosen, create=False) if follow else looked_at(chosen) as store:
        of_session = await _is_session(store.reads, execution_id)
        readers: dict[str, OutputReader] = {}
        changed = asyncio.Event()
        store.watch(lambda _: changed.set())
        while True:
            changed.clear()
            ended = not of_session and (await find(store.reads, execution_id)).settled_at is not None
            if of_session:
                printing = [ids.session_output(execution_id)]
            else:
                printing = [execution_id, *await _cells(store, execution_id)]
            for each in printing:
                await _print(out, store.reads, each, readers.setdefault(each, OutputReader(each)))
            if ended or not follow:
                return exit_codes.DONE
            for halt in await store.reads.halts(awaited=[ids.execution_promise(execution_id)]):
                raise halt.error()
            await changed.wait()


async def _is_session(reads: ReadsFace, name: str) -> bool:
    """An execution of that id comes first."""
    if await reads.get_execution(name) is not None:
        return False
    return any(row.name == name for row in await reads.sessions())


async def _cells(store: StoreFace, execution_id: str) -> list[str]:
    """Cells under it, oldest first."""
    rows = [row for row in await store.reads.children(execution_id) if "durable:session" in row.tags]
    return [row.id.removeprefix("exec:") for row in sorted(rows, key=lambda row: row.created_at)]


async def _print(out: Out, reads: ReadsFace, execution_id: str, reader: OutputReader) -> None:
    from durable.cli.progress import gap, rewound
    from durable.cli.text_output import to_text
    from durable.records.displays import shown

    async for page in reader.look(reads):
        if page.rewound is not None:
            out.say(rewound(execution_id, page.rewound))
        for chunk in page.chunks:
            if out.json:
                fields = {"execution": execution_id, "offset": chunk.offset, "stream": chunk.stream}
                out.data(to_text({**fields, "text": chunk.text, "chars": chunk.chars}))
            elif chunk.dropped:
                out.note(gap(chunk.dropped))
            elif chunk.stream == "failure":
                out.note(f"[{chunk.text}]")
            elif chunk.stream == "next":
                out.note(f"[shown with {chunk.text}]")
            elif chunk.stream != "stderr":
                out.data(shown(chunk.stream, chunk.text), end="")
            else:
                sys.stderr.write(chunk.text)
                sys.stderr.flush()
