"""Compiled code on disk. wasmtime runs what it loads as native code, a flipped bit included: so each artefact is
authenticated, with a key of this cache, before wasmtime sees a byte of it. What fails that is compiled anew.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from capabilities.sandbox.errors import CacheUnsafe

KEY_BYTES = 32
_MAC_BYTES = 32
CACHE_BYTES_MAX = 2 * 1024 * 1024 * 1024
"""Bytes of one directory; what was not used for the longest time goes first."""


def users_cache() -> Path:
    """Compiled code of this user, whatever the store: what is compiled is the same for all of them (S8)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "durable" / "compiled"


class Artefacts:
    """A directory of artefacts, by what they were compiled from and how. Safe beside other processes."""

    def __init__(self, directory: Path) -> None:
        """The directory is made when missing, for its owner only; so is the key in it. CacheUnsafe."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _own(directory)
        self._key = _key(directory / "key")
        self.hits = 0
        self.misses = 0
        self.refused = 0
        """Artefacts that were not as they were written."""

    def load(self, name: str) -> bytes | None:
        """The artefact of this name, or None."""
        try:
            data = (self._directory / name).read_bytes()
        except OSError:
            self.misses += 1
            return None
        mac, artefact = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name, artefact)):
            self.refused += 1
            return None
        self.hits += 1
        with suppress(OSError):
            os.utime(self._directory / name)
        return artefact

    def keep(self, name: str, artefact: bytes) -> None:
        """Write it, whole or not at all. A disk that refuses costs the next start its time, nothing else."""
        try:
            handle, temporary = tempfile.mkstemp(dir=self._directory)
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._mac(name, artefact))
                file.write(artefact)
            os.replace(temporary, self._directory / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
        self._trim()

    def _trim(self) -> None:
        """Foreign code must not fill the disk with what was compiled of it."""
        with suppress(OSError), os.scandir(self._directory) as entries:
            found = sorted((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path) for entry in entries)
            total = sum(size for _, size, _ in found)
            for _, size, path in found:
                if total <= CACHE_BYTES_MAX:
                    break
                if size > KEY_BYTES:
                    Path(path).unlink(missing_ok=True)
                    total -= size

    def _mac(self, name: str, artefact: bytes) -> bytes:
        found = hmac.new(self._key, name.encode() + b"\0", hashlib.sha256)
        found.update(artefact)
        return found.digest()


def _own(directory: Path) -> None:
    """Check that it is ours and nobody else may write into it: whoever could would bring a key, and code for it."""
    found = directory.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise CacheUnsafe(
            f"{directory} belongs to user {found.st_uid} with mode {found.st_mode & 0o777:o}: compiled code is kept "
            f"only where nobody but user {os.geteuid()} may write"
        )


def _key(path: Path) -> bytes:
    """The key of the cache: made once, by whoever links it into place first. One that others could read, or that is a
    link, is made anew.
    """
    while True:
        try:
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077:
                found = path.read_bytes()
                if len(found) == KEY_BYTES:
                    return found
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            Path(temporary).unlink()
