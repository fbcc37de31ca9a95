"""Ours: an engine with many sleeping executions is killed, and started again when all of them are due.

`python -m benchmarks.contenders.durable_recovery begin PATH COUNT SECONDS` is the one that is killed, and
`finish PATH COUNT` the one that goes on. With `--postgres` each turn has a server of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

import durable
from benchmarks.contenders.database_server import database
from benchmarks.turns import Ready, Turn, at_concurrency, serve
from durable.store.changes import StoreChange

CONCURRENCY = 64
SLEEP_S = {1_000: 30.0 if "--postgres" in sys.argv else 8.0, 10_000: 40.0}
"""Longer than it takes to start them all, so that none ends before the kill."""


async def step(number: int) -> int:
    return number + 1


@durable.function
async def waits(ctx: durable.Context, number: int, seconds: float) -> int:
    value = await ctx.run(step, number)
    await ctx.sleep(seconds)
    return await ctx.run(step, value)


def seen(engine: durable.Engine, total: int, ids: Callable[[StoreChange], frozenset[str]]) -> asyncio.Event:
    """Set as soon as that many ids have been seen in the store's changes."""
    found: set[str] = set()
    complete = asyncio.Event()

    def look(change: StoreChange) -> None:
        found.update(id for id in ids(change) if id.startswith("exec:w") and "." not in id)
        if len(found) >= total:
            complete.set()

    engine.store.watch(look)
    return complete


async def begin(path: str, total: int, seconds: float) -> None:
    """Start them and say when all of them wait; the end comes from outside."""
    async with durable.open(path) as engine:
        waiting = seen(engine, total, lambda change: change.stopped)
        await at_concurrency(CONCURRENCY, total, lambda n: engine.start(waits, n, seconds, id=f"w{n}"))
        await waiting.wait()
        print("waiting", flush=True)
        await asyncio.Event().wait()


async def finish(path: str, total: int) -> None:
    """Go on with them and say when all have ended."""
    async with durable.open(path, create=False) as engine:
        ended = seen(engine, total, lambda change: change.settled)
        await ended.wait()
        print("done", flush=True)


def turn(directory: Path, total: int) -> Turn:
    numbers = count()

    async def once() -> float:
        with database() as url:
            return await recovered(url or str(directory / f"{total}-{next(numbers)}.db"))

    async def recovered(path: str) -> float:
        began = time.monotonic()
        first = await _child("begin", path, str(total), f"{SLEEP_S[total]}")
        await _said(first, b"waiting\n")
        first.kill()
        if time.monotonic() - began > SLEEP_S[total]:
            raise RuntimeError(f"beginning {total} took longer than their sleep of {SLEEP_S[total]:g} s")
        due = time.monotonic() + SLEEP_S[total]
        await first.wait()
        await asyncio.sleep(due - time.monotonic())
        started = time.perf_counter()
        second = await _child("finish", path, str(total))
        await _said(second, b"done\n")
        took = time.perf_counter() - started
        await second.wait()
        return took

    async def samples(size: int) -> list[float]:
        return [await once() for _ in range(size)]

    return samples


async def _child(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.contenders.durable_recovery", *arguments, stdout=PIPE
    )


async def _said(child: Process, expected: bytes) -> None:
    assert child.stdout is not None
    line = await child.stdout.readline()
    if line != expected:
        raise RuntimeError(f"expected {expected!r}, the engine said {line!r}")


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    place = "PostgreSQL" if "--postgres" in sys.argv else "SQLite"
    yield Ready(
        f"durable-exec {version('durable-exec')}, {place}", {f"{total}": turn(directory, total) for total in SLEEP_S}
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["begin", path, total, seconds]:
            asyncio.run(begin(path, int(total), float(seconds)))
        case ["finish", path, total]:
            asyncio.run(finish(path, int(total)))
        case _:
            serve(setup)
