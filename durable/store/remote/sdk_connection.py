"""The SDK's own HTTP and event-stream connections to a served store, as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from resonate.connections.http import HttpConnection
from resonate.connections.sse import SSEConnection

from durable.core.retries import Retries
from durable.store.remote.client import RETRY_FIRST_S, RETRY_MAX_S
from durable.store.sdk_connection import for_python


class RemoteConnection:
    """`Network` and `Source` at the address `poll://uni@<group>/<engine id>`.

    `before` is awaited before each request: what the engine posted by other ways commits first (specs/http.md, H2).
    """

    def __init__(
        self, url: str, token: str, engine_id: str, group: str, *, before: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        retries = Retries(RETRY_FIRST_S, RETRY_MAX_S)
        self._http = HttpConnection(url, auth=token or None, backoff=retries)
        self._events = SSEConnection(url, pid=engine_id, group=group, auth=token or None, backoff=retries)
        self._before = before
        self._started = False
        self._stopped = asyncio.Event()

    def unicast(self) -> str:
        """Where this process alone is reached."""
        return self._events.unicast()

    def resolve_target(self, target: str) -> str:
        """The address of a group, or of one preferred engine in it (`group/engine`)."""
        return self._events.resolve_target(target)

    def recv(self, callback: Callable[[str], None]) -> None:
        """Register a receiver of pushed messages; to be called before `start`."""
        self._events.recv(callback)

    async def start(self) -> None:
        """Begin to take messages. The SDK starts its network and its source: this is both."""
        if not self._started:
            self._started = True
            await self._http.start()
            await self._events.start()

    async def stop(self) -> None:
        """Take no more messages, send no more requests: the tasks it holds stay until the engine leaves or dies."""
        self._stopped.set()
        if self._started:
            self._started = False
            await self._events.stop()
            await self._http.stop()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        """Send one envelope, repeated while the server cannot be reached; ConnectorError at once after `stop`."""
        if not self._stopped.is_set():
            await self._ordered()
        return for_python(await self._http.send(req, headers))

    async def _ordered(self) -> None:
        before = asyncio.ensure_future(self._before())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([before, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            before.cancel()
            stopped.cancel()
