"""`durable backup PATH`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, settings
from durable.cli.exit_codes import Unusable
from durable.cli.upkeep_options import path_of, size
from durable.store.target import is_database, parsed


@click.command("backup", cls=Command, short_help="Copy the store while engines run.")
@click.argument("path", type=click.Path())
def command(path: str) -> int:
    """Copy the store, with its key and its blobs, to PATH, PATH.key and PATH.d: one moment of it, private.

    Engines may run meanwhile. The copy is a store: `--store PATH` opens it and goes on from that moment. Beside the
    original that runs everything twice that had not ended. A database is backed up by pg_dump instead.
    """
    from durable.store.upkeep.backup import backup

    chosen = settings()
    if is_database(chosen.path):
        from durable.store.postgres.address import address_of

        address = address_of(str(parsed(chosen.path)))
        raise Unusable(
            f"a database is backed up as a whole by `pg_dump --schema={address.schema} '{address.pg_dump_url}'`; "
            "`durable copy` makes a file of it while nothing runs"
        )
    out = chosen.out()
    copied = backup(path_of(chosen), Path(path))
    if out.json:
        out.document({**asdict(copied), "path": str(copied.path)})
    else:
        out.data(f"{copied.path}\t{size(copied.bytes)}")
    return exit_codes.DONE
