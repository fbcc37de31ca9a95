"""Keeps the leases of running tasks alive: one request for all of them each interval, none before the first.

The SDK's own heartbeat sends one at the start of every task, which costs a commit for each short execution.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from resonate.send import TaskHeartbeating, TaskRef
from resonate_base import ResonateError


class LeaseHeartbeat:
    """The SDK's Heartbeat protocol. `interval_ms` is well under the lease."""

    def __init__(self, pid: str, interval_ms: int, sender: TaskHeartbeating) -> None:
        self._pid = pid
        self._interval_s = interval_ms / 1000
        self._sender = sender
        self._held: dict[str, int] = {}
        self._passes: Counter[str] = Counter()
        self._loop: asyncio.Task[None] | None = None

    def start(self, task_id: str, task_version: int) -> None:
        """Hold this task's lease."""
        self._held[task_id] = max(task_version, self._held.get(task_id, 0))
        self._passes[task_id] += 1
        if self._loop is None:
            self._loop = asyncio.create_task(self._beat())

    def stop(self, task_id: str) -> None:
        """A pass of the task is over, or its lease is given back.

        After a lapsed lease an older pass may end beside the newer one, whose lease has to be kept all the same.
        """
        self._passes[task_id] -= 1
        if self._passes[task_id] <= 0:
            del self._passes[task_id]
            self._held.pop(task_id, None)

    def shutdown(self) -> None:
        """Hold nothing any more."""
        self._held.clear()
        self._passes.clear()
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            if not self._held:
                self._loop = None
                return
            try:
                held = [TaskRef(id=task, version=version) for task, version in self._held.items()]
                await self._sender.task_heartbeat(self._pid, held)
            except ResonateError:
                continue  # a lease that lapsed is fenced; the next beat tries again
