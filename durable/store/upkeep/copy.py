"""A whole store in another place, of the same or another kind (specs/store.md, "Copy").

The two ends are `sqlite/transfer.py` and `postgres/transfer.py`. The source is held against writing meanwhile; all rows
of the target appear in one transaction, after they were read back and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from durable.core.errors import Conflict, StoreError
from durable.store.operations.row_records import Row
from durable.store.target import is_database, is_url, parsed, shown
from durable.store.upkeep.copied_tables import BLOBS, NUMBERED, TABLES, CopySource, CopyTarget

_SUM_BYTES = 32


@dataclass(frozen=True, slots=True)
class StoreCopy:
    """The number of rows that were copied, by table, and of large chunks with their bytes."""

    tables: dict[str, int]
    blobs: int
    bytes: int


class _Tally:
    """Counts rows, and sums their digests: the same for the same rows, in whatever order they come."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._sum = 0

    def over(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, counted as they pass."""
        for row in rows:
            digest = hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=_SUM_BYTES).digest()
            self.count += 1
            self._sum = (self._sum + int.from_bytes(digest)) % 2 ** (8 * _SUM_BYTES)
            yield row

    def over_blobs(self, blobs: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        """The same for large chunks."""
        for digest, data in blobs:
            for _ in self.over([(digest, data)]):
                self.size += len(data)
            yield digest, data

    def same(self, other: _Tally) -> bool:
        """Whether both passed the same rows."""
        return (self.count, self._sum) == (other.count, other._sum)


def copy(source: str, target: str) -> StoreCopy:
    """Copy the store `source` to `target`: paths or URLs of databases. Blocking; for a thread.

    Nothing may run on the source. StoreError: one of them cannot be opened, or the copy is not the same. Conflict: an
    engine is alive, or the target is not empty.
    """
    with _source(source) as original:
        alive = original.living()
        if alive:
            raise Conflict(f"{', '.join(alive)} is alive on {shown(source)!r}, and goes on writing there; end it first")
        with _target(target) as made:
            return _moved(original, made)


def _moved(source: CopySource, target: CopyTarget) -> StoreCopy:
    tallies = {table: _Tally() for table in (*TABLES, BLOBS)}
    for table in TABLES:
        columns = source.columns(table)
        assert sorted(columns) == sorted(target.columns(table)), f"{table} is not the same at both ends"
        target.insert(table, columns, tallies[table].over(source.rows(table, columns)))
    target.put_blobs(tallies[BLOBS].over_blobs(source.blobs()))
    for table, tally in tallies.items():
        _compare(table, tally, target, source)
    target.finish(source.key, {table: source.last_number(table) for table in NUMBERED})
    counts = {table: tally.count for table, tally in tallies.items() if table != BLOBS}
    return StoreCopy(counts, tallies[BLOBS].count, tallies[BLOBS].size)


def _compare(table: str, written: _Tally, target: CopyTarget, source: CopySource) -> None:
    """Read back what was written. StoreError when it is not the same."""
    read = _Tally()
    passed: Iterator[object] = (
        read.over_blobs(target.blobs()) if table == BLOBS else read.over(target.rows(table, source.columns(table)))
    )
    for _ in passed:
        pass
    if not read.same(written):
        raise StoreError(f"the copy is not the same: {table} has {read.count} rows of {written.count}")


def _source(place: str) -> AbstractContextManager[CopySource]:
    if is_database(place):
        from durable.store.postgres.transfer import source_schema

        return source_schema(str(parsed(place)))
    from durable.store.sqlite.transfer import source_file

    return source_file(_path(place))


def _target(place: str) -> AbstractContextManager[CopyTarget]:
    if is_database(place):
        from durable.store.postgres.transfer import target_schema

        return target_schema(str(parsed(place)))
    from durable.store.sqlite.transfer import target_file

    return target_file(_path(place))


def _path(place: str) -> Path:
    if is_url(place):
        raise StoreError(f"{place} is a server; copy where its store is, by its path or postgresql://…")
    return Path(parsed(place)).expanduser().absolute()
