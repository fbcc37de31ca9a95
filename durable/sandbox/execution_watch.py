"""Foreign code of a durable function ends with it: cancelled, past its deadline, interrupted, in whatever process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from durable.core.errors import EngineClosed
from durable.store.port import StoreFace

WATCHED_S = 0.2
"""Code that runs for less is not watched."""
LOOK_S = 0.05
"""Between two looks, however much changes in the store."""


class Ending:
    """changed: done at the next change of the store."""

    def __init__(self, store: StoreFace, changed: Callable[[], asyncio.Future[None]]) -> None:
        self._store = store
        self._changed = changed

    @contextmanager
    def of(self, execution_id: str) -> Iterator[None]:
        """Cancel what the current task does inside when this execution goes on no more."""
        task = asyncio.current_task()
        assert task is not None
        watching: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        timer = loop.call_later(WATCHED_S, lambda: watching.append(loop.create_task(self._watch(execution_id, task))))
        try:
            yield
        finally:
            timer.cancel()
            for each in watching:
                each.cancel()

    async def _watch(self, execution_id: str, task: asyncio.Task[object]) -> None:
        while True:
            change = self._changed()
            try:
                row = await self._store.reads.get_execution(execution_id)
            except EngineClosed:
                return
            if row is None or row.settled_at is not None or row.state == "interrupted":
                task.cancel()
                return
            await change
            await asyncio.sleep(LOOK_S)
