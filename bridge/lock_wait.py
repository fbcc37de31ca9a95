"""Whether a thread waits for a lock without a time limit, as the kernel tells it: in this process or another."""

from __future__ import annotations

import os

_FUTEX = {"x86_64": b"202", "aarch64": b"98"}.get(os.uname().machine)
"""The number of the system call futex; its fourth argument is the time limit, 0x0 for none."""


def waits_for_a_lock(process: int | str, thread: int | str) -> bool:
    """Whether it sleeps in such a wait. process: a pid, or "self". OSError where there is no such thread.

    False where the kernel does not tell.
    """
    if _FUTEX is None:
        return False
    fd = os.open(f"/proc/{process}/task/{thread}/syscall", os.O_RDONLY)
    try:
        fields = os.read(fd, 256).split()
    finally:
        os.close(fd)
    return len(fields) > 4 and fields[0] == _FUTEX and fields[4] == b"0x0"
