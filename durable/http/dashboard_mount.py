"""The place of the dashboard in a served store. Its code is imported with the first request for a page, so that
a server starts as fast as without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from durable.http.server_state import Site

if TYPE_CHECKING:
    from durable.http.dashboard.dashboard import Dashboard


class DashboardMount:
    """The dashboard of one site. target: the store, as `durable.open` takes it. runs_code: whether this process may be
    an engine for what pages ask for."""

    def __init__(self, site: Site, target: str, *, runs_code: bool = False) -> None:
        self._site = site
        self._target = target
        self._runs_code = runs_code
        self._dashboard: Dashboard | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.dashboard(scope, receive, send)

    @property
    def dashboard(self) -> Dashboard:
        """The dashboard itself, made when it is first asked for."""
        if self._dashboard is None:
            from durable.http.dashboard.action_engine import ActionEngine
            from durable.http.dashboard.dashboard import Dashboard

            site, shared = self._site, None
            if site.runs:
                from durable.http.api.server_engine import server_engine

                shared = partial(server_engine, site)
            runs_code = self._runs_code or site.runs
            engine = ActionEngine(self._target, runs_code=runs_code, observer=site.observe, shared=shared)
            self._dashboard = Dashboard(self._site, engine)
        return self._dashboard

    async def close(self) -> None:
        """Close the engine that pages used, where there is one."""
        if self._dashboard is not None:
            await self._dashboard.close()


@asynccontextmanager
async def pages_of(site: Site, target: str, *, runs_code: bool = False) -> AsyncIterator[DashboardMount]:
    """The dashboard of a site, closed after it."""
    found = DashboardMount(site, target, runs_code=runs_code)
    try:
        yield found
    finally:
        await found.close()
