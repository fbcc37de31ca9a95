"""Ours: operations on promises, and hops: a suspended function whose prompt another task answers runs again.

`--durability=process` for the weaker promise.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Literal

import durable
from benchmarks.turns import Ready, serve
from durable.core.clock import TIME_MAX_MS
from durable.records.values import pack
from durable.store.changes import StoreChange


@durable.function
async def hop(ctx: durable.Context) -> float:
    """The answer is when it was sent; both ends read the same clock."""
    sent: float = await ctx.ask("now?", schema=float)
    return time.perf_counter() - sent


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    durability: Literal["power", "process"] = "process" if "--durability=process" in sys.argv else "power"
    async with durable.open(directory / "state.db", durability=durability) as engine:
        store, numbers = engine.store, count()

        async def operations(size: int) -> list[float]:
            samples = []
            for _ in range(size):
                name = f"p{next(numbers)}"
                created = time.perf_counter()
                await store.request("promise.create", {"id": name, "timeoutAt": TIME_MAX_MS, "tags": {}})
                settled = time.perf_counter()
                await store.request("promise.settle", {"id": name, "state": "resolved"})
                samples += [settled - created, time.perf_counter() - settled]
            return samples

        async def one_hop() -> float:
            name = f"hop{next(numbers)}"
            waiting = asyncio.Event()

            def on_change(change: StoreChange) -> None:
                if f"exec:{name}" in change.stopped:
                    waiting.set()

            unwatch = store.watch(on_change)
            execution = await engine.start(hop, id=name)
            await waiting.wait()
            unwatch()
            answer = {"data": pack({"value": time.perf_counter(), "by": None, "nonce": name})}
            settle = {"id": f"exec:{name}:input:1", "state": "resolved", "value": answer}
            await store.request("promise.settle", settle)
            return await execution.result()

        async def hops(size: int) -> list[float]:
            return [await one_hop() for _ in range(size)]

        about = f"durable-exec {version('durable-exec')}, durability={durability}"
        yield Ready(about, {"operations": operations, "hops": hops})


if __name__ == "__main__":
    serve(setup)
