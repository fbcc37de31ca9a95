"""Room in SQLite's write-ahead log: a synced commit that lengthens the file costs several times one that does not.

A sync of a file that grew also commits the file system's own journal, which it shares with everything else on the disk.
So the log is lengthened ahead of its use, with zeros, which SQLite does not take for a frame: after a crash it reads
the log up to the first frame whose salt and checksum do not fit. A checkpoint begins the log anew and keeps its length,
so this ends when the log has the length of a checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path

from durable.core.limits import LOG_ROOM_BYTES_MAX, LOG_ROOM_BYTES_MIN


class LogRoom:
    """The log of one store. To be used while holding the write lock: nobody else appends to the log then."""

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._known = -1
        """Its length with the room that was made, so that a longer one has used it up."""

    def make(self) -> None:
        """Make room when there is none left. A disk that is full makes none, and the commit itself says so."""
        try:
            size = os.stat(self._log).st_size
            if size == self._known or size == 0:
                return
            room = max(LOG_ROOM_BYTES_MIN, min(size, LOG_ROOM_BYTES_MAX))
            self._known = size + room if self._lengthen(size, room) else size
        except OSError:
            pass

    def _lengthen(self, size: int, room: int) -> bool:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.pwrite(descriptor, bytes(room), size) == room:
                return True
            os.ftruncate(descriptor, size)
            return False
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)
