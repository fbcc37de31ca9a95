"""Large chunks (as `Blobs` of a directory, for threads) and large values in the database (specs/postgres.md, Blobs)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Concatenate, NamedTuple

import psycopg

from durable.core.errors import CheckpointError, StoreError, StoreFull, StoreUnreachable
from durable.core.limits import BLOB_GRACE_S, REQUEST_UNHEARD_S, SWEEP_ROWS
from durable.store.operations.large_values import IS_USED
from durable.store.postgres.address import Address
from durable.store.postgres.connection import UNTIMED_HERE, connect, explain, is_lost, is_pooled
from durable.store.postgres.liveness import NOW
from durable.store.postgres.writer_connection import WriterConnection

PART_BYTES = 2**20
"""A blob is kept in parts of this size."""
RETRY_S = 0.1
"""Between two tries while the server is away."""

_PATH = b"SELECT set_config('search_path', $1, true)"


class KeptChunk(NamedTuple):
    """A chunk that is there: its size in bytes as kept, and when it was put last, in seconds since the epoch."""

    digest: str
    size: int
    put_s: float


class DatabaseChunks:
    """Write-once byte strings by the hex of their SHA-256. Every method blocks: call it outside the loop's thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        """Close the connection, if one was made."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def put_many(self, blobs: Iterable[tuple[str, bytes | memoryview]]) -> None:
        """Durable when it returns, one by one. One that is there counts as put now."""
        for digest, data in blobs:
            self._transact(keep_chunk, digest, data)

    def get(self, digest: str) -> bytes | None:
        """The chunk kept under a digest; None when there is none."""
        return self._transact(kept_chunk, digest)

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The same for some; what is missing is absent from the answer."""
        found = ((digest, self.get(digest)) for digest in digests)
        return {digest: data for digest, data in found if data is not None}

    def exists(self, digest: str) -> bool:
        """Whether the chunk is there; then it stays for BLOB_GRACE_S."""
        return self._transact(_touched, digest)

    def delete(self, digest: str) -> bool:
        """Remove one; whether it was there."""
        return self._transact(_deleted, [digest]) > 0

    def list(self) -> Iterator[KeptChunk]:
        """Every chunk that is kept, in order."""
        after = ""
        while True:
            found = self._transact(_page, after)
            for digest, size, put_at in found:
                yield KeptChunk(digest, size, put_at / 1000)
            if len(found) < SWEEP_ROWS:
                return
            after = found[-1][0]

    def sweep(self, *, dry_run: bool = False) -> tuple[int, int]:
        """Delete what nothing refers to and nobody has put within BLOB_GRACE_S: how many, and their bytes."""
        if dry_run:
            return self._transact(_unused)
        count = size = 0
        while True:
            found = self._transact(_swept)
            count, size = count + found[0], size + found[1]
            if found[0] < SWEEP_ROWS:
                return count, size

    def used(self, digests: Sequence[str]) -> set[str]:
        """The digests among these that something refers to."""
        return self._transact(_used, [*digests])

    def _transact[**P, T](
        self, action: Callable[Concatenate[psycopg.Connection[Any], P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        """In one transaction, on one connection; again where the connection was lost: all of it may be done twice."""
        with self._lock:
            until = time.monotonic() + REQUEST_UNHEARD_S
            while True:
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = connect(self._address)
                    with self._connection.transaction():
                        if is_pooled(self._connection):
                            self._connection.execute(UNTIMED_HERE)
                        self._connection.execute(_PATH, (self._address.search_path,))
                        return action(self._connection, *arguments, **named)
                except psycopg.Error as error:
                    if self._connection is not None and is_lost(error):
                        self._connection.close()
                    if time.monotonic() >= until or not is_lost(error):
                        explained = explain(self._address, error)
                        full = isinstance(explained, StoreFull)
                        raise (explained if full else CheckpointError(str(explained))) from error
                except StoreError as error:
                    if time.monotonic() >= until or not isinstance(error, StoreUnreachable):
                        raise CheckpointError(str(error)) from error
                time.sleep(RETRY_S)


def keep_chunk(connection: psycopg.Connection[Any], digest: str, data: bytes | memoryview) -> None:
    """Keep a chunk, in the transaction of the connection. One that is there counts as put now."""
    kept = f"INSERT INTO blobs (digest, size, put_at) VALUES ($1, $2, {NOW}) ON CONFLICT DO NOTHING RETURNING 1"
    size = memoryview(data).nbytes
    while connection.execute(kept.encode(), (digest, size)).fetchone() is None:
        if _touched(connection, digest):
            return  # otherwise a sweep deleted it meanwhile
    view = memoryview(data).cast("B")
    for n, start in enumerate(range(0, max(1, size), PART_BYTES)):
        part = bytes(view[start : start + PART_BYTES])
        connection.execute(b"INSERT INTO blob_parts (digest, n, data) VALUES ($1, $2, $3)", (digest, n, part))


def kept_chunk(connection: psycopg.Connection[Any], digest: str) -> bytes | None:
    """The chunk kept under a digest; None when there is none."""
    if connection.execute(b"SELECT 1 FROM blobs WHERE digest=$1", (digest,)).fetchone() is None:
        return None
    rows = connection.execute(b"SELECT data FROM blob_parts WHERE digest=$1 ORDER BY n", (digest,), binary=True)
    return b"".join(row[0] for row in rows)


def _touched(connection: psycopg.Connection[Any], digest: str) -> bool:
    touched = f"UPDATE blobs SET put_at={NOW} WHERE digest=$1 RETURNING 1"
    return connection.execute(touched.encode(), (digest,)).fetchone() is not None


def _page(connection: psycopg.Connection[Any], after: str) -> list[tuple[Any, ...]]:
    page = b"SELECT digest, size, put_at FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2"
    return connection.execute(page, (after, SWEEP_ROWS)).fetchall()


def _deleted(connection: psycopg.Connection[Any], digests: list[str]) -> int:
    connection.execute(b"DELETE FROM blob_parts WHERE digest = ANY($1::text[])", (digests,))
    return connection.execute(b"DELETE FROM blobs WHERE digest = ANY($1::text[])", (digests,)).rowcount


UNUSED = f"FROM blobs b WHERE put_at < {NOW} - $1 AND NOT {IS_USED}"
"""Blobs that nothing refers to, and that nobody has put for $1 ms."""


def _unused(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    counted = f"SELECT count(*), coalesce(sum(size), 0) {UNUSED}"
    row = connection.execute(counted.encode(), (int(BLOB_GRACE_S * 1000),)).fetchone()
    assert row is not None
    return row[0], row[1]


def _swept(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """A batch. Rows are locked: whoever puts one of them meanwhile waits, and then writes it anew."""
    orphans = f"SELECT digest, size {UNUSED} LIMIT $2 FOR UPDATE SKIP LOCKED"
    rows = connection.execute(orphans.encode(), (int(BLOB_GRACE_S * 1000), SWEEP_ROWS)).fetchall()
    if rows:
        _deleted(connection, [row[0] for row in rows])
    return len(rows), sum(row[1] for row in rows)


def _used(connection: psycopg.Connection[Any], digests: list[str]) -> set[str]:
    used = f"SELECT b.digest FROM unnest($1::text[]) b(digest) WHERE {IS_USED}"
    rows = connection.execute(used.encode(), (digests,))
    return {row[0] for row in rows}


PARTS = "SELECT data FROM blob_parts WHERE digest=? ORDER BY n"
_MAKE_VALUE = f"INSERT INTO blobs (digest, size, put_at) VALUES (?, ?, {NOW}) ON CONFLICT DO NOTHING RETURNING 1"
_TOUCH_VALUE = f"UPDATE blobs SET put_at={NOW} WHERE digest=? RETURNING 1"
_PUT_PART = "INSERT INTO blob_parts (digest, n, data) VALUES (?, ?, ?)"


class ValueRows:
    """The blobs of large values, written by the transaction that refers to them (specs/store.md, V3)."""

    def __init__(self, session: WriterConnection) -> None:
        self._session = session

    def keep(self, address: str, data: bytes) -> None:
        """Keep bytes with the transaction."""
        while self._session.send(_MAKE_VALUE, (address, len(data))).fetchone() is None:
            if self._session.send(_TOUCH_VALUE, (address,)).fetchone() is not None:
                return  # otherwise a sweep deleted it meanwhile
        for n, start in enumerate(range(0, len(data), PART_BYTES)):
            self._session.send(_PUT_PART, (address, n, data[start : start + PART_BYTES]))

    def read(self, address: str) -> bytes | None:
        """The bytes; None where there are none."""
        rows = self._session.rows(PARTS, (address,))
        return b"".join(row[0] for row in rows) if rows else None
