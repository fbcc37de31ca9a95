"""Stopping code that runs: SIGINT, again, kill (specs/session.md, Interrupt)."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from bridge.session import WorkerSession
from durable.core.limits import INTERRUPT_GRACE_S
from durable.sessions.takeover import start_time


async def stop_code(worker: WorkerSession, running: asyncio.Task[Any]) -> None:
    """Return when `running`, which ends with the worker's execution, has ended: by itself, or with the worker."""
    for _ in range(2):
        worker.interrupt()
        ended, _left = await asyncio.wait([running], timeout=INTERRUPT_GRACE_S)
        if ended:
            return
    worker.kill()
    await asyncio.wait([running])


def signal_worker(pid: int, started: int) -> bool:
    """SIGINT to the worker with this pid and start time; False when it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(fd, signal.SIGINT)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True
