"""`durable backup PATH`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, settings
from durable.cli.upkeep_options import path_of, size


@click.command("backup", cls=Command, short_help="Copy the store while engines run.")
@click.argument("path", type=click.Path())
def command(path: str) -> int:
    """Copy the store, with its key and its blobs, to PATH, PATH.key and PATH.d: one moment of it, private.

    Engines may run meanwhile. The copy is a store: `--store PATH` opens it and goes on from that moment. Beside the
    original that runs everything twice that had not ended.
    """
    from durable.store.upkeep.backup import backup

    chosen = settings()
    out = chosen.out()
    copied = backup(path_of(chosen), Path(path))
    if out.json:
        out.document({**asdict(copied), "path": str(copied.path)})
    else:
        out.data(f"{copied.path}\t{size(copied.bytes)}")
    return exit_codes.DONE
