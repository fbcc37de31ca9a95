"""Ending with the process that one belongs to (specs/worker-protocol.md W8, specs/zygote.md Z5)."""

from __future__ import annotations

import ctypes
import os
import signal

ENGINE_GONE = 86
"""Exit code of a worker whose engine went away."""

ENGINE_BROKEN = 76
"""Exit code of a worker whose engine sent what the protocol does not allow (EX_PROTOCOL)."""

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with(parent_pid: int) -> None:
    """Be killed when the thread that started this process ends; at once when it has ended already."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before the call
        os._exit(ENGINE_GONE)


def outlive() -> None:
    """Take that back."""
    _libc.prctl(PR_SET_PDEATHSIG, 0)
