"""Ours: two stores on one file, in two processes. One settles promises, the other waits for each.

A sample is the time from the end of COMMIT in the one to the waiter's waking in the other; both read the machine's own
monotonic clock. `python -m benchmarks.contenders.durable_notice settle PATH` is the other process.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path

from benchmarks.turns import Ready, serve
from durable.core.clock import TIME_MAX_MS
from durable.core.limits import NOTICE_POLL_S
from durable.store.sqlite.store import Store

_COMMAND = [sys.executable, "-m", "benchmarks.contenders.durable_notice", "settle"]


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    store = await Store.open(directory / "state.db")
    process = await asyncio.create_subprocess_exec(*_COMMAND, str(store.path), stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    await stdout.readline()
    numbers, random_ = count(), random.Random(1)

    async def one(how: str) -> float:
        name = f"p{next(numbers)}"
        promise = {"id": name, "timeoutAt": TIME_MAX_MS, "tags": {"resonate:external": "true"}}
        await store.request("promise.create", promise)
        waiting = asyncio.create_task(store.settled(name))
        await store.request("promise.get", {"id": name})
        # The look for lost notifications has its own rhythm: come at any moment of it.
        await asyncio.sleep(random_.random() * 2 * NOTICE_POLL_S)
        stdin.write(f"{how} {name}\n".encode())
        await waiting
        seen = time.monotonic()
        return seen - float(await stdout.readline())

    async def notified(size: int) -> list[float]:
        return [await one("tell") for _ in range(size)]

    async def lost(size: int) -> list[float]:
        return [await one("silent") for _ in range(size)]

    try:
        yield Ready(f"durable-exec {version('durable-exec')}", {"notified": notified, "lost": lost})
    finally:
        stdin.close()
        await process.wait()
        await store.close()


async def settle(path: str) -> None:
    """Settle what stdin names, and say when its commit had ended. `silent` keeps the notification back."""
    committed = 0.0

    def note(when: str, sql: str) -> None:
        nonlocal committed
        if when == "after" and sql == "COMMIT":
            committed = time.monotonic()

    store = await Store.open(path, fault=note)
    notify = store._peers.notify
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("ready", flush=True)
    while line := await lines.readline():
        how, name = line.decode().split()
        store._peers.notify = notify if how == "tell" else _lost  # type: ignore[method-assign]
        await store.request("promise.settle", {"id": name, "state": "resolved"})
        print(committed, flush=True)
    await store.close()


def _lost() -> bool:
    return False


if __name__ == "__main__":
    if sys.argv[1:2] == ["settle"]:
        asyncio.run(settle(sys.argv[2]))
    else:
        serve(setup)
