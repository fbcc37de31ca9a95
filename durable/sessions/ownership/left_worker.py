"""Ending a worker that another engine left behind, before its session is restored here.

A pid may be reused, so the process is compared by its start time and signalled through a pidfd.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which the process started; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


async def end_worker(pid: int, started: int, *, timeout: float = 10.0) -> None:
    """Kill the process that has this pid and start time, and return when it is gone (or was gone already)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) != started:
            return
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            return
        await asyncio.to_thread(select.select, [fd], [], [], timeout)
    finally:
        os.close(fd)
