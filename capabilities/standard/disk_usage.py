"""How much room files below one directory may take: counted by a walk now and then, reckoned between (P75, A74)."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from durable.core.errors import ResourceExceeded

ENTRY_BYTES = 4_096
"""Bytes that a file or directory takes at least: so the number of files is bounded too."""
COUNTED_MS = 10_000
"""How long a count holds: others may write there."""
DIRECTORIES_MAX = 1_000
"""How many are reckoned with at once; one that is forgotten is counted again."""
DEPTH_MAX = 100

_REMEDY = "let it delete some; a manifest can allow more: filesystem.max_size_mb"
_LEVEL = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY


def taken_by(size: int) -> int:
    """The bytes that a file of that many counts as."""
    return max(size, ENTRY_BYTES)


def count(root: Path, most: int) -> int:
    """The bytes below a directory, links not followed; no longer looked at once it is more than `most`."""
    fd = os.open(root, os.O_DIRECTORY | os.O_CLOEXEC | os.O_RDONLY)
    try:
        return _count(fd, most, 0)
    finally:
        os.close(fd)


def _count(directory: int, most: int, depth: int) -> int:
    found = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                found += taken_by(entry.stat(follow_symlinks=False).st_size)
                if entry.is_dir(follow_symlinks=False) and depth < DEPTH_MAX:
                    deeper = os.open(entry.name, _LEVEL, dir_fd=directory)
                    try:
                        found += _count(deeper, most - found, depth + 1)
                    finally:
                        os.close(deeper)
            except OSError:
                continue  # it went meanwhile, or is closed to us
            if found > most:
                break
    return found


class Space:
    """The space of one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._used = 0
        self._under_way = 0
        self._until_ms = 0

    @contextmanager
    def taking(self, more: int, limit: int, now_ms: int) -> Iterator[None]:
        """Reckon with so much more (less, when negative), to be written meanwhile; an error gives it back.

        ResourceExceeded when that is more than may be there.
        """
        ahead = max(more, 0)
        with self._lock:
            if now_ms >= self._until_ms or self._used + more > limit:
                found = count(self._root, limit)
                self._used = found + self._under_way  # of which a count sees nothing, or a part
                self._until_ms = now_ms + COUNTED_MS if found <= limit else 0
            if more > 0 and self._used + more > limit:
                raise ResourceExceeded.of("files", limit, self._used + more, remedy=_REMEDY)
            self._used += more
            self._under_way += ahead
        try:
            yield
        except BaseException:
            with self._lock:
                self._used -= more
            raise
        finally:
            with self._lock:
                self._under_way -= ahead


class Spaces:
    """The spaces of the directories that an engine's sessions write to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, Space] = OrderedDict()

    def of(self, root: Path) -> Space:
        """The space of a directory, the same for all who write there."""
        with self._lock:
            found = self._known.setdefault(root, Space(root))
            self._known.move_to_end(root)
            if len(self._known) > DIRECTORIES_MAX:
                self._known.popitem(last=False)
            return found
