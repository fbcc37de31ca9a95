"""Ours: captures of large namespaces as a worker makes them, drained as the engine does."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

from benchmarks import namespaces
from benchmarks.turns import Ready, Turn, serve
from checkpoint.capture.buffer_digests import UNTRACKED_LOOKS_MIN
from checkpoint.capture.forked_capture import BLOCK_BYTES, HEADER_BYTES, Aside, resident_bytes
from checkpoint.capture.incremental_capture import Capturer

READ_BYTES = 2**20


class Captures:
    """One namespace, captured again and again."""

    def __init__(self, case: str) -> None:
        self._case = case
        began_bytes = resident_bytes()
        self._module = namespaces.fresh(case)
        self._capturer = Capturer(self._module.__dict__, began_bytes=began_bytes)
        self.brought = 0
        """Bytes of the last capture."""

    def take(self) -> tuple[float, float]:
        """Seconds until the code could go on, and until the last byte had come."""
        started = time.perf_counter()
        made = self._capturer.capture_aside("desk@1")
        paused = time.perf_counter() - started
        if isinstance(made, Aside):
            self.brought = _drained(made.reader)
            taken = time.perf_counter() - started
            self._capturer.settle(made, stored=True)
            return paused, taken
        self.brought = len(made.payload)
        return paused, time.perf_counter() - started

    def whole(self, size: int, which: int) -> list[float]:
        """Captures that bring everything: of pauses (0) or to the end (1)."""
        samples = []
        for _ in range(size):
            namespaces.change_all(self._module, self._case)
            self._capturer.forget()
            samples.append(self.take()[which])
        return samples

    def changes(self, size: int) -> list[float]:
        """Captures after one small change, to the end."""
        for _ in range(UNTRACKED_LOOKS_MIN + 1):  # until an array that was written all over is tracked again
            self.take()
        samples = []
        for _ in range(size):
            namespaces.change(self._module)
            samples.append(self.take()[1])
        return samples


def _drained(reader: int) -> int:
    """How many bytes of chunks and payload came."""
    with os.fdopen(os.dup(reader), "rb", buffering=READ_BYTES) as stream:
        total = 0
        while size := int.from_bytes(stream.read(BLOCK_BYTES), "big"):
            total += len(stream.read(size))
        return total + len(stream.read(int.from_bytes(stream.read(HEADER_BYTES), "big")))


def turns(case: str) -> dict[str, Turn]:
    made: list[Captures] = []

    def captures() -> Captures:
        if not made:  # a case that is not asked for costs no memory
            made.append(Captures(case))
        return made[0]

    async def pause(size: int) -> list[float]:
        return captures().whole(size, 0)

    async def whole(size: int) -> list[float]:
        return captures().whole(size, 1)

    async def worst(size: int) -> list[float]:
        return [quantiles(captures().whole(max(size, 4), 0), n=100, method="inclusive")[-1]]

    async def change(size: int) -> list[float]:
        return captures().changes(size)

    async def change_bytes(size: int) -> list[float]:
        captures().changes(size)
        return [captures().brought]

    return {
        f"{case} pause": pause,
        f"{case} pause p99": worst,
        f"{case} whole": whole,
        f"{case} change": change,
        f"{case} bytes": change_bytes,
    }


@asynccontextmanager
async def setup(_directory: Path) -> AsyncIterator[Ready]:
    yield Ready(
        f"durable-exec {version('durable-exec')}",
        {name: turn for case in namespaces.SOURCES for name, turn in turns(case).items()},
    )


if __name__ == "__main__":
    serve(setup)
