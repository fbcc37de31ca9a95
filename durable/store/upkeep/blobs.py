"""The files of large chunks and values beside a store, as upkeep sees them: found, swept, copied (specs/store.md, G5).

`<path>.d/blobs/<ab>/<digest>`, written by the checkpoint package and by `sqlite/value_files.py`. A file appears whole,
and putting one that is there already touches it; both are what makes sweeping beside writers safe.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from durable.core.errors import StoreError
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import BLOB_GRACE_S, SWEEP_ROWS, UPKEEP_WAIT_S
from durable.store import owner_check
from durable.store.operations.large_values import IS_USED
from durable.store.sqlite.file import reading

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ASIDE = ".swept."
_LOOK_S = 0.05


class Swept(FrozenRecord, frozen=True):
    """Counts of what was deleted, or would be. `unfinished` are what interrupted writes left."""

    blobs: int = 0
    unfinished: int = 0
    bytes: int = 0

    def plus(self, other: Swept) -> Swept:
        return Swept(self.blobs + other.blobs, self.unfinished + other.unfinished, self.bytes + other.bytes)


def directory(store: Path) -> Path:
    """Where the blobs of a store lie."""
    return Path(f"{store}.d") / "blobs"


def blobs(store: Path) -> Iterator[Path]:
    """Every blob, in no order; one that goes meanwhile may be missing when it is looked at."""
    for path in directory(store).glob("??/*"):
        if _DIGEST.match(path.name):
            yield path


def used(connection: sqlite3.Connection, digests: list[str]) -> set[str]:
    """The digests among these that something refers to."""
    sql = f"SELECT b.digest FROM (SELECT value AS digest FROM json_each(?)) b WHERE {IS_USED}"
    return {row[0] for row in connection.execute(sql, (msgspec.json.encode(digests).decode(),))}


class UpkeepBusy(StoreError):
    """Another gc, backup or sweep of the same store is at work."""


@contextmanager
def alone(store: Path, *, patience_s: float = UPKEEP_WAIT_S) -> Iterator[None]:
    """One upkeep at a time deletes or copies blobs. UpkeepBusy when another one is at it for longer than `patience_s`:
    an engine's own sweep is over soon."""
    owner_check.check(store)
    path = Path(f"{store}.d") / "upkeep.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    try:
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                raise UpkeepBusy(f"another `gc` or `backup` of {str(store)!r} is at work; try again when it has ended")
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def orphans(store: Path, now_s: float, *, for_good: bool = False) -> Iterator[tuple[Path, os.stat_result]]:
    """Blobs that nothing refers to and nobody has put within BLOB_GRACE_S, in which a checkpoint or value gets its row.

    `for_good`: nor will any after a power cut.
    """
    with reading(store) as connection:
        for some in itertools.batched(blobs(store), SWEEP_ROWS):
            old = {path.name: path for path in some if _age(path, now_s) > BLOB_GRACE_S}
            unused = old.keys() - used(connection, list(old))
            if unused and for_good:
                _sync_log(store)
            for digest in unused:
                try:
                    yield old[digest], old[digest].stat()
                except FileNotFoundError:
                    continue


def _sync_log(store: Path) -> None:
    """Make what the file says now survive a power cut: a row that is gone must not come back without its blob (W4)."""
    try:
        descriptor = os.open(f"{store}-wal", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # written back into the file, and synced with that
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_blobs(store: Path, *, now_s: float, dry_run: bool = False, stop: threading.Event | None = None) -> Swept:
    """Delete orphans and what interrupted writes and sweeps left. May be interrupted anywhere.

    `stop` is given by who sweeps in the background and does not wait for others: set, it ends the sweep early.
    """
    if not directory(store).is_dir():
        return Swept()
    with alone(store, patience_s=UPKEEP_WAIT_S if stop is None else 0):
        if not dry_run:
            _put_back(store)
        count = unfinished = size = 0
        for path in directory(store).glob("??/.*"):
            if not path.name.startswith(_ASIDE) and _age(path, now_s) > BLOB_GRACE_S:
                unfinished, size = unfinished + 1, size + path.stat().st_size
                if not dry_run:
                    path.unlink(missing_ok=True)
        for path, found in orphans(store, now_s, for_good=not dry_run):
            if stop is not None and stop.is_set():
                break
            if dry_run or _remove(path, now_s):
                count, size = count + 1, size + found.st_size
        return Swept(count, unfinished, size)


def _remove(path: Path, now_s: float) -> bool:
    """Delete one, unless somebody puts it right now.

    Who puts what is there touches it and looks again. It is moved aside first: a touch that came before is seen in its
    time, and then it goes back; whoever touches or looks later does not find it and writes it anew.
    """
    aside = path.with_name(_ASIDE + path.name)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    if _age(aside, now_s) <= BLOB_GRACE_S:
        aside.rename(path)
        return False
    aside.unlink()
    return True


def _put_back(store: Path) -> None:
    """Put back what a sweep had moved aside when it was killed: whether it may go is asked again."""
    for aside in directory(store).glob(f"??/{_ASIDE}*"):
        aside.rename(aside.with_name(aside.name.removeprefix(_ASIDE)))


def _age(path: Path, now_s: float) -> float:
    try:
        return now_s - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
