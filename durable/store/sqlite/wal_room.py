"""Room in SQLite's write-ahead log: a synced commit that lengthens the file costs several times one that does not.

A sync of a file that grew also commits the file system's own journal, which it shares with everything else on the disk.
So the log is lengthened ahead of its use, with zeros, which SQLite does not take for a frame: after a crash it reads
the log up to the first frame whose salt and checksum do not fit. A checkpoint begins the log anew and keeps its length,
so this ends when the log has the length of a checkpoint; one that a long reader keeps from being begun anew gets none.
"""

from __future__ import annotations

import os
from pathlib import Path

from durable.core.limits import LOG_BYTES_GOAL, LOG_ROOM_BYTES_MAX, LOG_ROOM_BYTES_MIN

_TAIL_BYTES = 4_096
"""More zeros than a page that is in use ends with."""


class LogRoom:
    """The log of one store. To be used while holding the write lock: nobody else appends to the log then."""

    def __init__(self, path: Path) -> None:
        self._log = f"{path}-wal"
        self._known = -1
        """Its length when it had room, so that a longer one has used it up."""

    def make(self) -> None:
        """Make room when there is none left. A disk that is full makes none, and the commit itself says so."""
        try:
            size = os.stat(self._log).st_size
            if size == self._known or size == 0 or size >= LOG_BYTES_GOAL:
                return
            # SQLite locks the file and the log's index, never the log: closing a descriptor of it frees nothing (F1).
            descriptor = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._known = size if _empty_end(descriptor, size) else _lengthen(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError:
            pass

    def sync(self) -> None:
        """Let what is in it survive a power cut. Where the disk refuses that, the next synced commit says so."""
        try:
            descriptor = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            pass


def _empty_end(descriptor: int, size: int) -> bool:
    """Whether room that another process made is left."""
    return not os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).strip(b"\0")


def _lengthen(descriptor: int, size: int) -> int:
    """Its length with room, or as it was."""
    room = max(LOG_ROOM_BYTES_MIN, min(size, LOG_ROOM_BYTES_MAX, LOG_BYTES_GOAL - size))
    try:
        if os.pwrite(descriptor, bytes(room), size) == room:
            return size + room
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    os.ftruncate(descriptor, size)
    return size
