"""Heap that was freed, and that the C library keeps: glibc's alone keeps much, in the arena of each thread."""

from __future__ import annotations

import ctypes
import threading
import time

PAUSE_S = 10.0
"""Giving back takes some ms, in which threads that want memory wait: a stranger may cause it so often."""

_last = -PAUSE_S
_claim = threading.Lock()


def give_back() -> None:
    """To the system, all that is whole pages."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def give_back_beside() -> bool:
    """The same in a thread of its own, and not twice in PAUSE_S: then the next one has it. Whether it was begun."""
    global _last
    with _claim:
        now = time.monotonic()
        if now - _last < PAUSE_S:
            return False
        _last = now
    threading.Thread(target=give_back, name="durable-heap", daemon=True).start()
    return True
