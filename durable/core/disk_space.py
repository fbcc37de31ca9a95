"""Whether something failed since there is no room on a disk."""

from __future__ import annotations

import errno
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

ADVICE = "free some disk space, then it goes on; nothing was acknowledged that is not stored"

TRIED_BYTES = 64 * 2**10
"""What is written to find out: more than one step of any store takes at the least."""


def is_no_room(error: OSError) -> bool:
    """Whether the disk is full, or the user's quota of it."""
    return error.errno in NO_ROOM


def has_no_room(directory: Path) -> bool:
    """Whether nothing can be written there for want of room: a file that is gone afterwards is written. Blocks."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            return file.write(bytes(TRIED_BYTES)) < TRIED_BYTES
    except OSError as error:
        return is_no_room(error)
