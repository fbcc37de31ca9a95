"""Whether something that this engine runs or has was stopped or taken elsewhere (specs/session.md, O8, O11)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from durable.core.background import beside
from durable.core.errors import DurableError
from durable.sessions.execution.runner import LiveSession
from durable.store.port import StoreFace

LOOK_S = 0.01
"""Between a commit of another process and the look what it changed for what runs here."""


class Looking:
    """One look for all sessions of this engine, soon, and once for all changes until then."""

    def __init__(
        self,
        store: StoreFace,
        live: Callable[[], Mapping[str, LiveSession]],
        lost: Callable[[LiveSession], Coroutine[Any, Any, None]],
    ) -> None:
        self._store = store
        self._live = live
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def soon(self) -> None:
        """Something changed."""
        if self._timer is None and self._live() and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._due)

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        self._timer = None
        beside(self._look())

    async def _look(self) -> None:
        seen = dict(self._live())
        running = {found.execution_id: one for one in seen.values() if (found := one.running) is not None}
        try:
            epochs = {name: one.epoch for name, one in seen.items()}
            stopped = await self._store.reads.stopped(executions=list(running), sessions=epochs)
        except DurableError:
            return  # the store is closed, or cannot be reached: what is written next says so
        for name in stopped.sessions:
            beside(self._lost(seen[name]))
        for execution in stopped.executions:
            beside(running[execution].interrupt(f"exec:{execution}"))
