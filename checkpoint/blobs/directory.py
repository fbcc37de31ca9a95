"""The store of large chunks, content-addressed: a small port, and a directory that implements it.

What is kept under an address is a chunk as `checkpoint.format.compression` packs it; whoever reads one
unpacks and verifies it.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

from checkpoint.format.compression import Bytes
from durable.core.blob_files import BlobFolders, touched
from durable.core.disk_space import ADVICE, is_no_room
from durable.core.errors import CheckpointError, StoreFull

INLINE_BYTES_MAX = 64 * 2**10
"""Chunks up to this size are kept in the store's own rows: a row is cheaper than a file and its fsync."""

DIGEST = re.compile(r"[0-9a-f]{64}\Z")

TOGETHER_MIN = 8
"""From so many files on, two syncs of the whole file system do, which wait for what others wrote, too."""

BEGUN_MAX = 32
"""Files that are open at once: a process may have 1,024, and others need some."""

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write out what is dirty, wait for nothing


class KeptBlob(NamedTuple):
    """A blob that is there: its size in bytes as kept, and when it was put last, in seconds since the epoch."""

    digest: str
    size: int
    put_s: float


class Blobs(Protocol):
    """Write-once byte strings by the hex of the SHA-256 of their data. Every method blocks: call it in a thread."""

    def get(self, digest: str) -> bytes | None:
        """The blob that is kept there; None when there is none."""

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The blobs kept at these addresses; what is missing is absent from the answer."""

    def put_many(self, blobs: Iterable[tuple[str, Bytes]]) -> None:
        """Keep blobs: all are durable when it returns, some when it is killed. One that is there counts as put now.

        Each is taken when it can be written: others may be made meanwhile. CheckpointError when they cannot be kept.
        """

    def exists(self, digest: str) -> bool:
        """Whether the blob is there, and stays for as long as a checkpoint that names it may be on its way."""

    def delete(self, digest: str) -> bool:
        """Delete a blob; whether there was one."""

    def list(self) -> Iterator[KeptBlob]:
        """All blobs, in no order."""


class DirectoryBlobs:
    """One file per blob, `<root>/ab/<digest>`, readable by its owner only.

    A file appears whole or not at all: written beside its place, synced, renamed, and the directory synced, so
    that a crash at any point leaves either nothing or the blob (and at worst a temporary file, see `sweep`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = BlobFolders(root)

    def put_many(self, blobs: Iterable[tuple[str, Bytes]]) -> None:
        """Write each as it comes, then sync: some one by one, many by one sync of the file system."""
        drafts: dict[Path, Path] = {}
        used: set[Path] = set()
        descriptor = -1
        try:
            with _Beginning() as beginning:
                for digest, data in blobs:
                    path = self._path(digest)
                    used.add(path.parent)
                    if path in drafts or touched(path):
                        continue
                    self._folders.make(path.parent)
                    if descriptor < 0:  # before anything is written: the sync tells of errors since it was opened
                        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    drafts[path] = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
                    beginning.file(_written(drafts[path], data))
            if len(drafts) < TOGETHER_MIN or _syncfs is None:
                _publish_each(drafts)
                self._sync_folders(used)
            else:
                _publish_together(descriptor, drafts)
                self._folders.synced(used)
        except OSError as error:
            text = f"blobs cannot be written to {str(self._root)!r}: {error.strerror}"
            raise (StoreFull(f"{text}; {ADVICE}") if is_no_room(error) else CheckpointError(text)) from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            for draft in drafts.values():
                draft.unlink(missing_ok=True)

    def get(self, digest: str) -> bytes | None:
        """Read one blob."""
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError:
            return None

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Read some blobs."""
        found = ((digest, self.get(digest)) for digest in digests)
        return {digest: data for digest, data in found if data is not None}

    def exists(self, digest: str) -> bool:
        """Whether the blob is there; then it counts as put now, and is durable."""
        path = self._path(digest)
        if not touched(path):
            return False
        self._sync_folders({path.parent})
        return True

    def delete(self, digest: str) -> bool:
        """Remove one blob."""
        try:
            self._path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def list(self) -> Iterator[KeptBlob]:
        """Every blob; one that goes meanwhile may be missing."""
        for path in self._root.glob("??/*"):
            if DIGEST.match(path.name):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                yield KeptBlob(path.name, found.st_size, found.st_mtime)

    def sweep(self) -> int:
        """Remove what interrupted writes left behind; only while no engine writes. Returns how many."""
        leftover = [*self._root.glob("??/.*")]
        for path in leftover:
            path.unlink(missing_ok=True)
        return len(leftover)

    def _sync_folders(self, used: set[Path]) -> None:
        for folder in self._folders.unsynced(used):
            _sync_directory(folder)
        self._folders.synced(used)

    def _path(self, digest: str) -> Path:
        return self._root / check_digest(digest)[:2] / digest


class Moved:
    """Blobs that are kept in a new place; those that only the former one has are still read there."""

    def __init__(self, blobs: Blobs, former: Blobs) -> None:
        self._blobs = blobs
        self._former = former
        self.put_many = blobs.put_many
        self.exists = blobs.exists
        self.delete = blobs.delete
        self.list = blobs.list

    def get(self, digest: str) -> bytes | None:
        """The blob from either place; None when neither has it."""
        found = self._blobs.get(digest)
        return self._former.get(digest) if found is None else found

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The same for some blobs."""
        wanted = [*digests]
        found = self._blobs.get_many(wanted)
        return found | self._former.get_many(digest for digest in wanted if digest not in found)


def check_digest(digest: str) -> str:
    """The digest itself; CheckpointError when it is not an address."""
    if not DIGEST.match(digest):
        raise CheckpointError(f"{digest[:80]!r} is not a digest: 64 lower-case hex digits")
    return digest


def _publish_each(drafts: dict[Path, Path]) -> None:
    """Sync and rename one after the other; their directories are not synced."""
    for path in list(drafts):
        descriptor = os.open(drafts[path], os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        drafts[path].rename(path)
        del drafts[path]


def _publish_together(descriptor: int, drafts: dict[Path, Path]) -> None:
    """Two syncs for all: of what was written, then of the names."""
    _sync_file_system(descriptor)
    for path in list(drafts):
        drafts[path].rename(path)
        del drafts[path]
    _sync_file_system(descriptor)


def _written(path: Path, data: Bytes) -> int:
    """Write a new file; its descriptor."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class _Beginning:
    """Lets the disk begin with what was written, in a thread: where it is busy, even that takes as long as writing."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._begun: deque[Future[None]] = deque()

    def file(self, descriptor: int) -> None:
        """The file of this descriptor, which is closed then."""
        if _sync_file_range is None:
            os.close(descriptor)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "blobs")
        self._begun.append(self._pool.submit(_begin, descriptor))
        if len(self._begun) > BEGUN_MAX:
            self._begun.popleft().result()

    def __enter__(self) -> _Beginning:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def _begin(descriptor: int) -> None:
    try:
        assert _sync_file_range is not None
        _sync_file_range(descriptor, 0, 0, _WRITE)  # an error is told of by the sync that follows
    finally:
        os.close(descriptor)


def _sync_file_system(descriptor: int) -> None:
    assert _syncfs is not None
    if _syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)
_sync_file_range = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
