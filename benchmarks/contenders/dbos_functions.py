"""DBOS on SQLite as installed, or with `--postgres` on a server of its own: its default settings, logs off.

`--poll=SECONDS` sets the two intervals at which it looks for messages and for what is queued; each is 1 s by default.
Workflows and steps are its sync ones (its faster kind, by a tenth).

Its schema needs a newer SQLite than many systems have, so pysqlite3-binary stands in for sqlite3.
"""

from __future__ import annotations

import asyncio
import random
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
from benchmarks.turns import WAITING_S, Ready, serve  # noqa: E402

CONCURRENCY = 64
POLL_S = next((float(each.removeprefix("--poll=")) for each in sys.argv if each.startswith("--poll=")), None)


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


@DBOS.workflow()
def waits() -> float:
    """The message is when it was sent; the result says how long ago that was."""
    sent: float = DBOS.recv("go")
    return time.perf_counter() - sent


@DBOS.workflow()
def fan_out(count: int) -> int:
    children = [DBOS.start_workflow(one_step, number) for number in range(count)]
    return sum(child.get_result() for child in children)


def await_any_phase() -> None:
    """Wait a random part of the interval at which it looks, which a chain of samples would keep step with."""
    time.sleep(random.uniform(0, POLL_S or 1.0))


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
            **({} if POLL_S is None else {"notification_listener_polling_interval_sec": POLL_S}),
        }
    )
    DBOS.launch()
    polled = {} if POLL_S is None else {"polling_interval_sec": POLL_S}
    queue = await DBOS.register_queue_async("benchmark", global_concurrency=CONCURRENCY, **polled)

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
            await_any_phase()
            began = time.perf_counter()
            samples.append(queue.enqueue(stamped).get_result() - began)
        return samples

    async def enqueue(size: int) -> list[float]:
        return await asyncio.to_thread(enqueue_all, size)

    def signal_all(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            waiting = DBOS.start_workflow(waits)
            time.sleep(WAITING_S)
            await_any_phase()
            DBOS.send(waiting.workflow_id, time.perf_counter(), "go")
            samples.append(waiting.get_result())
        return samples

    async def signals(size: int) -> list[float]:
        return await asyncio.to_thread(signal_all, size)

    async def fan_out_once(size: int) -> list[float]:
        started = time.perf_counter()
        assert await asyncio.to_thread(fan_out, size) == size * (size + 1) // 2
        return [time.perf_counter() - started]

    try:
        kind = f"SQLite {pysqlite3.sqlite_version}" if url.startswith("sqlite") else "PostgreSQL"
        settings = "default settings" if POLL_S is None else f"polls every {POLL_S * 1000:g} ms"
        about = f"DBOS {version('dbos')}, {kind}, {settings}"
        turns = {"steps": steps, "executions": executions, "enqueue": enqueue}
        yield Ready(about, {**turns, "signals": signals, "fan_out": fan_out_once})
    finally:
        threads.shutdown()
        DBOS.destroy()


if __name__ == "__main__":
    serve(setup)
