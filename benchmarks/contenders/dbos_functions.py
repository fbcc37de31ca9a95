"""DBOS on SQLite as installed, or with `--postgres` on a server of its own: its default settings, logs off.

Workflows and steps are its sync ones (its faster kind, by a tenth).

Its schema needs a newer SQLite than many systems have, so pysqlite3-binary stands in for sqlite3.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pysqlite3

sys.modules["sqlite3"] = pysqlite3
sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2

from dbos import DBOS  # noqa: E402 - SQLite must be exchanged first

from benchmarks.contenders.database_server import database  # noqa: E402
from benchmarks.turns import Ready, serve  # noqa: E402

CONCURRENCY = 64


@DBOS.step()
def step(number: int) -> int:
    return number + 1


@DBOS.workflow()
def timed_steps(count: int) -> list[float]:
    samples = []
    for number in range(count):
        started = time.perf_counter()
        step(number)
        samples.append(time.perf_counter() - started)
    return samples


@DBOS.workflow()
def one_step(number: int) -> int:
    value: int = step(number)
    return value


@DBOS.workflow()
def stamped() -> float:
    return time.perf_counter()


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    with database() as url:
        async with functions(
            url.partition("&schema=")[0] if url else f"sqlite:///{directory / 'dbos.sqlite'}"
        ) as ready:
            yield ready


@asynccontextmanager
async def functions(url: str) -> AsyncIterator[Ready]:
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": url,
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    queue = await DBOS.register_queue_async("benchmark", global_concurrency=CONCURRENCY)

    threads = ThreadPoolExecutor(CONCURRENCY)

    async def steps(size: int) -> list[float]:
        return await asyncio.to_thread(timed_steps, size)

    def run_all(size: int) -> float:
        started = time.perf_counter()
        assert sum(threads.map(one_step, range(size))) == size * (size + 1) // 2
        return size / (time.perf_counter() - started)

    async def executions(size: int) -> list[float]:
        return [await asyncio.to_thread(run_all, size)]

    def enqueue_all(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            began = time.perf_counter()
            samples.append(queue.enqueue(stamped).get_result() - began)
        return samples

    async def enqueue(size: int) -> list[float]:
        return await asyncio.to_thread(enqueue_all, size)

    try:
        kind = f"SQLite {pysqlite3.sqlite_version}" if url.startswith("sqlite") else "PostgreSQL"
        about = f"DBOS {version('dbos')}, {kind}, default settings"
        yield Ready(about, {"steps": steps, "executions": executions, "enqueue": enqueue})
    finally:
        threads.shutdown()
        DBOS.destroy()


if __name__ == "__main__":
    serve(setup)
