"""The engine behind the dashboard's actions: opened when the first one needs it (specs/dashboard.md, E)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from durable.core.errors import Conflict
from durable.core.events import Observer, log_event

if TYPE_CHECKING:
    from durable.engine.engine import Engine


class ActionEngine:
    """A client of the store that a page's actions use: it stops, continues and forks, and runs nothing itself.

    `target`: the store, as `durable.open` takes it. `runs_code`: whether this process may be an engine as well, as
    that of `durable ui` may: then checkpoints are restored here, and code of sessions runs here where no engine is
    alive. Elsewhere it may not: what a session's code does belongs on the machines that were chosen for it.
    `shared`: gives the server's own engine, where it runs one: then a session has one engine here, whoever asks.
    """

    def __init__(
        self,
        target: str,
        *,
        runs_code: bool = False,
        observer: Observer = log_event,
        shared: Callable[[], Awaitable[Engine]] | None = None,
    ) -> None:
        self.target = target
        self.runs_code = runs_code
        self._observer = observer
        self._shared = shared
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()

    async def client(self) -> Engine:
        """The engine, which runs nothing unless it was told to."""
        if self._shared is not None:
            return await self._shared()
        async with self._opening:
            if self._engine is None:
                from durable.engine.engine import Engine

                engine = Engine(self.target, serve=False, create=False, observer=self._observer)
                await engine.open()
                self._engine = engine
        return self._engine

    async def running(self, what: str, command: str) -> Engine:
        """The engine, running. Conflict where this process may run nothing: `command` does `what` elsewhere."""
        if not self.runs_code:
            raise Conflict(f"this server runs no code, so {what} is done where code may run: {command}")
        engine = await self.client()
        await engine.serve()
        return engine

    async def close(self) -> None:
        """Close the engine, where one was opened."""
        if self._engine is not None:
            await self._engine.close()
