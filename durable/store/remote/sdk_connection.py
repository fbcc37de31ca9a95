"""The SDK's own HTTP and event-stream connections to a served store, as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from resonate.connections.http import HttpConnection
from resonate.connections.sse import SSEConnection

from durable.core.errors import StoreFull
from durable.core.limits import ROOM_LOOK_S
from durable.core.retries import Retries
from durable.store.protocol.waiting_requests import NO_ROOM, PATIENT
from durable.store.remote.client import RETRY_FIRST_S, RETRY_MAX_S
from durable.store.sdk_connection import for_python


class _Head(msgspec.Struct):
    status: int = 0


class _Envelope(msgspec.Struct):
    kind: str = ""
    head: _Head = msgspec.field(default_factory=_Head)
    data: Any = None


PART_CHARS = 2**18
"""A longer body goes in parts of this length."""

_HEAD_CHARS = 1_000
"""A reply that says no is not longer before its status."""

_envelope = msgspec.json.Decoder(_Envelope)


class RemoteConnection:
    """`Network` and `Source` at the address `poll://uni@<group>/<engine id>`.

    `before` is awaited before each request: what the engine posted by other ways commits first (specs/http.md, H2).
    """

    def __init__(
        self,
        url: str,
        token: str,
        engine_id: str,
        group: str,
        *,
        before: Callable[[], Coroutine[None, None, None]],
        on_full: Callable[[StoreFull], None],
    ) -> None:
        """on_full: told, each time, that a request waits for room on the server's disk."""
        retries = Retries(RETRY_FIRST_S, RETRY_MAX_S)
        self._http = HttpConnection(url, auth=token or None, backoff=retries)
        self._events = SSEConnection(url, pid=engine_id, group=group, auth=token or None, backoff=retries)
        self._before = before
        self._on_full = on_full
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
        """Send one envelope, repeated while the server cannot be reached; ConnectorError at once after `stop`.

        One that records what an engine runs is repeated while there is no room on the server's disk, too (W6).
        """
        while True:
            if not self._stopped.is_set():
                await self._ordered()
            reply = for_python(await self._http.send(_body(req), headers))
            full = _no_room(req, reply)
            if full is None or self._stopped.is_set():
                return reply
            self._on_full(full)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), ROOM_LOOK_S)

    async def _ordered(self) -> None:
        before = asyncio.ensure_future(self._before())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait([before, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            before.cancel()
            stopped.cancel()


class _Parts:
    """A large body in parts: in one piece it would stop the loop while it is copied. Each try iterates anew."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._text), PART_CHARS):
            yield self._text[start : start + PART_CHARS].encode()


def _body(request: str) -> Any:
    return request if len(request) <= PART_CHARS else _Parts(request)


def _no_room(request: str, reply: str) -> StoreFull | None:
    """The server's want of room, where the request is one that waits for it."""
    if str(NO_ROOM) not in reply[:_HEAD_CHARS]:
        return None
    try:
        said = _envelope.decode(reply)
        waits = said.head.status == NO_ROOM and _envelope.decode(request).kind in PATIENT
    except msgspec.MsgspecError:
        return None
    return StoreFull(str(said.data)) if waits else None
