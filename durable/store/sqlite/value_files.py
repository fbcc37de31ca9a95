"""Large values of a file: in the directory of blobs beside it (specs/store.md, Large values).

A file appears whole, and putting one that is there already touches it: so a sweep goes on beside writers (G5).
"""

from __future__ import annotations

import errno
import secrets
from pathlib import Path

from durable.core.blob_files import BlobFolders, sync_path, touched, write_private
from durable.core.disk_space import ADVICE, is_no_room
from durable.core.errors import StoreError, StoreFull, ValueDamaged

_FOR_NOW = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class ValueFiles:
    """`<store>.d/blobs/<ab>/<address>`, for the writer's thread and readers. `store`: the path of the file."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._root = Path(f"{store}.d") / "blobs"
        self._folders = BlobFolders(self._root)

    def keep(self, address: str, data: bytes) -> None:
        """Keep bytes, durable when it returns. StoreFull, StoreError."""
        path = self._path(address)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            if not (touched(path) and path.read_bytes() == data):  # one that was damaged is written anew
                self._folders.make(path.parent)
                try:
                    write_private(draft, data)
                    draft.rename(path)
                finally:
                    draft.unlink(missing_ok=True)
            used = {path.parent}
            for folder in self._folders.unsynced(used):
                sync_path(folder)
            self._folders.synced(used)
        except OSError as error:
            text = f"store {str(self._store)!r}: a large value cannot be written: {error.strerror}"
            raise (StoreFull(f"{text}; {ADVICE}") if is_no_room(error) else StoreError(text)) from error

    def read(self, address: str) -> bytes | None:
        """The bytes; None where there are none. ValueDamaged; StoreError where that may be another time."""
        try:
            return self._path(address).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _FOR_NOW:
                text = f"store {str(self._store)!r}: a large value cannot be read now: {error.strerror}"
                raise StoreError(text) from error
            raise ValueDamaged(address, error.strerror or "") from error

    def _path(self, address: str) -> Path:
        return self._root / address[:2] / address
