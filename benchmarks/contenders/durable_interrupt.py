"""Ours: from asking for KeyboardInterrupt to the recorded failure; from a worker's SIGKILL to the engine's notice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path

import durable
from benchmarks.contenders.interrupted import CODE, p99
from benchmarks.turns import Ready, serve
from durable.core.events import Event, WorkerEnded, log_event

SETTLED_S = 0.01
"""From its word that it has begun to the statement that is interrupted."""

HELD = """
import ctypes
libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
print('begun', flush=True)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""
"""C code that waits for itself and keeps the GIL: no signal ends that."""


class Watch:
    """When the engine noticed the end of a worker."""

    def __init__(self) -> None:
        self.noticed: asyncio.Future[float] | None = None

    def observe(self, event: Event) -> None:
        if isinstance(event, WorkerEnded) and self.noticed is not None and not self.noticed.done():
            self.noticed.set_result(time.perf_counter())
        log_event(event)


async def _begun(engine: durable.Engine, session: durable.Session, code: str) -> durable.Execution[object]:
    execution = await session.submit(code)
    async for _ in engine.follow(execution.id):
        break
    await asyncio.sleep(SETTLED_S)
    return execution


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    watch, numbers = Watch(), count()
    async with durable.open(directory / "state.db", observer=watch.observe) as engine:

        async def interrupted(code: str, size: int) -> list[float]:
            session = await engine.session(f"desk-{next(numbers)}")
            samples = []
            for _ in range(size):
                execution = await _begun(engine, session, code)
                started = time.perf_counter()
                assert await engine.interrupt(execution.id, raises=True)
                found = await session.result(execution.id)
                samples.append(time.perf_counter() - started)
                assert found.error is not None
                assert found.error.exception_type == "KeyboardInterrupt"
            await session.close()
            return [p99(samples)]

        async def killed(size: int) -> list[float]:
            samples = []
            for _ in range(size):
                session = await engine.session(f"killed-{next(numbers)}")
                pid = (await session.execute("import os; os.getpid()", journal=False)).value
                watch.noticed = asyncio.get_running_loop().create_future()
                started = time.perf_counter()
                os.kill(pid, signal.SIGKILL)
                samples.append(await watch.noticed - started)
                await session.close()
            return samples

        async def held(size: int) -> list[float]:
            """C code that holds the GIL: from the interrupt to the session's next answer, restored."""
            samples = []
            for _ in range(size):
                session = await engine.session(f"held-{next(numbers)}")
                await session.execute("kept = 41")
                execution = await _begun(engine, session, HELD)
                started = time.perf_counter()
                assert await engine.interrupt(execution.id)
                await engine.cancel(execution.id)
                assert (await session.execute("kept + 1")).value == 42
                samples.append(time.perf_counter() - started)
                await session.close()
            return samples

        turns = {name: partial(interrupted, code) for name, code in CODE.items()}
        yield Ready(f"durable-exec {version('durable-exec')}", {**turns, "killed": killed, "held": held})


if __name__ == "__main__":
    serve(setup)
