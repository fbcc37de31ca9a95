"""Running a site on a socket, for `durable serve` and for programs that serve a store themselves."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, cast, override

import uvicorn
from starlette.types import ASGIApp

from durable.core.errors import StoreError
from durable.core.limits import CONNECTION_IDLE_S, HTTP_HEAD_BYTES_MAX, SHUTDOWN_S
from durable.http.connections import DeadlineConnection
from durable.http.routes import create_app
from durable.http.server_state import Site
from durable.prompts.url_listeners import keep_posting
from durable.store.upkeep.blob_sweeper import keep_swept

BACKLOG_MAX = 2_048


class _Server(uvicorn.Server):
    """Signals are the caller's: several servers and engines may live in one process."""

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. StoreError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG_MAX)
    except OSError as error:
        raise StoreError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error


def url_of(sock: socket.socket) -> str:
    """The address that clients use."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serving(site: Site, sock: socket.socket, pages: ASGIApp | None = None) -> AsyncIterator[str]:
    """Serve until the block ends; gives the URL. Requests under way are answered first, streams are ended.

    pages: the dashboard, where there is to be one.
    """
    protocol = cast(type[asyncio.Protocol], functools.partial(DeadlineConnection, site.guard))
    try:
        async with serving_app(create_app(site, pages), sock, protocol=protocol, ending=site.end_streams):
            keeping = asyncio.create_task(site.keep())
            sweeping = asyncio.create_task(keep_swept(site.store, site.observe))
            posting = asyncio.create_task(keep_posting(site.store, site.observe))
            try:
                yield url_of(sock)
            finally:
                keeping.cancel()
                sweeping.cancel()
                posting.cancel()
                await asyncio.wait([keeping, sweeping, posting])
    finally:
        await site.close()


@asynccontextmanager
async def serving_app(
    app: ASGIApp,
    sock: socket.socket,
    *,
    protocol: type[asyncio.Protocol] | None = None,
    lifespan: Literal["on", "off"] = "off",
    ending: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve an application until the block ends. `ending` is called before requests under way are waited for."""
    config = uvicorn.Config(
        app,
        http=protocol or "h11",
        ws="none",
        lifespan=lifespan,
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever connects is who asks: the rate is by address
        backlog=BACKLOG_MAX,
        timeout_keep_alive=int(CONNECTION_IDLE_S),
        timeout_graceful_shutdown=int(SHUTDOWN_S),
        h11_max_incomplete_event_size=HTTP_HEAD_BYTES_MAX,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield
    finally:
        server.should_exit = True
        ending()
        await asyncio.wait([running])
        if not running.cancelled() and running.exception() is not None:
            raise StoreError(f"the server failed: {running.exception()!r}")
