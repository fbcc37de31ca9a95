"""`durable doctor`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, settings
from durable.cli.text_output import Out, line
from durable.cli.upkeep_options import path_of


@click.command("doctor", cls=Command, short_help="Say what is wrong with the store, what this machine can enforce.")
@click.option("--machine", is_flag=True, help="What sessions can be held to here instead.")
def command(machine: bool) -> int:
    """Examine the store without changing it: one line for each thing that is wrong, and exit 1.

    Silent when all is well. Looks at the file's integrity, schema, journal mode and invariants, at recorded values, at
    dead engines and stale leases, checkpoints, chunks and blobs, disk space, permissions and the key. Engines may run
    meanwhile.
    """
    chosen = settings()
    out = chosen.out()
    if machine:
        return _machine(out)
    from checkpoint.engine_side.seal import read_manifest
    from durable.store.upkeep.doctor import examine

    path = path_of(chosen)
    found = examine(path, _elsewhere(path), read_manifest)
    if out.json:
        out.document(found)
    else:
        for each in found:
            out.data(f"{each.check}: {line(each.message)}")
    return exit_codes.FAILED if found else exit_codes.DONE


def _elsewhere(path: Path) -> set[str]:
    """The digests of the blobs in an object store."""
    import os

    from durable.sessions.checkpoints.retention import VARIABLE, objects_of
    from durable.store.sqlite.file import load_key

    if not os.environ.get(VARIABLE) or not path.exists():
        return set()
    objects = objects_of(path, load_key(path, create=False))
    return set() if objects is None else {each.digest for each in objects.list()}


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
