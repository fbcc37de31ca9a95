"""Backpressure: code that prints faster than the store takes it waits (specs/worker-protocol.md, Output order)."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.session import WorkerSession
from durable.sessions.reading import Reading

UNSTORED_CHARS_MAX = 4 * 2**20
"""Printed and not stored: some hundred messages on their way to one commit. Above, the worker is not read."""


class Unstored:
    """What a session printed that is not in the store yet."""

    def __init__(self, reading: Reading) -> None:
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
