"""The MCP server over HTTP: a bearer token, checked hosts and origins, bounded bodies."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route

from durable.core.limits import MCP_BODY_BYTES_MAX, MCP_SESSION_IDLE_S
from durable.http.serve import serving_app, url_of
from durable.mcp.clients import ClientTokens

PATH = "/mcp"

_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def create_mcp_app(
    server: Server[Any], tokens: ClientTokens | None, hosts: Sequence[str] = (), origins: Sequence[str] = ()
) -> Starlette:
    """The ASGI application at `/mcp`.

    tokens: None lets everybody in who reaches it. hosts: names by which it is reached beside those of this machine.
    origins: of pages that may call it, beside those of this machine.
    """
    manager = StreamableHTTPSessionManager(
        app=server,
        security_settings=TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=[*(f"{host}:*" for host in _LOCAL), *_LOCAL, *hosts],
            allowed_origins=[*(f"http://{host}:*" for host in _LOCAL), *origins],
        ),
        max_request_body_size=MCP_BODY_BYTES_MAX,
        session_idle_timeout=MCP_SESSION_IDLE_S,
    )
    app: Any = StreamableHTTPASGIApp(manager)
    middleware: list[Middleware] = []
    if tokens is not None:
        app = RequireAuthMiddleware(app, [])
        middleware = [
            Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(tokens)),
            Middleware(AuthContextMiddleware),
        ]
    return Starlette(routes=[Route(PATH, endpoint=app)], middleware=middleware, lifespan=lambda _: manager.run())


@asynccontextmanager
async def serving_mcp(
    server: Server[Any],
    sock: socket.socket,
    tokens: ClientTokens | None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> AsyncIterator[str]:
    """Serve on a socket until the block ends; gives the URL."""
    async with serving_app(create_mcp_app(server, tokens, hosts, origins), sock, lifespan="on"):
        yield f"{url_of(sock)}{PATH}"
