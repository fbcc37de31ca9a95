"""Requests that a worker has not answered yet, by the type of the reply and the request's id (W4a)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from bridge.protocol.messages import Message


class Replies:
    """One waiter for each request; a reply that nobody waits for is `unknown`."""

    def __init__(self, unknown: Callable[[str], None]) -> None:
        self._unknown = unknown
        self._open: dict[tuple[type[Message], str], asyncio.Future[Any]] = {}

    def __contains__(self, key: tuple[type[Message], str]) -> bool:
        return key in self._open

    async def wait[R: Message](
        self, reply: type[R], request: str, send: Callable[[], None], guard_s: float | None
    ) -> R:
        """Send the request and wait for its reply. TimeoutError after `guard_s` seconds."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._open[reply, request] = future
        send()
        try:
            async with asyncio.timeout(guard_s):
                return await future
        finally:
            self._open.pop((reply, request), None)

    def came(self, request: str, message: Message) -> None:
        """Hand a reply to its waiter."""
        future = self._open.get((type(message), request))
        if future is None or future.done():
            self._unknown(request)
        else:
            future.set_result(message)

    def open(self) -> Iterable[asyncio.Future[Any]]:
        """The waiters."""
        return self._open.values()
