"""Blobs in a directory: what everybody who writes them has in common (specs/store.md, G5)."""

from __future__ import annotations

import os
from pathlib import Path


def touched(path: Path) -> bool:
    """Whether the blob is there, and will be until its row is: a sweep spares what is fresh.

    The second look is for a sweep that moved it away before it could see the touch.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return path.exists()


def write_private(path: Path, data: bytes) -> None:
    """Write a new file of this user's alone, synced. OSError when it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_path(path: Path) -> None:
    """Sync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BlobFolders:
    """The folders `<root>/<ab>` of blobs: made when they are needed, and which of them are known to be durable.

    A blob that is there may not be durable: whoever wrote it may have been killed before it synced the folder. So may
    its folder: the first to use one in this process syncs those above it as well.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make a folder where it is missing. OSError."""
        if not folder.exists():
            self._durable.discard(folder)
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)

    def unsynced(self, used: set[Path]) -> set[Path]:
        """The directories to sync so that blobs in these folders are durable, whoever put them there."""
        return used | ({self._root, self._root.parent} if used - self._durable else set())

    def synced(self, used: set[Path]) -> None:
        """All that `unsynced` said of these folders was synced."""
        self._durable |= used
