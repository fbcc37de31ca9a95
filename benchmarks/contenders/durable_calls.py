"""Ours: calls of an empty capability, with and without a journal."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import durable
from benchmarks.turns import Ready, serve

CALLS = 100
CODE = f"for _ in range({CALLS}): nothing()"


@durable.capability
async def nothing() -> None:
    """Nothing at all."""


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    manifest = {"grant": ["nothing"], "quotas": {"calls_per_s": 1e9}}
    async with durable.open(directory / "state.db", capabilities=[nothing]) as engine:
        session = await engine.session("desk", permissions=manifest)

        async def timed(size: int, *, journal: bool) -> list[float]:
            await session.execute("nothing()", journal=journal)
            samples = []
            for _ in range(size):
                started = time.perf_counter()
                result = await session.execute(CODE, journal=journal)
                samples.append((time.perf_counter() - started) / CALLS)
                assert result.error is None, result.error
            return samples

        async def journaled(size: int) -> list[float]:
            return await timed(size, journal=True)

        async def quick(size: int) -> list[float]:
            return await timed(size, journal=False)

        yield Ready(f"durable-exec {version('durable-exec')}", {"journaled": journaled, "quick": quick})


if __name__ == "__main__":
    serve(setup)
