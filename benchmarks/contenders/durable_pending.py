"""Ours: the memory of a process before and after it has promises pending, each with somebody who waits for it here."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

import durable
from benchmarks.turns import Ready, Turn, serve
from durable.core.clock import TIME_MAX_MS

BATCH = 1_000
PAGE_BYTES = 4096

_numbers = count()


def resident_bytes() -> int:
    """What the process holds, after giving back what it does not need."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def turn(directory: Path, total: int) -> Turn:
    async def samples(size: int) -> list[float]:
        return [await once() for _ in range(size)]

    async def once() -> float:
        async with durable.open(directory / f"{next(_numbers)}.db", durability="process") as engine:
            store = engine.store
            await create(engine, "warm", BATCH)
            before = resident_bytes()
            waiting: list[asyncio.Task[object]] = []
            for first in range(0, total, BATCH):
                waiting += [
                    asyncio.create_task(store.settled(name)) for name in await create(engine, f"{first}", BATCH)
                ]
                await asyncio.sleep(0)
            grown = resident_bytes() - before
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            return grown / total

    return samples


async def create(engine: durable.Engine, prefix: str, number: int) -> list[str]:
    """That many external promises, together."""
    names = [f"{prefix}-{n}" for n in range(number)]
    tags = {"resonate:external": "true"}
    await asyncio.gather(
        *(
            engine.store.post("promise.create", {"id": name, "timeoutAt": TIME_MAX_MS, "tags": tags, "param": {}})
            for name in names
        )
    )
    return names


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    about = f"durable-exec {version('durable-exec')}"
    yield Ready(about, {f"{total}": turn(directory, total) for total in (10_000, 100_000)})


if __name__ == "__main__":
    serve(setup)
