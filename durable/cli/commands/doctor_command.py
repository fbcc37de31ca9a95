"""`durable doctor`"""

from __future__ import annotations

from dataclasses import asdict

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, settings
from durable.cli.text_output import Out, line
from durable.cli.upkeep_options import check_direct


@click.command("doctor", cls=Command, short_help="Say what is wrong with the store, what this machine can enforce.")
@click.option("--machine", is_flag=True, help="What sessions can be held to here instead.")
def command(machine: bool) -> int:
    """Examine the store without changing it: one line for each thing that is wrong, and exit 1.

    Silent when all is well. Looks at the file's integrity, schema, journal mode and invariants, at recorded values, at
    dead engines and stale leases, checkpoints, chunks and blobs, disk space, permissions and the key. Of a database:
    at the server's version, settings, clock, connections, long transactions and dead rows instead of the file, and at
    what its user may do. Engines may run meanwhile.
    """
    chosen = settings()
    out = chosen.out()
    if machine:
        return _machine(out)
    check_direct(chosen)
    from durable.engine.store_doctor import examined

    found = examined(chosen.path)
    if out.json:
        out.document(found)
    else:
        for each in found:
            out.data(f"{each.check}: {line(each.message)}")
    return exit_codes.FAILED if found else exit_codes.DONE


def _machine(out: Out) -> int:
    """Profiles and limits, each tried for real."""
    from bridge.confine.probe import probe

    found = probe()
    if out.json:
        out.document([asdict(each) for each in found])
    else:
        for each in found:
            out.data(f"{each.name}: {'yes' if each.can else f'no: {line(each.lacks)}'}")
    return exit_codes.DONE
