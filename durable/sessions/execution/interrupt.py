"""Stopping code that runs: SIGINT, again, kill (specs/session.md, Interrupt)."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import Error, Message, Result
from bridge.protocol.states import WorkerState
from durable.core.limits import INTERRUPT_GRACE_S
from durable.sessions.ownership.left_worker import start_time


async def stop_code(worker: WorkerSession, running: asyncio.Task[Any]) -> None:
    """Return when `running`, which ends with the worker's execution, has ended: by itself, or with the worker."""
    for _ in range(2):
        worker.interrupt()
        ended, _left = await asyncio.wait([running], timeout=INTERRUPT_GRACE_S)
        if ended:
            return
    worker.kill()
    await asyncio.wait([running])


async def stop_abandoned(worker: WorkerSession, execution_id: str) -> Error | None:
    """Stop code whose caller has gone. Returns when its worker is free again, or has ended; cancelled: it is killed.

    The error that the code ended with, if it did.
    """
    if worker.state is not WorkerState.BUSY:
        return None
    over = asyncio.Event()
    ends: list[Error] = []

    def see(message: Message) -> None:
        if isinstance(message, Result | Error) and message.execution_id == execution_id:
            ends.extend([message] if isinstance(message, Error) else [])
            over.set()

    async def ended() -> None:
        await worker.ended.wait()
        over.set()

    worker.add_interceptor(see)
    running, death = asyncio.create_task(over.wait()), asyncio.create_task(ended())
    try:
        await stop_code(worker, running)
    except asyncio.CancelledError:
        worker.kill()
        raise
    finally:
        worker.remove_interceptor(see)
        running.cancel()
        death.cancel()
    return ends[0] if ends else None


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
