"""Where large chunks are kept, content-addressed: a small port, and a directory that implements it.

What is kept under an address is a chunk as `checkpoint.coding` packs it; whoever reads one unpacks and verifies it.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from checkpoint.coding import Bytes
from durable.core.errors import CheckpointError

INLINE_BYTES_MAX = 64 * 2**10
"""Chunks up to this size are kept in the store's own rows: a row is cheaper than a file and its fsync."""

DIGEST = re.compile(r"[0-9a-f]{64}\Z")

TOGETHER_MIN = 8
"""So many are synced by two syncs of the whole file system, which wait for what others wrote, too."""

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write out what is dirty, wait for nothing


class Kept(NamedTuple):
    """A blob that is there: its size in bytes as kept, and when it was put last, in seconds since the epoch."""

    digest: str
    size: int
    put_s: float


class Blobs(Protocol):
    """Write-once byte strings by the hex of the SHA-256 of their data. Every method blocks: call it in a thread."""

    def get(self, digest: str) -> bytes | None:
        """What is kept there; None when nothing is."""

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The same for some; what is missing is absent from the answer."""

    def put_many(self, blobs: Iterable[tuple[str, Bytes]]) -> None:
        """Durable, all of them, when it returns; some of them when it is killed. One that is there counts as put now.

        CheckpointError when they cannot be kept.
        """

    def exists(self, digest: str) -> bool:
        """Whether it is there, and stays for as long as a checkpoint that names it may be on its way."""

    def delete(self, digest: str) -> bool:
        """Whether there was something to delete."""

    def list(self) -> Iterator[Kept]:
        """All of them, in no order."""


class DirectoryBlobs:
    """One file per blob, `<root>/ab/<digest>`, readable by its owner only.

    A file appears whole or not at all: written beside its place, synced, renamed, and the directory synced, so
    that a crash at any point leaves either nothing or the blob (and at worst a temporary file, see `sweep`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_many(self, blobs: Iterable[tuple[str, Bytes]]) -> None:
        """Write all. Some are synced one by one, many by one sync of the file system (Linux reports its errors)."""
        try:
            absent = {path: data for digest, data in blobs if not _touched(path := self._path(digest))}
            if not absent:
                return
            changed = {path.parent for path in absent}
            if any(not parent.exists() for parent in changed):
                for parent in changed:
                    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                changed |= {self._root, self._root.parent}
            if len(absent) < TOGETHER_MIN or _syncfs is None:
                _put_each(absent, changed)
            else:
                _put_together(self._root, absent)
        except OSError as error:
            raise CheckpointError(f"blobs cannot be written to {str(self._root)!r}: {error}") from error

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
        """Whether the blob is there; then it counts as put now."""
        return _touched(self._path(digest))

    def delete(self, digest: str) -> bool:
        """Remove one blob."""
        try:
            self._path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def list(self) -> Iterator[Kept]:
        """Every blob; one that goes meanwhile may be missing."""
        for path in self._root.glob("??/*"):
            if DIGEST.match(path.name):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                yield Kept(path.name, found.st_size, found.st_mtime)

    def sweep(self) -> int:
        """Remove what interrupted writes left behind; only while no engine writes. Returns how many."""
        leftover = [*self._root.glob("??/.*")]
        for path in leftover:
            path.unlink(missing_ok=True)
        return len(leftover)

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
        """What one of them has."""
        found = self._blobs.get(digest)
        return self._former.get(digest) if found is None else found

    def get_many(self, digests: Iterable[str]) -> dict[str, bytes]:
        """The same for some."""
        wanted = [*digests]
        found = self._blobs.get_many(wanted)
        return found | self._former.get_many(digest for digest in wanted if digest not in found)


def check_digest(digest: str) -> str:
    """The same; CheckpointError when it is not an address."""
    if not DIGEST.match(digest):
        raise CheckpointError(f"{digest[:80]!r} is not a digest: 64 lower-case hex digits")
    return digest


def _put_each(blobs: Mapping[Path, Bytes], changed: Iterable[Path]) -> None:
    for path, data in blobs.items():
        temporary = _write(path, data, sync=True)
        _renamed(temporary, path)
    for directory in changed:
        _sync_directory(directory)


def _put_together(root: Path, blobs: Mapping[Path, Bytes]) -> None:
    """Two syncs for all: of what was written, then of the names. An error since `root` was opened is raised by them."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    drafts: dict[Path, Path] = {}
    try:
        for path, data in blobs.items():
            drafts[path] = _write(path, data, sync=False)
        _sync_file_system(descriptor)
        for path in blobs:
            _renamed(drafts.pop(path), path)
        _sync_file_system(descriptor)
    finally:
        os.close(descriptor)
        for temporary in drafts.values():
            temporary.unlink(missing_ok=True)


def _write(path: Path, data: Bytes, *, sync: bool) -> Path:
    """Write one beside its place; else the disk begins to."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
        elif _sync_file_range is not None:
            _sync_file_range(descriptor, 0, 0, _WRITE)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return temporary


def _renamed(temporary: Path, path: Path) -> None:
    try:
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_file_system(descriptor: int) -> None:
    assert _syncfs is not None
    if _syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _touched(path: Path) -> bool:
    """Whether the blob is there, and will be for as long as its checkpoint may take: a sweep spares what is fresh.

    The second look is for a sweep that moved it away before it could see the touch.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return path.exists()


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
