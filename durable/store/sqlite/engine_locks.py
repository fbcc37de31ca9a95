"""Whether an engine is alive: it holds an fcntl record lock on a file of its own for as long as its process lives.

A record lock belongs to the process: the kernel drops it at any death, forked children do not inherit it, and no pid is
compared. Its two oddities are met here: locks do not conflict inside one process, so engines of this process are
remembered; and closing any descriptor of a locked file drops the lock, so a file of this process is never opened again.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_OWN: dict[str, int] = {}
"""Lock files held by this process, by real path, with their descriptors."""


class Liveness:
    """The locks of one store's engines, in `<path>.d/engines/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "engines"
        self._held: set[str] = set()

    def hold(self, engine: str) -> None:
        """Take the lock of an engine of this process; it ends with `release` or the process. Idempotent."""
        if engine in self._held:
            return
        key = self._key(engine)
        if key in _OWN:
            raise FileExistsError(f"engine {engine!r} is already open in this process")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        _OWN[key] = descriptor
        self._held.add(engine)

    def take_over(self, engine: str) -> None:
        """Nothing: a lock of another process is its own until that ends."""

    def release(self, engine: str) -> None:
        """Give the lock up and remove its file; nothing happens when this store does not hold it."""
        if engine in self._held:
            self._held.discard(engine)
            key = self._key(engine)
            Path(key).unlink(missing_ok=True)
            os.close(_OWN.pop(key))

    def release_all(self) -> None:
        """Give every lock up: the store closes."""
        for engine in list(self._held):
            self.release(engine)

    def forget(self, engine: str) -> None:
        """Remove what a dead engine left."""
        key = self._key(engine)
        if key not in _OWN:
            Path(key).unlink(missing_ok=True)

    def held_here(self, engine: str) -> bool:
        """Whether this process holds the engine's lock."""
        return self._key(engine) in _OWN

    def alive(self, engine: str) -> bool:
        """Try the engine's lock. A missing file is a dead engine."""
        key = self._key(engine)
        if key in _OWN:
            return True
        try:
            descriptor = os.open(key, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who look at the same time do not take each other for the owner.
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def _key(self, engine: str) -> str:
        # An engine's id comes from its own process, but a path must never leave the directory.
        safe = "".join(c if c.isalnum() or c in "-_@" else f"%{ord(c):x}" for c in engine)
        return str(self._directory.resolve() / f"{safe[:200]}.lock")
