"""DBOS on a PostgreSQL server of its own: a process with many sleeping workflows is killed, and started again when all
of them are due.

`python -m benchmarks.contenders.dbos_recovery begin URL MARKS COUNT SECONDS` is the one that is killed, `finish URL
MARKS` the one that goes on: DBOS takes up what was pending as it is launched. Workflows are its async ones, since sync
ones hold a thread each while they sleep. What has come so far stands in files, a line a workflow.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

from dbos import DBOS

from benchmarks.contenders.restate_recovery import LOOK_S, until_marked
from benchmarks.turns import Ready, at_concurrency, serve

CONCURRENCY = 64
TOTAL = 1_000
SLEEP_S = 30.0
"""Longer than it takes to start them all, so that none ends before the kill."""


def mark(path: str, number: int) -> None:
    """Append a line with one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)


@DBOS.step()
async def step(marks: str, number: int) -> int:
    mark(marks, number)
    return number + 1


@DBOS.workflow()
async def waits(marks: str, number: int, seconds: float) -> int:
    value: int = await step(f"{marks}/waiting", number)
    await DBOS.sleep_async(seconds)
    await step(f"{marks}/done", number)
    return value


def launch(url: str) -> None:
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": url,
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()


async def begin(url: str, marks: str, total: int, seconds: float) -> None:
    """Start them; the end comes from outside."""
    launch(url)

    async def start(number: int) -> None:
        await DBOS.start_workflow_async(waits, marks, number, seconds)

    await at_concurrency(CONCURRENCY, total, start)
    await asyncio.Event().wait()


async def finish(url: str) -> None:
    """Go on with them; the end comes from outside."""
    launch(url)
    await asyncio.Event().wait()


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    from tests.postgres_server import PostgresServer

    numbers = count()

    async def once() -> float:
        place = directory / f"{next(numbers)}"
        place.mkdir()
        server = PostgresServer(fast=False)
        url = server.url().partition("&schema=")[0]
        child = _child("begin", url, str(place), str(TOTAL), str(SLEEP_S))
        try:
            await until_marked(place / "waiting", TOTAL)
            due = time.monotonic() + SLEEP_S
            await asyncio.sleep(0.2)  # for the last ones' sleeps to be recorded
            child.kill()
            child.wait()
            if (place / "done").exists():
                raise RuntimeError("some ended before the kill: the machine is too slow for SLEEP_S")
            await asyncio.sleep(due + 0.2 - time.monotonic())
            started = time.perf_counter()
            child = _child("finish", url, str(place))
            await until_marked(place / "done", TOTAL)
            return time.perf_counter() - started
        finally:
            child.kill()
            child.wait()
            server.stop()

    async def samples(size: int) -> list[float]:
        return [await once() for _ in range(size)]

    about = f"DBOS {version('dbos')}, PostgreSQL, default settings, looked at every {LOOK_S * 1000:g} ms"
    yield Ready(about, {"1000": samples})


def _child(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.contenders.dbos_recovery", *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["begin", url, marks, total, seconds]:
            asyncio.run(begin(url, marks, int(total), float(seconds)))
        case ["finish", url, _]:
            asyncio.run(finish(url))
        case _:
            serve(setup)
