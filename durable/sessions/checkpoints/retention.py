"""How an engine keeps checkpoints: where their large chunks are, and which of them stay (specs/checkpoint.md)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.blobs.directory import Blobs, DirectoryBlobs, Moved
from checkpoint.format.signature import key_id
from durable.core.errors import BadArguments
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import BLOB_GRACE_S, CHECKPOINTS_KEPT, SWEEP_ROWS
from durable.store.port import StoreFace
from durable.store.sqlite.file import reading
from durable.store.upkeep.blobs import Swept, alone, sweep_blobs, used

if TYPE_CHECKING:
    from checkpoint.blobs.object_store import ObjectBlobs
    from durable.store.direct_store import DirectStore

VARIABLE = "DURABLE_BLOBS"


class Keep(FrozenRecord, frozen=True):
    """Which checkpoints of a session stay beside its newest, which always does.

    last: so many of the newest. age: those among them that are younger, in seconds or as a timedelta; None: however
    old. labelled: those with a label stay besides, whatever their number and age. BadArguments.
    """

    last: int = CHECKPOINTS_KEPT
    age: float | timedelta | None = None
    labelled: bool = True

    def __post_init__(self) -> None:
        if self.last < 1 or (self.age_ms is not None and self.age_ms < 0):
            raise BadArguments(f"{self} keeps nothing to go back to; `last` is at least 1, `age` not negative")

    @property
    def age_ms(self) -> int | None:
        """The age in milliseconds."""
        if self.age is None:
            return None
        seconds = self.age.total_seconds() if isinstance(self.age, timedelta) else self.age
        return int(seconds * 1000)

    def to_json(self) -> dict[str, Any]:
        """As the store is asked."""
        return {"last": self.last, "age_ms": self.age_ms, "labelled": self.labelled}


class Retention(FrozenRecord, frozen=True):
    """One engine's settings for checkpoints."""

    blobs: Blobs
    keep: Keep = Keep()
    override_environment: bool = False
    """Restore also what was made with other packages, or another Python."""


def blobs_of(store: StoreFace, url: str | None = None) -> Blobs:
    """Where a store keeps large chunks: at the URL of an object store (or DURABLE_BLOBS), else beside its file.

    A store that is served elsewhere keeps them where its server says: BadArguments for a URL. StoreError.
    """
    file = store.file
    if store.local is not None and file is None:
        objects = objects_of(store.local.path, store.key, url)
        rows: Blobs = store.local.chunks
        return rows if objects is None else Moved(objects, rows)
    if file is None:
        if url is not None:
            raise BadArguments("a store that is served keeps its blobs where its server says; set DURABLE_BLOBS there")
        assert store.chunks is not None
        elsewhere: Any = store.chunks
        served: Blobs = elsewhere
        return served
    beside = DirectoryBlobs(file.directory / "blobs")
    objects = objects_of(file.path, store.key, url)
    return beside if objects is None else Moved(objects, beside)


def objects_of(store: Path, key: bytes, url: str | None = None) -> ObjectBlobs | None:
    """The object store that keeps the chunks of the store at that path; None when a directory does. StoreError."""
    url = url or os.environ.get(VARIABLE)
    if not url:
        return None
    from checkpoint.blobs.object_store import ObjectBlobs

    return ObjectBlobs(url, key_id(key), grace_s=BLOB_GRACE_S, lock=Path(f"{store}.d") / "blobs.lock")


def sweep_chunks(store: DirectStore, *, now_s: float, dry_run: bool = False) -> Swept:
    """Delete the large chunks that no checkpoint uses and nobody has put within BLOB_GRACE_S, wherever they are."""
    if store.chunks is None:
        swept = sweep_blobs(store.path, now_s=now_s, dry_run=dry_run)
    else:
        count, size = store.chunks.sweep(dry_run=dry_run)
        swept = Swept(count, 0, size)
    usage = None if store.chunks is None else store.chunks.used
    return swept.plus(sweep_objects(store.path, store.key, now_s=now_s, dry_run=dry_run, usage=usage))


type Usage = Callable[[list[str]], set[str]]
"""Says which digests of some are used by checkpoints."""


def sweep_objects(store: Path, key: bytes, *, now_s: float, dry_run: bool = False, usage: Usage | None = None) -> Swept:
    """Delete from the object store what no checkpoint uses and nobody has put within BLOB_GRACE_S. `usage`: the
    database's, where the store is no file."""
    objects = objects_of(store, key)
    if objects is None:
        return Swept()
    count = size = 0
    with _usage_of_file(store) if usage is None else nullcontext(usage) as used_of:
        for some in itertools.batched(objects.list(), SWEEP_ROWS):
            old = {each.digest: each.size for each in some if now_s - each.put_s > BLOB_GRACE_S}
            orphans = old.keys() - used_of(list(old))
            count += len(orphans) if dry_run else objects.sweep(sorted(orphans))
            size += sum(old[digest] for digest in orphans)
    return Swept(count, 0, size)


@contextmanager
def _usage_of_file(store: Path) -> Iterator[Usage]:
    """One upkeep at a time asks."""
    with alone(store), reading(store) as connection:
        yield lambda digests: used(connection, digests)
