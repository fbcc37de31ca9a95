"""`durable copy SOURCE TARGET`"""

from __future__ import annotations

from dataclasses import asdict

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, settings
from durable.cli.exit_codes import Unusable
from durable.cli.upkeep_options import size


@click.command("copy", cls=Command, short_help="Move a store to another place: a file to a database, and back.")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
def command(source: str, target: str) -> int:
    """Copy the whole store SOURCE, with its key and its chunks, to TARGET, where nothing may be yet.

    Each is a path or postgresql://…. Nothing may run on SOURCE meanwhile: it is refused while an engine is alive. Every
    table is read back and compared before TARGET counts as a store; a copy that was interrupted is refused by whoever
    opens it, and is begun again with the same command. SOURCE stays as it is: end its use, or both run what has not
    ended.
    """
    from durable.store.port import require_driver
    from durable.store.target import is_database, is_url, repeatable
    from durable.store.upkeep.copy import copy

    for place in (source, target):
        if is_url(place):
            raise Unusable(f"{place} is a server; copy where its store is, by its path or postgresql://…")
        if is_database(place):
            require_driver()
    moved = copy(source, target)
    out, place = settings().out(), repeatable(target)
    if out.json:
        out.document({"source": repeatable(source), "target": place, **asdict(moved)})
        return exit_codes.DONE
    rows = sum(moved.tables.values())
    out.data(f"{place}\t{rows} rows, {moved.blobs} blobs ({size(moved.bytes)})")
    out.say("compared, and the same; end the use of the other one, or both run what has not ended")
    return exit_codes.DONE
