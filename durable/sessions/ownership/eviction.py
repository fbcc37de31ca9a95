"""Workers without work given up for sessions that wait for a place in the pool (specs/pool.md, W8-W10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from bridge.launch.pool import WorkerPool
from durable.core.background import beside
from durable.core.events import Observer, PoolHeld
from durable.sessions.execution.runner import LiveSession
from durable.sessions.ownership.idle_timer import RUNS

AGAIN_S = 1.0
"""While somebody waits, who kept a worker is looked at again: background work ends without a word."""


class Giving:
    """Ends as many workers as sessions wait for a place, those first that had no work for longest."""

    def __init__(self, pool: WorkerPool, live: Callable[[], Iterable[LiveSession]], observer: Observer) -> None:
        self._pool = pool
        self._live = live
        self._observer = observer
        self._kept: dict[tuple[str, float], str] = {}  # sessions since when they have no work, and why they keep it
        self._told: tuple[str, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._closed = False

    def soon(self) -> None:
        """Somebody waits for a place, or a worker came to rest."""
        if self._task is None and self._pool.lacking and not self._closed:
            self._task = beside(self._give())

    def close(self) -> None:
        """The engine ends all workers by itself."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()

    async def _give(self) -> None:
        try:
            while not self._closed and (chosen := self._choose()):
                found = [(one.name, one.resting.since) for one in chosen]
                kept = await asyncio.gather(*(one.give() for one in chosen))
                self._kept |= {which: why for which, why in zip(found, kept, strict=True) if why}
        finally:  # an error too is no reason not to look again
            self._task = None
            self._wait()

    def _choose(self) -> list[LiveSession]:
        free = [one for one in self._live() if not one.keeps() and (one.name, one.resting.since) not in self._kept]
        return sorted(free, key=lambda one: one.resting.since)[: self._pool.lacking]

    def _wait(self) -> None:
        """Nobody has one to give now: say who keeps one, and look again."""
        lacking, kept = self._pool.lacking, dict(self._kept)
        self._kept.clear()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if not lacking or self._closed:
            self._told = ()
            return
        reasons = {one.name: one.keeps() or kept.get((one.name, one.resting.since), "") for one in self._live()}
        holders = tuple(sorted(f"{name}: {why}" for name, why in reasons.items() if why and why != RUNS))
        if holders and holders != self._told:
            self._observer(PoolHeld(lacking, holders))
        self._told = holders
        self._again = asyncio.get_running_loop().call_later(AGAIN_S, self.soon)
