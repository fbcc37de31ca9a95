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
