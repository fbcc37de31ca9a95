"""The examination of a store, a file or a database, with its checkpoints (specs/store.md, Doctor)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from durable.store.target import is_database, parsed

if TYPE_CHECKING:
    from durable.store.upkeep.record_checks import Finding


def examined(target: str) -> list[Finding]:
    """Everything that is wrong with the store, the worst first. It only reads, and blocks. StoreError.

    target: as `durable.open` takes it, but no server's.
    """
    from checkpoint.engine_side.seal import read_manifest
    from durable.store.sqlite.file import load_key
    from durable.store.upkeep.doctor import examine

    if is_database(target):
        from durable.store.port import require_driver

        require_driver()
        from durable.store.postgres.doctor import examine_database

        return examine_database(str(parsed(target)), lambda key: _elsewhere(Path(), lambda: key), read_manifest)
    path = Path(parsed(target))
    elsewhere = _elsewhere(path, lambda: load_key(path, create=False)) if path.exists() else set()
    return examine(path, elsewhere, read_manifest)


def _elsewhere(path: Path, key: Callable[[], bytes]) -> set[str]:
    """The digests of the blobs in an object store."""
    from durable.sessions.checkpoints.retention import VARIABLE, objects_of

    if not os.environ.get(VARIABLE):
        return set()
    objects = objects_of(path, key())
    return set() if objects is None else {each.digest for each in objects.list()}
