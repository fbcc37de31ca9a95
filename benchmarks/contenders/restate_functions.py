"""Restate as installed: one server with its default configuration, the SDK's service under hypercorn, HTTP clients.

`--server` names the server's program. Both are children of this process and end with it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.turns import WAITING_S, Ready, at_concurrency, serve

CONCURRENCY = 64
START_S = 60.0


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in found]
    finally:
        for each in found:
            each.close()


@contextmanager
def process(command: list[str]) -> Iterator[None]:
    """A child that ends with the block. Its words go to our stderr."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def commands(server: str, directory: Path, ports: list[int]) -> tuple[list[str], list[str]]:
    """How the server and the service are started; ports for ingress, admin, fabric and the service."""
    ingress, admin, fabric, service = ports
    config = directory / "restate.toml"
    config.write_text(
        f'listen-mode = "tcp"\nbind-ip = "127.0.0.1"\nbind-port = {fabric}\nadvertised-host = "127.0.0.1"\n'
        f'disable-telemetry = true\nlog-filter = "warn"\nbase-dir = "{directory / "data"}"\n'
        f"[ingress]\nbind-port = {ingress}\n[admin]\nbind-port = {admin}\n"
    )
    app = "benchmarks.contenders.restate_service:app"
    hypercorn = [sys.executable, "-m", "hypercorn", app, "--bind", f"127.0.0.1:{service}", "--log-level", "ERROR"]
    return [server, "--no-logo", "--config-file", str(config)], hypercorn


async def until_ok(http: aiohttp.ClientSession, method: str, url: str, body: object = None) -> None:
    """Ask until the answer is good, for at most START_S seconds."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                async with http.request(method, url, json=body) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    server = sys.argv[sys.argv.index("--server") + 1]
    ports = free_ports(4)
    ingress, admin, _, service = ports
    runs_server, runs_service = commands(server, directory, ports)
    with process(runs_server), process(runs_service):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as http:
            await until_ok(http, "GET", f"http://127.0.0.1:{admin}/health")
            await until_ok(
                http, "POST", f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"}
            )
            about = f"Restate {server_version(server)}, SDK {version('restate-sdk')}, default settings"
            yield _turns(http, f"http://127.0.0.1:{ingress}/steps", about)


def server_version(server: str) -> str:
    """What the server's program says of itself."""
    return subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


def _turns(http: aiohttp.ClientSession, base: str, about: str) -> Ready:
    async def steps(size: int) -> list[float]:
        async with http.post(f"{base}/timed", json=size) as answer:
            answer.raise_for_status()
            samples: list[float] = await answer.json()
            return samples

    async def run_one(number: int) -> None:
        async with http.post(f"{base}/one", json=number) as answer:
            answer.raise_for_status()
            assert await answer.json() == number + 1

    async def executions(size: int) -> list[float]:
        started = time.perf_counter()
        await at_concurrency(CONCURRENCY, size, run_one)
        return [size / (time.perf_counter() - started)]

    numbers = count()

    async def signals(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            number = next(numbers)
            workflow = f"{base.removesuffix('/steps')}/signals/w{number}"
            running = asyncio.create_task(_answer(http, f"{workflow}/run", number))
            await asyncio.sleep(WAITING_S)
            await _answer(http, f"{workflow}/go", time.perf_counter())
            samples.append(await running)
        return samples

    async def fan_out(size: int) -> list[float]:
        started = time.perf_counter()
        assert await _answer(http, f"{base}/fan_out", size) == size * (size + 1) // 2
        return [time.perf_counter() - started]

    async def add(key: str) -> None:
        async with http.post(f"{base.removesuffix('/steps')}/counter/{key}/add", json=1) as answer:
            answer.raise_for_status()
            assert await answer.json() > 0

    async def object_turn(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            await add("one")
            samples.append(time.perf_counter() - started)
        return samples

    async def object_keys(size: int) -> list[float]:
        started = time.perf_counter()
        await at_concurrency(CONCURRENCY, size, lambda number: add(f"k{number % CONCURRENCY}"))
        return [size / (time.perf_counter() - started)]

    turns = {"steps": steps, "executions": executions, "object_turn": object_turn, "object_keys": object_keys}
    return Ready(about, {**turns, "signals": signals, "fan_out": fan_out})


async def _answer(http: aiohttp.ClientSession, url: str, body: object) -> Any:
    async with http.post(url, json=body) as answer:
        answer.raise_for_status()
        return json.loads(await answer.read() or "null")


if __name__ == "__main__":
    serve(setup)
