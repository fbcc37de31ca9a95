"""Ours, whole: a session's namespace saved into its store and restored from it, as the session's user sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import durable
from benchmarks import namespaces
from benchmarks.turns import Ready, Turn, serve


class Desk:
    """One session with the namespace of one case."""

    def __init__(self, engine: durable.Engine, case: str) -> None:
        self._engine = engine
        self._case = case
        self._session: durable.Session | None = None

    async def session(self) -> durable.Session:
        """It is made when it is first asked for: a case that is not asked for costs no memory."""
        if self._session is None:
            self._session = await self._engine.session(self._case)
            await self._run(namespaces.SOURCES[self._case])
        return self._session

    async def _run(self, code: str) -> None:
        assert self._session is not None
        result = await self._session.execute(code, journal=False)
        assert result.error is None, result.error

    async def _saved(self) -> float:
        session = await self.session()
        started = time.perf_counter()
        await session.checkpoint("benchmark")
        return time.perf_counter() - started

    async def save(self, size: int) -> list[float]:
        """Saves of a namespace whose large part is new."""
        samples = []
        for _ in range(size):
            await self.session()
            await self._run(namespaces.ALL_CHANGED[self._case])
            samples.append(await self._saved())
        return samples

    async def change(self, size: int) -> list[float]:
        """Saves after one small change."""
        for _ in range(10):  # until what was written all over is tracked again
            await self._saved()
        samples = []
        for _ in range(size):
            await self._run(namespaces.CHANGE)
            samples.append(await self._saved())
        return samples

    async def restore(self, size: int) -> list[float]:
        """Restores of the newest."""
        await self._saved()
        session = await self.session()
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            await session.restore("benchmark")
            samples.append(time.perf_counter() - started)
        return samples


def turns(desk: Desk, case: str) -> dict[str, Turn]:
    return {f"{case} save": desk.save, f"{case} change": desk.change, f"{case} restore": desk.restore}


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    async with durable.open(directory / "work.db") as engine:
        found = {name: turn for case in namespaces.SOURCES for name, turn in turns(Desk(engine, case), case).items()}
        yield Ready(f"durable-exec {version('durable-exec')}, session and store", found)


if __name__ == "__main__":
    serve(setup)
