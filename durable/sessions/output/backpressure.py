"""Backpressure: code that prints faster than the store takes it waits (specs/worker-protocol.md, Output order).

Whether a session's worker is read: several reasons to pause it may hold at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.host.worker_session import WorkerSession


class Backpressure:
    """Paused while there is any reason; a new worker begins without."""

    def __init__(self) -> None:
        self._worker: WorkerSession | None = None
        self._reasons: set[str] = set()

    def pause(self, worker: WorkerSession | None, why: str) -> None:
        """Take nothing from the worker until `resume` with the same reason."""
        if worker is None:
            return
        if worker is not self._worker:
            self._worker, self._reasons = worker, set()
        self._reasons.add(why)
        worker.pause_reading()

    def resume(self, worker: WorkerSession | None, why: str) -> None:
        """The reason is gone; nothing when it did not hold."""
        if worker is None or worker is not self._worker:
            return
        self._reasons.discard(why)
        if not self._reasons:
            worker.resume_reading()


UNSTORED_CHARS_MAX = 4 * 2**20
"""Printed and not stored: some hundred messages on their way to one commit. Above, the worker is not read."""


class Unstored:
    """The output of a session that is not in the store yet."""

    def __init__(self, reading: Backpressure) -> None:
        self.chars = 0
        self._reading = reading

    def add(self, chars: int, stored: asyncio.Future[Any], worker: WorkerSession | None) -> None:
        """Count until `stored` is done; pause reading the worker while there is too much."""
        self.chars += chars
        stored.add_done_callback(lambda done: self._stored(chars, done, worker))
        if self.chars > UNSTORED_CHARS_MAX and worker is not None:
            self._reading.pause(worker, "output")

    def _stored(self, chars: int, done: asyncio.Future[Any], worker: WorkerSession | None) -> None:
        self.chars -= chars
        if not done.cancelled():
            done.exception()  # a refusal is told by the checkpoint that follows
        if self.chars <= UNSTORED_CHARS_MAX // 2 and worker is not None:
            self._reading.resume(worker, "output")
