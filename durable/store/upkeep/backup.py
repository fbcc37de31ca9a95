"""A copy of a store that opens and resumes, taken while engines run (specs/store.md, B1-B5)."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from durable.core.blob_files import sync_path, write_private
from durable.core.errors import StoreError
from durable.core.frozen_record import FrozenRecord
from durable.store.operations.listener_posts import URLS
from durable.store.sqlite.file import explain, load_key, reading
from durable.store.upkeep.blobs import alone, blobs, directory
from durable.store.upkeep.copied_tables import USED_BLOBS

_STEP_PAGES = 2_048
"""Pages copied before the copy looks whether it is to end: 8 MiB."""

FORGET_HOLDERS = (
    # Nobody holds anything in a copy. Above all its sessions must not name workers: whoever takes a session over ends
    # the worker on record, and that one lives on with the original.
    "UPDATE tasks SET state='pending', pid=NULL, ttl=NULL, lease_at=NULL, "
    "due=CASE WHEN timer<>0 THEN NULL ELSE not_before END"
    " WHERE state='acquired'",
    "UPDATE sessions SET owner=NULL, worker_pid=NULL, worker_start=NULL",
    "DELETE FROM engines",
    f"DELETE FROM outbox WHERE NOT ({URLS})",
)


class Copied(FrozenRecord, frozen=True):
    """The place of a backup, and how much it holds."""

    path: Path
    bytes: int
    """All its files together."""
    blobs: int


def backup(store: Path, target: Path) -> Copied:
    """Copy the store, its key and its blobs to `target`, `target`.key and `target`.d, all of it private.

    Blocking; for a thread. The copy is of one moment, appears whole, and is checked before it does. Raises StoreError:
    the target exists or cannot be written, the disk is full, the store is damaged.
    """
    target = target.expanduser().absolute()
    beside = Path(f"{target}.d")
    if target.is_dir():
        raise StoreError(
            f"{str(target)!r} is a directory; name a file in it, for instance {str(target / store.name)!r}"
        )
    if not store.is_file():
        raise StoreError(f"there is no store at {str(store)!r}")
    draft = Path(f"{target}.partial")
    if draft.exists() and not target.exists():
        _clear(target, draft)  # of a backup that was killed: it found nothing there when it began
    for path in (target, Path(f"{target}.key"), beside):
        if path.exists():
            raise StoreError(f"{str(path)!r} exists; a backup never overwrites, choose another path")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(store):
            return _copy(store, target, beside, draft)
    except OSError as error:
        raise StoreError(f"the backup {str(target)!r} cannot be written: {error.strerror}") from error
    finally:
        if draft.exists():
            _clear(target, draft)


def _clear(target: Path, draft: Path) -> None:
    """Take away what is half done; the draft last, since it is what says so."""
    shutil.rmtree(f"{target}.d", ignore_errors=True)
    for path in (Path(f"{target}.key"), Path(f"{draft}-journal"), Path(f"{draft}-wal"), Path(f"{draft}-shm"), draft):
        path.unlink(missing_ok=True)


def _copy(store: Path, target: Path, beside: Path, draft: Path) -> Copied:
    key = load_key(store, create=False)
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with reading(store) as source:
        source.execute("BEGIN")  # one moment, however long the copy takes; in WAL mode writers are not held up
        need = sum(path.stat().st_size for path in blobs(store))
        need += source.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]
        free = shutil.disk_usage(target.parent).free
        if free < need:
            raise StoreError(f"the backup needs {need} bytes, {str(target.parent)!r} has {free}")
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
                source.backup(copy, pages=_STEP_PAGES, progress=_passing)
                _check(copy)
                wanted = {row[0] for row in copy.execute(USED_BLOBS)}
        except sqlite3.Error as error:
            raise explain(draft, error) from error
    write_private(Path(f"{target}.key"), key)
    beside.mkdir(mode=0o700)
    count, size = _copy_blobs(store, target, wanted)
    sync_path(draft)
    draft.rename(target)
    sync_path(target.parent)
    return Copied(target, size + target.stat().st_size, count)


def _passing(_status: int, _left: int, _total: int) -> None:
    """Between two steps: Python looks for Ctrl-C when it calls this."""


def _check(copy: sqlite3.Connection) -> None:
    copy.execute("PRAGMA journal_mode=DELETE")  # one file, until it is opened as a store
    found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"the store is damaged, so there is no backup of it: {found}; run `durable doctor`")
    copy.execute("BEGIN")
    for sql in FORGET_HOLDERS:
        copy.execute(sql)
    copy.execute("COMMIT")


def _copy_blobs(store: Path, target: Path, wanted: set[str]) -> tuple[int, int]:
    """Copy the blobs that the copied rows use; the lock keeps sweeps away meanwhile."""
    count = size = 0
    for source in blobs(store):
        if source.name not in wanted:
            continue
        place = directory(target) / source.parent.name / source.name
        for folder in (place.parent.parent, place.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        data = source.read_bytes()
        write_private(place, data)
        count, size = count + 1, size + len(data)
    for folder in (*directory(target).glob("??"), directory(target), Path(f"{target}.d")):
        if folder.is_dir():
            sync_path(folder)
    return count, size
