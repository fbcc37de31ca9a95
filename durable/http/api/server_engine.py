"""The engine of a server: on the server's own store. It records what the API is asked to begin; asked to serve, it runs
it too (specs/http-api.md, Engine)."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, override

from durable.core.errors import Conflict
from durable.core.events import Event
from durable.engine.engine import Engine
from durable.store.port import StoreFace

if TYPE_CHECKING:
    from durable.http.server_state import Site

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""The trace context that the request under way came with."""


class RequestTrace:
    """The observer that tells an engine whose trace it is in: that of the request."""

    def __call__(self, event: Event) -> None:
        """Nothing: events are the other observers'."""

    def traceparent(self) -> str:
        """The header `traceparent` of the request."""
        return TRACEPARENT.get()


class ServerEngine(Engine):
    """An engine on a store that is open already, and stays open when the engine closes."""

    def __init__(self, site: Site, *, serve: bool) -> None:
        super().__init__(site.store.path, serve=serve, observer=[site.observe, RequestTrace()], **site.engine_options)
        self._served = site.store

    @override
    async def _open_store(self) -> StoreFace:
        return self._served

    @override
    async def _close_store(self, store: StoreFace) -> None:
        """Nothing: it is the server's."""

    @override
    def _require_serving(self, lacking: str) -> None:
        if self._runner is None:
            raise Conflict(
                f"this server has {lacking}, since it runs no engine: start it with `durable serve --engine`"
            )


async def server_engine(site: Site) -> ServerEngine:
    """The engine of a site, opened when it is first asked for; closed with the site."""
    if site.engine is None:
        site.engine = asyncio.ensure_future(_opened(site))
    return await asyncio.shield(site.engine)


async def _opened(site: Site) -> ServerEngine:
    engine = ServerEngine(site, serve=site.runs)
    try:
        await engine.open()
    except BaseException:
        site.engine = None
        raise
    return engine


def require_code_of(site: Site, engine: Engine, deployment: str) -> None:
    """Require that this server runs the code of a deployment, over which records can be replayed. Conflict."""
    if not site.runs or engine.deployment != deployment:
        raise Conflict(
            f"this server has not the code of {deployment}, so it cannot check what that would replay: ask a server of"
            f" it (DURABLE_DEPLOYMENT={deployment} durable serve MODULE), or use"
            f" `durable deployment move {deployment} --with MODULE`"
        )
