"""Files of runs whose store is a database: they are on the machine where each ran (specs/store.md, G6)."""

from __future__ import annotations

import os
from pathlib import Path

from durable.core.ids import PREFIX
from durable.store.operations.lock_keys import lock_number, promise_key, store_lock
from durable.store.postgres.address import Address
from durable.store.postgres.writer_connection import WriterConnection
from durable.store.upkeep.run_storage import DIRECTORY, THERE, move_aside, sweep_each


def sweep_machine(address: Address, own_files: Path, *, dry_run: bool = False) -> int:
    """Delete the files on this machine of runs of which nothing is recorded any more; how many runs' they were.

    own_files: where this user's processes keep files of the store here. A directory is moved aside under the key of its
    run, so that nobody records anything of it meanwhile.
    """
    directory = own_files / DIRECTORY
    if not directory.is_dir():
        return 0
    session = WriterConnection(address)
    own = lock_number(address.schema, f"\0upkeep {os.getpid()}")

    def recorded(path: Path) -> bool:
        return bool(session.rows(THERE, (PREFIX + path.name,)))

    def moved(path: Path) -> bool:
        session.connect()
        session.begin(store_lock(address.schema), own, [lock_number(address.schema, promise_key(PREFIX + path.name))])
        try:
            return not recorded(path) and move_aside(path)
        finally:
            session.undo()

    try:
        return sweep_each(directory, recorded, moved, dry_run=dry_run)
    finally:
        session.close()
