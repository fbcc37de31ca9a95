"""Stopping code that runs: SIGINT, again, kill (specs/session.md, Interrupt)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from bridge.messages import Error, Message, Result
from bridge.session import WorkerSession
from bridge.states import State
from durable.core.limits import INTERRUPT_GRACE_S
from durable.sessions.background import beside
from durable.sessions.cell import Pass
from durable.sessions.takeover import start_time
from durable.store.face import StoreFace

LOOK_S = 0.01
"""Between a commit of another process and the look whether it interrupted what runs here."""


async def stop_code(worker: WorkerSession, running: asyncio.Task[Any]) -> None:
    """Return when `running`, which ends with the worker's execution, has ended: by itself, or with the worker."""
    for _ in range(2):
        worker.interrupt()
        ended, _left = await asyncio.wait([running], timeout=INTERRUPT_GRACE_S)
        if ended:
            return
    worker.kill()
    await asyncio.wait([running])


async def stop_abandoned(worker: WorkerSession, execution_id: str) -> None:
    """Stop code whose caller has gone. Returns when its worker is free again, or has ended; cancelled: it is killed."""
    if worker.state is not State.BUSY:
        return
    over = asyncio.Event()

    def see(message: Message) -> None:
        if isinstance(message, Result | Error) and message.execution_id == execution_id:
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


class Looking:
    """Looks whether the pass that runs was interrupted elsewhere: soon, and once for all changes until then."""

    def __init__(
        self, store: StoreFace, current: Callable[[], Pass | None], interrupt: Callable[[str], Awaitable[None]]
    ) -> None:
        self._store = store
        self._current = current
        self._interrupt = interrupt
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def soon(self) -> None:
        """Something changed."""
        found = self._current()
        if self._timer is None and not self._closed and found is not None and found.runs:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        found = self._current()
        if found is not None and found.runs and not self._closed:
            beside(self._look_at(found))

    async def _look_at(self, found: Pass) -> None:
        row = await self._store.reads.get_execution(found.execution_id)
        if row is not None and row.state == "interrupted" and found is self._current():
            await self._interrupt(found.promise_id)


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
