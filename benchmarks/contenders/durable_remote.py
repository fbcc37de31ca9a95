"""Ours over HTTP: an engine and a client on the URL of `durable serve`, which is a process of its own.

A sample of `operations` is one promise.create or promise.settle, from asking to its answer. A sample of `hops` is the
time from answering a question that an execution waits for, holding nothing, to its code running again.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

import durable
from benchmarks.turns import Ready, Turn, serve
from durable.core.clock import TIME_MAX_MS

woken: dict[str, asyncio.Future[float]] = {}
"""When each execution went on, by the question's text."""


@durable.function
async def waits(ctx: durable.Context, name: str) -> None:
    await ctx.ask(name)
    if not woken[name].done():
        woken[name].set_result(time.perf_counter())


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "durable.cli", "--store", str(directory / "state.db"), "serve", "--port", "0"]
    server = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL, env={"DURABLE_TOKEN": token})
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()
    try:
        async with durable.open(url, token=token) as engine:
            yield Ready(f"durable-exec {version('durable-exec')} over HTTP", _turns(engine))
    finally:
        server.terminate()
        await server.wait()


def _turns(engine: durable.Engine) -> dict[str, Turn]:
    numbers = count()

    async def operations(size: int) -> list[float]:
        samples: list[float] = []
        while len(samples) < size:
            name = f"p{next(numbers)}"
            created = {"id": name, "timeoutAt": TIME_MAX_MS, "tags": {"resonate:external": "true"}}
            settled = {"id": name, "state": "resolved"}
            for kind, data in (("promise.create", created), ("promise.settle", settled)):
                started = time.perf_counter()
                await engine.store.request(kind, data)
                samples.append(time.perf_counter() - started)
        return samples

    async def hop() -> float:
        name = f"q{next(numbers)}"
        woken[name] = asyncio.get_running_loop().create_future()
        execution = await engine.start(waits, name)
        change = engine.changed()
        while await execution.state() != "waiting":
            await change
            change = engine.changed()
        (prompt,) = [each for each in await engine.prompts() if each.question == name]
        started = time.perf_counter()
        answering = asyncio.create_task(engine.answer(prompt.id, "on"))
        ended = await woken[name]
        await answering
        await execution.result()
        del woken[name]
        return ended - started

    async def hops(size: int) -> list[float]:
        return [await hop() for _ in range(size)]

    return {"operations": operations, "hops": hops}


if __name__ == "__main__":
    serve(setup)
