"""Several engines on one PostgreSQL: `python -m benchmarks.engines`.

1, 2 and 4 engine processes start one-step executions, 64 at a time each, on a server of their own that syncs its
commits. Reported, as a table in Markdown and as JSON with `--json`:

- executions a second of all together, and how busy the machine's processors were with it: where more engines bring no
  more, and the processors are full, the machine is what ends it;
- the processor time of the server and of the engines for one execution. They say where it saturates on other machines:
  a processor of the server carries as many executions a second as its time for one goes into a second;
- the connections that were open, and what the server's processes that had work waited for most.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psycopg

import durable
from benchmarks.contenders.durable_functions import CONCURRENCY, one_step
from benchmarks.turns import at_concurrency
from durable.store.postgres.address import address_of
from tests.postgres_server import PostgresServer

ENGINES = (1, 2, 4)
GROWTH_MIN = 1.1
"""With twice the engines: less than that is no growth."""
FULL = 0.9
"""Processors that are busier than that are full."""
_LOOK_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_BACKENDS = (
    "SELECT state, coalesce(wait_event_type || ': ' || wait_event, 'processor') FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


class Load(NamedTuple):
    """What so many engines did. Times in ms are of processors."""

    engines: int
    executions_s: float
    server_ms: float
    engine_ms: float
    busy: float
    """The part of the machine's processors that server and engines used."""
    connections: int
    waits: list[tuple[str, int]]
    """What the server's processes that had work waited for, with the share of it in percent; the most first."""


async def work(url: str, seconds: float) -> None:
    """One engine: ready when it says so, begins when it is told to, and ends with its executions and processor time."""
    async with durable.open(url) as engine:

        async def run_one(number: int) -> None:
            await (await engine.start(one_step, number)).result()

        await at_concurrency(CONCURRENCY, CONCURRENCY * 4, run_one)  # warm: statements prepared, modules loaded
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        before, end, done = time.process_time(), time.monotonic() + seconds, 0

        async def run_some() -> None:
            nonlocal done
            while time.monotonic() < end:
                await run_one(done)
                done += 1

        await asyncio.gather(*(run_some() for _ in range(CONCURRENCY)))
        print(json.dumps([done, time.process_time() - before]), flush=True)


def server_seconds(server: PostgresServer) -> float:
    """The processor time of a server so far: of the processes that are there, and of those that have ended."""
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for each, ended in ((str(pid), True), *((child, False) for child in children)):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # it ended meanwhile: what it used is its parent's from now on
            continue
        total += sum(map(int, fields[11:15] if ended else fields[11:13]))
    return total / _TICKS


class Watch(threading.Thread):
    """Looks at the connections of a server, at what their processes wait for, until it is ended."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._conninfo = address_of(url).conninfo
        self._ended = threading.Event()
        self.connections = 0
        self.waits: Counter[str] = Counter()

    def run(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            while not self._ended.wait(_LOOK_S):
                rows = connection.execute(_BACKENDS).fetchall()
                self.connections = max(self.connections, len(rows))
                self.waits.update(wait for state, wait in rows if state == "active")

    def end(self) -> None:
        """End it."""
        self._ended.set()
        self.join()


def measure(engines: int, seconds: float) -> Load:
    """So many engines on a new server."""
    server = PostgresServer(fast=False)
    url = server.url()
    command = [sys.executable, "-m", "benchmarks.engines", "--url", url, "--seconds", str(seconds)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(engines)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        watch = Watch(url)
        watch.start()
        before, began = server_seconds(server), time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        ends = [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]
        elapsed, used = time.perf_counter() - began, server_seconds(server) - before
        watch.end()
    finally:
        for process in processes:
            process.communicate()
        server.stop()
    count, own = sum(end[0] for end in ends), sum(end[1] for end in ends)
    looks = watch.waits.total() or 1
    return Load(
        engines=engines,
        executions_s=count / elapsed,
        server_ms=used / count * 1000,
        engine_ms=own / count * 1000,
        busy=(used + own) / elapsed / (os.cpu_count() or 1),
        connections=watch.connections,
        waits=[(wait, round(100 * times / looks)) for wait, times in watch.waits.most_common(3)],
    )


def table(loads: list[Load]) -> str:
    """The loads in Markdown."""
    lines = [
        "| engines | executions a second | processors busy | server, ms for one | engine, ms for one"
        " | one processor of the server carries, a second | connections | the server's processes |",
        "|" + "---|" * 8,
    ]
    for load in loads:
        waits = ", ".join(f"{wait} {share} %" for wait, share in load.waits)
        lines.append(
            f"| {load.engines} | {load.executions_s:,.0f} | {load.busy:.0%} | {load.server_ms:.2f} |"
            f" {load.engine_ms:.2f} | {1000 / load.server_ms:,.0f} | {load.connections} | {waits} |"
        )
    return "\n".join(lines)


def saturates(loads: list[Load]) -> str:
    """Where more engines brought no more, and what was full there."""
    for fewer, more in itertools.pairwise(loads):
        if more.executions_s < GROWTH_MIN * fewer.executions_s:
            what = "the processors are full" if fewer.busy >= FULL else f"processors {fewer.busy:.0%} busy"
            return f"Saturated with {fewer.engines} ({fewer.executions_s:,.0f} a second): {what}."
    return f"Not saturated with {loads[-1].engines} ({loads[-1].executions_s:,.0f} a second)."


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each number of engines")
    parser.add_argument("--engines", type=int, nargs="+", default=ENGINES, help="how many, in growing order")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each number of engines")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.url:
        asyncio.run(work(given.url, given.seconds))
        return
    loads = []
    for engines in given.engines:
        loads.append(measure(engines, given.seconds))
        if given.json:
            print(json.dumps(loads[-1]._asdict()), flush=True)
    if not given.json:
        print(f"{table(loads)}\n\n{saturates(loads)}")


if __name__ == "__main__":
    main()
