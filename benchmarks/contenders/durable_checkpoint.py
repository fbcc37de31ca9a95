"""Ours: capture a namespace and seal it, in one process: what a worker and the engine do, without the way between."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks import namespace
from benchmarks.turns import Ready, serve
from checkpoint.capture.incremental_capture import Capturer
from checkpoint.engine_side.seal import seal
from checkpoint.format.group_table import GroupTable
from checkpoint.format.payload import CheckpointManifest, StatementPosition

KEY = bytes(32)


class Checkpoints:
    """One namespace and its checkpoints."""

    def __init__(self) -> None:
        self._module = namespace.fresh()
        self._capturer = Capturer(self._module.__dict__)
        self._last: tuple[CheckpointManifest, GroupTable] | None = None

    def take(self) -> None:
        """Capture what changed, and seal it."""
        captured = self._capturer.capture("desk@1")
        assert not captured.lost, captured.lost
        position = StatementPosition(execution="desk@1", n=1, statement=1, final=True)
        sealed = seal(
            captured.payload, session="desk", position=position, key=KEY, created_at_ms=0, previous=self._last
        )
        self._last = sealed.read, sealed.table

    def whole(self, size: int) -> list[float]:
        """Seconds of each of `size` whole checkpoints."""
        samples = []
        for _ in range(size):
            namespace.change(self._module)
            self._capturer.forget()
            samples.append(self._timed())
        return samples

    def incremental(self, size: int) -> list[float]:
        """Seconds of each of `size` checkpoints after one small change."""
        samples = []
        for _ in range(size):
            namespace.change(self._module)
            samples.append(self._timed())
        return samples

    def _timed(self) -> float:
        started = time.perf_counter()
        self.take()
        return time.perf_counter() - started


@asynccontextmanager
async def setup(_directory: Path) -> AsyncIterator[Ready]:
    checkpoints = Checkpoints()

    async def whole(size: int) -> list[float]:
        return checkpoints.whole(size)

    async def incremental(size: int) -> list[float]:
        return checkpoints.incremental(size)

    yield Ready(f"durable-exec {version('durable-exec')}", {"whole": whole, "incremental": incremental})


if __name__ == "__main__":
    serve(setup)
