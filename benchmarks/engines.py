"""Several engines on one PostgreSQL: `python -m benchmarks.engines`.

1, 2 and 4 engine processes start one-step executions, 64 at a time each, on a server of their own that syncs its
commits. Reported: executions a second of all together, and the processor time of the server and of the engines for one
execution, which say where it saturates on other machines: a server's processor carries as many executions a second as
its time for one goes into one second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import durable
from benchmarks.contenders.durable_functions import CONCURRENCY, one_step
from benchmarks.turns import at_concurrency
from tests.postgres_server import PostgresServer

ENGINES = (1, 2, 4)
_TICKS = os.sysconf("SC_CLK_TCK")


async def work(url: str, executions: int) -> None:
    """One engine: ready when it says so, begins when it is told to, and ends with its processor time."""
    async with durable.open(url) as engine:

        async def run_one(number: int) -> None:
            await (await engine.start(one_step, number)).result()

        await at_concurrency(CONCURRENCY, CONCURRENCY * 4, run_one)  # warm: statements prepared, modules loaded
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        before = time.process_time()
        await at_concurrency(CONCURRENCY, executions, run_one)
        print(time.process_time() - before, flush=True)


def server_seconds(server: PostgresServer) -> float:
    """The processor time of a server so far: of the processes that are there, and of those that have ended."""
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for each, ended in ((str(pid), True), *((child, False) for child in children)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15] if ended else fields[11:13]))
    return total / _TICKS


def measure(engines: int, executions: int) -> dict[str, object]:
    """So many engines on a new server."""
    server = PostgresServer(fast=False)
    command = [sys.executable, "-m", "benchmarks.engines", "--url", server.url(), "--executions", str(executions)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(engines)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        before, began = server_seconds(server), time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        seconds = [float(process.stdout.readline()) for process in processes if process.stdout is not None]
        elapsed, used = time.perf_counter() - began, server_seconds(server) - before
    finally:
        for process in processes:
            process.communicate()
        server.stop()
    count = engines * executions
    return {
        "engines": engines,
        "executions a second": round(count / elapsed),
        "server ms of processor for one": round(used / count * 1000, 3),
        "engine ms of processor for one": round(sum(seconds) / count * 1000, 3),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=3_000, help="of each engine")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.url:
        asyncio.run(work(given.url, given.executions))
        return
    for engines in ENGINES:
        print(json.dumps(measure(engines, given.executions)), flush=True)


if __name__ == "__main__":
    main()
