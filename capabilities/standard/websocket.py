"""`websocket`: a connection that lives in the engine, by a handle. It does not outlive its engine or its session."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import aiohttp
from pydantic import Field

from capabilities.call import CapabilityCall
from capabilities.capability import Capability, Kind
from capabilities.permissions.levels import Resource
from capabilities.standard.pinned_connection import (
    Lookup,
    PinnedResolver,
    client,
    parse_url,
    refusal_in,
    resource_of,
    system_lookup,
)
from durable.core.errors import BadArguments

OPEN_MAX = 16
"""Connections of one session."""
MESSAGE_BYTES_MAX = 2**20
CONNECT_S = 30.0
SCHEMES = ("ws", "wss")


class _Connection:
    """An open one, and the client that it belongs to."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, where: str) -> None:
        self.session, self.socket, self.where = session, socket, where

    async def close(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(5.0):
                await self.socket.close()
        await self.session.close()


class WebSocket(Capability):
    """WebSockets to granted hosts: ws = websocket(url), then websocket.send(ws, text), websocket.receive(ws).

    The connection ends with its engine: a replay has what was received, and a new call on it raises ConnectionError.
    """

    name = "websocket"
    kind: Kind = "streaming"
    also = ("send", "receive", "close")

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        super().__init__()

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        if call.method:
            return ()
        return (resource_of(parse_url(call.arguments["url"], SCHEMES), "connect"),)

    async def call(self, call: CapabilityCall, url: str) -> str:
        """Connect; returns a handle for websocket.send, receive and close."""
        known = _known(call)
        if len(known) >= OPEN_MAX:
            raise BadArguments(f"{OPEN_MAX} connections are open; close one")
        target = parse_url(url, SCHEMES)
        network = call.policy.manifest.network
        resolver = PinnedResolver(self._lookup, network.private, unchecked=call.policy.development)
        assert target.host is not None
        session = client(resolver, CONNECT_S, redirects=False)
        try:
            resolver.check_literal(target.host)
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    target, max_msg_size=MESSAGE_BYTES_MAX, timeout=aiohttp.ClientWSTimeout(ws_close=5.0)
                )
        except BaseException as error:
            await session.close()
            refusal = refusal_in(error)
            if refusal is not None:
                raise refusal from None
            if isinstance(error, aiohttp.ClientError | OSError) and not isinstance(error, TimeoutError):
                raise ConnectionError(f"{url[:200]!r}: {error}") from None
            raise
        handle = call.key or f"unjournaled-{len(known)}"
        known[handle] = _Connection(session, socket, url)
        return handle

    async def call_send(self, call: CapabilityCall, handle: str, text: str) -> None:
        """Send a text message."""
        connection = _open(call, handle)
        await call.pace(len(text))
        try:
            await connection.socket.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(f"{connection.where}: {error}") from None

    async def call_receive(
        self, call: CapabilityCall, handle: str, *, timeout: Annotated[float, Field(gt=0)] = 30.0
    ) -> str | None:
        """The next text message, waiting for it so many seconds (TimeoutError); None when the other side closed."""
        connection = _open(call, handle)
        async with asyncio.timeout(timeout):
            message = await connection.socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            text: str = message.data
            await call.pace(len(text))
            return text
        if message.type is aiohttp.WSMsgType.BINARY:
            raise ValueError("the other side sent bytes; only text can be received")
        await self.call_close(call, handle)
        return None

    async def call_close(self, call: CapabilityCall, handle: str) -> None:
        """End the connection; nothing when it is closed already."""
        found = _known(call).pop(handle, None)
        if found is not None:
            await found.close()

    async def forget(self, state: dict[str, Any]) -> None:
        known: dict[str, _Connection] = state.pop("websocket", {})
        await asyncio.gather(*(connection.close() for connection in known.values()))


def _known(call: CapabilityCall) -> dict[str, _Connection]:
    found: dict[str, _Connection] = call.state.setdefault("websocket", {})
    return found


def _open(call: CapabilityCall, handle: str) -> _Connection:
    found = _known(call).get(handle)
    if found is None:
        raise ConnectionError("this connection is closed, or ended with the engine that had it; connect again")
    return found
