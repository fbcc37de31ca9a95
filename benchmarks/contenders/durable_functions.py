"""Ours: durable functions in the embedded engine on a SQLite file, or with `--postgres` on a server of its own.

`--durability=process` for the weaker promise, `--settled=N` for a store that holds so many settled promises already.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import durable
from benchmarks.contenders.database_server import database
from benchmarks.contenders.settled import fill
from benchmarks.turns import WAITING_S, Ready, at_concurrency, serve

CONCURRENCY = 64
PAGE = 50


async def step(number: int) -> int:
    return number + 1


@durable.function
async def timed_steps(ctx: durable.Context, count: int) -> list[float]:
    samples = []
    for number in range(count):
        started = time.perf_counter()
        await ctx.run(step, number)
        samples.append(time.perf_counter() - started)
    return samples


@durable.function
async def one_step(ctx: durable.Context, number: int) -> int:
    return await ctx.run(step, number)


@durable.function
async def stamped(_ctx: durable.Context) -> float:
    return time.perf_counter()


@durable.function
async def waits(ctx: durable.Context) -> float:
    """The signal is when it was sent; the result says how long ago that was."""
    sent: float = await ctx.signal("go", schema=float)
    return time.perf_counter() - sent


@durable.function
async def fan_out(ctx: durable.Context, count: int) -> int:
    return sum(await ctx.map(one_step, range(count)))


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    durability: Literal["power", "process"] = "process" if "--durability=process" in sys.argv else "power"
    settled = next((int(each.removeprefix("--settled=")) for each in sys.argv if each.startswith("--settled=")), 0)
    if settled:
        await fill(directory / "state.db", settled)
    with database() as url:
        async with functions(url or directory / "state.db", durability) as ready:
            yield ready


@asynccontextmanager
async def functions(store: Path | str, durability: Literal["power", "process"]) -> AsyncIterator[Ready]:
    async with durable.open(store, durability=durability) as engine:

        async def steps(size: int) -> list[float]:
            return await (await engine.start(timed_steps, size)).result()

        async def run_one(number: int) -> None:
            value = await (await engine.start(one_step, number)).result()
            assert value == number + 1

        async def executions(size: int) -> list[float]:
            started = time.perf_counter()
            await at_concurrency(CONCURRENCY, size, run_one)
            return [size / (time.perf_counter() - started)]

        queue = durable.Queue("benchmark", concurrency=CONCURRENCY)

        async def enqueue(size: int) -> list[float]:
            samples = []
            for _ in range(size):
                began = time.perf_counter()
                samples.append(await (await engine.enqueue(queue, stamped)).result() - began)
            return samples

        async def list_(size: int) -> list[float]:
            samples = []
            while len(await engine.executions(limit=PAGE)) < PAGE:
                await (await engine.start(one_step, 1)).result()
            for _ in range(size):
                began = time.perf_counter()
                assert len(await engine.executions(limit=PAGE)) == PAGE
                await engine.queues.list()
                samples.append(time.perf_counter() - began)
            return samples

        async def signals(size: int) -> list[float]:
            samples = []
            for _ in range(size):
                waiting = await engine.start(waits)
                await asyncio.sleep(WAITING_S)
                await engine.signal(waiting.id, "go", time.perf_counter())
                samples.append(await waiting.result())
            return samples

        async def fan_out_once(size: int) -> list[float]:
            started = time.perf_counter()
            assert await (await engine.start(fan_out, size)).result() == size * (size + 1) // 2
            return [time.perf_counter() - started]

        kind = "PostgreSQL" if isinstance(store, str) else f"SQLite {sqlite3.sqlite_version}, durability={durability}"
        about = f"durable-exec {version('durable-exec')}, {kind}"
        turns = {"steps": steps, "executions": executions, "enqueue": enqueue, "list": list_}
        yield Ready(about, {**turns, "signals": signals, "fan_out": fan_out_once})


if __name__ == "__main__":
    serve(setup)
