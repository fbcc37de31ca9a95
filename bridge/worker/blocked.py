"""Is a thread asleep until another one wakes it? (specs/worker-protocol.md W7)"""

from __future__ import annotations

import os
import platform

_FUTEX = {"x86_64": "202", "aarch64": "98"}.get(platform.machine())
"""The number of the system call futex; its fourth argument is the time limit, 0x0 for none."""


def sleeps_on_a_lock(thread_id: int) -> bool:
    """The thread waits for a lock without a time limit, as in `thread.join()` or a pool's shutdown.

    False where the kernel does not tell (then only the main thread's own calls are reported as waiting).
    """
    if _FUTEX is None:
        return False
    try:
        fd = os.open(f"/proc/self/task/{thread_id}/syscall", os.O_RDONLY)
        try:
            fields = os.read(fd, 256).split()
        finally:
            os.close(fd)
    except OSError:
        return False
    return len(fields) > 4 and fields[0].decode() == _FUTEX and fields[4] == b"0x0"
