"""The engine behind the dashboard's actions: the server's own, opened when the first one needs it (specs/dashboard.md,
E)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core.errors import Conflict
from durable.http.server_state import Site

if TYPE_CHECKING:
    from durable.engine.engine import Engine


class ActionEngine:
    """The engine that a page's actions use, which is that of the API: a session has one engine here, whoever asks.

    `target`: the store, as `durable.open` takes it. `runs_code`: whether this process may run something, as that of
    `durable ui` may: then checkpoints are restored here, and code of sessions runs here where no engine is alive.
    Elsewhere it may not: what a session's code does belongs on the machines that were chosen for it.
    """

    def __init__(self, site: Site, target: str, *, runs_code: bool = False) -> None:
        self._site = site
        self.target = target
        self.runs_code = runs_code or site.runs

    async def client(self) -> Engine:
        """The engine, which runs nothing unless it was told to."""
        from durable.http.api.server_engine import server_engine

        return await server_engine(self._site)

    async def running(self, what: str, command: str) -> Engine:
        """The engine, running. Conflict where this process may run nothing: `command` does `what` elsewhere."""
        if not self.runs_code:
            raise Conflict(f"this server runs no code, so {what} is done where code may run: {command}")
        engine = await self.client()
        await engine.serve()
        return engine
