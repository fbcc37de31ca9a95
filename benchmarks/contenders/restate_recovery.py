"""Restate as installed: server and service are killed while invocations sleep, and started again when all are due."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

import aiohttp

from benchmarks.contenders.restate_functions import CONCURRENCY, commands, free_ports, server_version, until_ok
from benchmarks.turns import Ready, Turn, at_concurrency, serve

SLEEP_S = 12.0
LOOK_S = 0.005


def begin(runs: tuple[list[str], list[str]]) -> list[subprocess.Popen[bytes]]:
    """The server and the service, as children whose words go to our stderr."""
    return [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) for command in runs]


def kill(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
    for child in children:
        child.wait()


async def until_marked(path: Path, total: int) -> None:
    """Return when that many different numbers stand in a file."""
    while not path.exists() or len(set(path.read_text().split())) < total:  # noqa: ASYNC110 - others write it
        await asyncio.sleep(LOOK_S)


def turn(server: str, directory: Path, total: int) -> Turn:
    numbers = count()

    async def once() -> float:
        place = directory / f"{next(numbers)}"
        place.mkdir()
        ports = free_ports(4)
        runs = commands(server, place, ports)
        children = begin(runs)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as http:
                await _send(http, ports, place, total)
            await until_marked(place / "waiting", total)
            due = time.monotonic() + SLEEP_S
            await asyncio.sleep(0.2)  # for the last ones' sleeps to be recorded
            kill(children)
            if (place / "done").exists():
                raise RuntimeError("some ended before the kill: the machine is too slow for SLEEP_S")
            await asyncio.sleep(due + 0.2 - time.monotonic())
            started = time.perf_counter()
            children = begin(runs)
            await until_marked(place / "done", total)
            return time.perf_counter() - started
        finally:
            kill(children)

    async def samples(size: int) -> list[float]:
        return [await once() for _ in range(size)]

    return samples


async def _send(http: aiohttp.ClientSession, ports: list[int], place: Path, total: int) -> None:
    ingress, admin, _, service = ports
    await until_ok(http, "GET", f"http://127.0.0.1:{admin}/health")
    await until_ok(http, "POST", f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"})

    async def send(number: int) -> None:
        asked = {"number": number, "seconds": SLEEP_S, "marks": str(place)}
        async with http.post(f"http://127.0.0.1:{ingress}/steps/waits/send", json=asked) as answer:
            answer.raise_for_status()

    await at_concurrency(CONCURRENCY, total, send)


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    server = sys.argv[sys.argv.index("--server") + 1]
    about = f"Restate {server_version(server)}, SDK {version('restate-sdk')}, default settings"
    yield Ready(about, {"1000": turn(server, directory, 1_000)})


if __name__ == "__main__":
    serve(setup)
