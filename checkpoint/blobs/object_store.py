"""Large chunks in an object store, through obstore: `s3://bucket/prefix`, `gs://`, `az://` (the extra `s3`).

Credentials, region and endpoint come from the environment, by the names that the provider's own tools use. Below the
prefix each store has a place of its own, so that some can share a bucket.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING

from checkpoint.blobs.directory import DIGEST, KeptBlob, check_digest
from checkpoint.format.compression import Bytes
from durable.core.errors import CheckpointError, StoreError
from durable.core.extras import install_command

if TYPE_CHECKING:
    from obstore.store import ObjectStore

AT_ONCE_MAX = 16
"""Requests on their way at a time: a chunk is a megabyte, and waiting for the answer is most of its time."""

SCHEMES = ("s3", "gs", "az")

SWEEP_OBJECTS_MAX = 100


class ObjectBlobs:
    """`<url>/<store>/<ab>/<digest>`. A put is durable when it was answered, and an object appears whole or not at all.

    `grace_s`: how long a sweep spares what was put; what is older than half of it is put again rather than relied on.
    `lock`: a file that every process has which puts or sweeps; none when there is no sweep.
    """

    def __init__(
        self,
        url: str,
        store: str,
        *,
        grace_s: float,
        lock: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = f"{url.rstrip('/')}/{store}"
        self._objects = _opened(self.url)
        self._grace_s = grace_s
        self._lock = lock
        self._clock = clock

    def put_many(self, blobs: Iterable[tuple[str, Bytes]]) -> None:
        """Upload some side by side."""
        with self._named("written to"), ThreadPoolExecutor(AT_ONCE_MAX, "blobs") as pool:
            for some in batched(blobs, AT_ONCE_MAX):
                list(pool.map(self._put, *zip(*some, strict=True)))

    def _put(self, digest: str, data: Bytes) -> None:
        import obstore

        with self._locked(fcntl.LOCK_SH):
            if not self._fresh(digest):
                obstore.put(self._objects, _path(digest), bytes(data))

    def get(self, digest: str) -> bytes | None:
        """Download one."""
        import obstore

        path = _path(digest)
        with self._named("read from"):
            try:
                return bytes(obstore.get(self._objects, path).bytes())
            except FileNotFoundError:
                return None

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Download some side by side."""
        wanted = list(digests)
        with ThreadPoolExecutor(AT_ONCE_MAX, "blobs") as pool:
            found = zip(wanted, pool.map(self.get, wanted), strict=True)
            return {digest: data for digest, data in found if data is not None}

    def exists(self, digest: str) -> bool:
        """Whether it is there and was put lately enough; an older one is put again."""
        with self._named("read from"):
            return self._fresh(digest)

    def delete(self, digest: str) -> bool:
        """Remove one object."""
        import obstore

        with self._named("deleted from"):
            there = self._put_s(digest) is not None
            obstore.delete(self._objects, _path(digest))
            return there

    def list(self) -> Iterator[KeptBlob]:
        """Every object of this store."""
        import obstore

        with self._named("listed in"):
            for some in obstore.list(self._objects):
                for each in some:
                    name = each["path"].rpartition("/")[2]
                    if DIGEST.match(name):
                        yield KeptBlob(name, each["size"], each["last_modified"].timestamp())

    def sweep(self, digests: Iterable[str]) -> int:
        """Delete those of them that nobody has put within `grace_s`; returns how many.

        What is fresh is asked while nobody puts: whoever does it later finds nothing there and puts it anew.
        """
        import obstore

        done = 0
        with self._named("deleted from"), ThreadPoolExecutor(AT_ONCE_MAX, "blobs") as pool:
            for some in batched(digests, SWEEP_OBJECTS_MAX):
                with self._locked(fcntl.LOCK_EX):
                    put = zip(some, pool.map(self._put_s, some), strict=True)
                    old = [each for each, at in put if at is not None and self._clock() - at > self._grace_s]
                    if old:
                        obstore.delete(self._objects, [_path(each) for each in old])
                    done += len(old)
        return done

    def _fresh(self, digest: str) -> bool:
        at = self._put_s(digest)
        return at is not None and self._clock() - at < self._grace_s / 2

    def _put_s(self, digest: str) -> float | None:
        import obstore

        try:
            return obstore.head(self._objects, _path(digest))["last_modified"].timestamp()
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            text = " ".join(str(error).split())[:500]
            raise CheckpointError(f"chunks cannot be {what} {self.url}: {text}") from error


def _path(digest: str) -> str:
    return f"{check_digest(digest)[:2]}/{digest}"


def _opened(url: str) -> ObjectStore:
    if url.partition("://")[0] not in SCHEMES:
        raise StoreError(f"{url[:200]!r} is not where blobs can be kept; use s3://bucket/prefix, gs://… or az://…")
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise StoreError(f"blobs in an object store need obstore; {install_command('s3')}") from None
    try:
        return from_url(url)
    except (BaseError, ValueError) as error:
        raise StoreError(f"blobs cannot be kept at {url[:200]!r}: {error}") from error
