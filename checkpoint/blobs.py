"""Chunks too large for the store's rows, content-addressed: a small port, and a directory that implements it."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Protocol

from checkpoint.format import chunk_digest
from durable.core.errors import CheckpointError, CheckpointTampered

INLINE_BYTES_MAX = 64 * 2**10
"""Chunks up to this size are kept in the store's own rows: a row is cheaper than a file and its fsync."""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Blobs(Protocol):
    """Write-once byte strings by the hex of their SHA-256."""

    def put(self, digest: str, data: bytes) -> None:
        """Durable when it returns. Putting what is there already does nothing."""

    def get(self, digest: str) -> bytes:
        """The verified bytes; CheckpointError when missing, CheckpointTampered when changed."""

    def has(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> bool:
        """Whether there was something to delete."""


class DirectoryBlobs:
    """One file per blob, `<root>/ab/<digest>`, readable by its owner only.

    A file appears whole or not at all: written beside its place, synced, renamed, and the directory synced, so
    that a crash at any point leaves either nothing or the blob (and at worst a temporary file, see `sweep`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, digest: str, data: bytes) -> None:
        """Write one blob; CheckpointError when the data is not what the digest says."""
        path = self._path(digest)
        if chunk_digest(data).hex() != digest:
            raise CheckpointError(f"blob {digest} does not have that digest")
        if _touched(path):
            return
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(path.parent.parent)
        temporary = path.with_name(f".{digest}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)

    def get(self, digest: str) -> bytes:
        """Read one blob and verify it."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            raise CheckpointError(f"blob {digest} is missing from {self._root}") from None
        if chunk_digest(data).hex() != digest:
            raise CheckpointTampered(f"blob {digest} was changed")
        return data

    def has(self, digest: str) -> bool:
        """Whether the blob is there; its bytes are not looked at."""
        return self._path(digest).exists()

    def delete(self, digest: str) -> bool:
        """Remove one blob."""
        try:
            self._path(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def sweep(self) -> int:
        """Remove what interrupted writes left behind; only while no engine writes. Returns how many."""
        leftover = list(self._root.glob("??/.*"))
        for path in leftover:
            path.unlink(missing_ok=True)
        return len(leftover)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.match(digest):
            raise CheckpointError(f"{digest[:80]!r} is not a digest: 64 lower-case hex digits")
        return self._root / digest[:2] / digest


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
