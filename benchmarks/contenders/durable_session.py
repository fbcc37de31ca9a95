"""Ours: a session of the embedded engine, its worker a process of its own; `--postgres`: on a server of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path

import durable
from benchmarks.contenders.database_server import database
from benchmarks.turns import Ready, Turn, serve

WARM_UP = 5


async def timed(times: int, one: Callable[[], Awaitable[durable.Result]]) -> list[float]:
    """Seconds of each of `times` cells, whose value must be 2."""
    samples = []
    for _ in range(times):
        started = time.perf_counter()
        result = await one()
        samples.append(time.perf_counter() - started)
        assert result.value == 2, result
    return samples


def flood(megabytes: int) -> str:
    """Code that prints so much in lines of 100 characters, as in ipykernel_session."""
    return f"for _ in range({megabytes} * 10_000): print('x' * 99)\n'end'"


def unshared(pid: int) -> float:
    """Bytes in memory that no other process has mapped."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024.0 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


class Sessions:
    """Fresh sessions of an engine, each with a name of its own."""

    def __init__(self, engine: durable.Engine) -> None:
        self._engine = engine
        self._numbers = count()

    async def fresh(self) -> durable.Session:
        return await self._engine.session(f"fresh-{next(self._numbers)}")

    async def journaled(self, size: int) -> list[float]:
        # A session of its own: a checkpoint holds the history, so rounds in one session would not be alike.
        session = await self.fresh()
        await timed(WARM_UP, lambda: session.execute("1+1"))
        samples = await timed(size, lambda: session.execute("1+1"))
        await session.close()
        return samples

    async def started(self, size: int) -> list[float]:
        samples = []
        for _ in range(size):
            begun = time.perf_counter()
            session = await self.fresh()
            result = await session.execute("1+1", journal=False)
            samples.append(time.perf_counter() - begun)
            assert result.value == 2, result
            await session.close()
        return samples

    async def fifty(self, size: int) -> list[float]:
        begun = time.perf_counter()
        sessions = await self._opened(size)
        samples = [time.perf_counter() - begun]
        for one in sessions:
            await one.close()
        return samples

    async def memory(self, size: int) -> list[float]:
        sessions = await self._opened(size)
        pids = [(await one.execute("import os; os.getpid()", journal=False)).value for one in sessions]
        samples = [unshared(int(pid)) for pid in pids]
        for one in sessions:
            await one.close()
        return samples

    async def _opened(self, size: int) -> list[durable.Session]:
        sessions = [await self.fresh() for _ in range(size)]
        results = await asyncio.gather(*(one.execute("1+1", journal=False) for one in sessions))
        assert all(result.value == 2 for result in results)
        return sessions


async def printed(kept: durable.Session, size: int) -> list[float]:
    """Not journaled, all of it in the result."""
    begun = time.perf_counter()
    result = await kept.execute(flood(size), journal=False)
    samples = [time.perf_counter() - begun]
    assert (len(result.stdout), result.value) == (size * 1_000_000, "end"), result
    return samples


async def streamed(session: durable.Session, size: int) -> list[float]:
    """A reader beside the engine gets all that is printed; of it the default is stored."""
    received, dropped, value = 0, 0, None
    begun = time.perf_counter()
    async for event in session.stream(flood(size)):
        match event:
            case durable.OutputEvent():
                received, dropped = received + len(event.data), dropped + event.dropped
            case durable.Result():
                value = event.value
    samples = [time.perf_counter() - begun]
    assert (received, dropped, value) == (size * 1_000_000, 0, "end"), (received, dropped, value)
    return samples


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    with database() as url:
        async with sessions_of(url or directory / "state.db") as ready:
            yield ready


@asynccontextmanager
async def sessions_of(store: Path | str) -> AsyncIterator[Ready]:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        kept = await engine.session("kept", output=durable.OutputRules(stored=2**30))
        sessions = Sessions(engine)

        async def quick(size: int) -> list[float]:
            return await timed(size, lambda: session.execute("1+1", journal=False))

        turns: dict[str, Turn] = {
            "quick": quick,
            "journaled": sessions.journaled,
            "start": sessions.started,
            "fifty": sessions.fifty,
            "memory": sessions.memory,
            "printed": partial(printed, kept),
            "streamed": partial(streamed, session),
        }
        yield Ready(f"durable-exec {version('durable-exec')}", turns)


if __name__ == "__main__":
    serve(setup)
