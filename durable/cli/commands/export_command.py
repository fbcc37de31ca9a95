"""`durable export ID [--out FILE]`: an execution as one JSON document."""

from __future__ import annotations

from pathlib import Path

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.cli.exit_codes import Unusable


@click.command("export", cls=Command, short_help="An execution as one JSON document.")
@click.argument("execution_id", metavar="ID")
@click.option("--out", "file", metavar="FILE", help="Write it there; a file that exists is not overwritten.")
@click.option("--open", "open_values", is_flag=True, help="Also show values that are encrypted in the store.")
@asynchronous
async def command(chosen: Settings, execution_id: str, file: str | None, open_values: bool) -> int:
    """Print an execution as one JSON document: its arguments, what each operation came to, its outcome, its record.

    `durable import` recreates it from the document in another store. Encrypted values stay so in the record.
    """
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import find
    from durable.cli.text_output import to_text
    from durable.engine.execution_document import export_document

    async with looked_at(chosen) as store:
        state = await export_document(store, await find(store.reads, execution_id), open_values=open_values)
    out = chosen.out()
    if file is None:
        out.document(state.to_json())
        return exit_codes.DONE
    try:
        with Path(file).open("x", encoding="utf-8") as stream:
            stream.write(to_text(state.to_json(), indent=2) + "\n")
    except OSError as error:
        raise Unusable(f"{file!r} cannot be written: {error.strerror}") from None
    out.say(f"{state.id} is in {file}")
    return exit_codes.DONE
