"""Ours: code that asks a person in a loop. A sample is from giving an answer until the next question is recorded and
can be answered. Each answer comes to an execution that has stopped: its task suspended, its slot and lease given back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import durable
from benchmarks.turns import Ready, serve
from durable.store.changes import StoreChange

CYCLES = 10
CELL = f"for _ in range({CYCLES + 1}): last = ask('more?')\nlast"


@durable.function
async def asking(ctx: durable.Context) -> str:
    last = ""
    for _ in range(CYCLES + 1):
        last = await ctx.ask("more?")
    return last


class Waits:
    """What the one execution that runs does about its next question."""

    def __init__(self, engine: durable.Engine) -> None:
        self._engine = engine
        self._asked = asyncio.Event()
        self._stopped = asyncio.Event()
        engine.store.watch(self._changed)

    async def answered(self, execution: durable.Execution[Any]) -> list[float]:
        """Answer each question of an execution that has just been started, and see its end."""
        samples = []
        for number in range(1, CYCLES + 2):
            await self._stopped.wait()
            self._asked.clear()
            self._stopped.clear()
            started = time.perf_counter()
            await self._engine.answer(f"exec:{execution.id}:input:{number}", f"answer {number}", by="ana")
            if number <= CYCLES:
                await self._asked.wait()
                samples.append(time.perf_counter() - started)
        await execution.result()
        self._stopped.clear()
        return samples

    def _changed(self, change: StoreChange) -> None:
        if change.prompts:
            self._asked.set()
        if change.stopped:
            self._stopped.set()


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    async with durable.open(directory / "state.db") as engine:
        waits, numbers = Waits(engine), count()

        async def function(size: int) -> list[float]:
            found = []
            for _ in range(size):
                execution = await engine.start(asking)
                found += await waits.answered(execution)
                assert await execution.result() == f"answer {CYCLES + 1}"
            return found

        async def session(size: int) -> list[float]:
            found = []
            for _ in range(size):
                desk = await engine.session(f"desk-{next(numbers)}", grants=["input"])
                execution = await desk.submit(CELL)
                found += await waits.answered(execution)
                assert (await desk.result(execution.id)).value == f"answer {CYCLES + 1}"
                await desk.close()
            return found

        about = f"durable-exec {version('durable-exec')}, SQLite in WAL mode, each commit synced"
        yield Ready(about, {"function": function, "session": session})


if __name__ == "__main__":
    serve(setup)
