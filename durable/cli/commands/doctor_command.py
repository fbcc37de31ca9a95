"""`durable doctor`"""

from __future__ import annotations

import click

from durable.cli import exits
from durable.cli.app import Command, settings
from durable.cli.local import path_of
from durable.cli.out import line


@click.command("doctor", cls=Command, short_help="Say what is wrong with the store.")
def command() -> int:
    """Examine the store without changing it: one line for each thing that is wrong, and exit 1.

    Silent when all is well. Looks at the file's integrity, schema, journal mode and invariants, at dead engines and
    stale leases, chunks and blobs, disk space, permissions and the key. Engines may run meanwhile.
    """
    from durable.store.doctor import examine

    chosen = settings()
    out = chosen.out()
    found = examine(path_of(chosen))
    if out.json:
        out.document(found)
    else:
        for each in found:
            out.data(f"{each.check}: {line(each.message)}")
    return exits.FAILED if found else exits.DONE
