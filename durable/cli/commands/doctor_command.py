"""`durable doctor`"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, settings
from durable.cli.text_output import Out, line
from durable.cli.upkeep_options import check_direct, path_of

if TYPE_CHECKING:
    from durable.store.upkeep.record_checks import Finding


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
    found = examined(chosen)
    if out.json:
        out.document(found)
    else:
        for each in found:
            out.data(f"{each.check}: {line(each.message)}")
    return exit_codes.FAILED if found else exit_codes.DONE


def examined(chosen: Settings) -> list[Finding]:
    """Everything that is wrong with the command's store."""
    from checkpoint.engine_side.seal import read_manifest
    from durable.store.sqlite.file import load_key
    from durable.store.target import is_database, parsed
    from durable.store.upkeep.doctor import examine

    if is_database(chosen.path):
        from durable.store.port import require_driver

        require_driver()
        from durable.store.postgres.doctor import examine_database

        return examine_database(str(parsed(chosen.path)), lambda key: _elsewhere(Path(), lambda: key), read_manifest)
    path = path_of(chosen)
    elsewhere = _elsewhere(path, lambda: load_key(path, create=False)) if path.exists() else set()
    return examine(path, elsewhere, read_manifest)


def _elsewhere(path: Path, key: Callable[[], bytes]) -> set[str]:
    """The digests of the blobs in an object store."""
    import os

    from durable.sessions.checkpoints.retention import VARIABLE, objects_of

    if not os.environ.get(VARIABLE):
        return set()
    objects = objects_of(path, key())
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
