"""How many sessions are taken up at a time (specs/session.md, O12)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from durable.core.errors import EngineClosed

ENTERING_MAX = 16
"""Sessions that may be on their way to a worker: read, forked or waiting for a place, restored. More at a time are no
faster; each has some 50 KB of this process on its way, one that waits here the place in a queue."""


class Entrance:
    """A queue before a number of places, each held until its session has its worker, or gives up."""

    def __init__(self, places: int = ENTERING_MAX) -> None:
        self._free = places
        self._queue: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def enter(self) -> Callable[[], None]:
        """Wait for a place, in order; returns what gives it back, once however often it is called. EngineClosed."""
        if self._closed:
            raise EngineClosed("the engine is closed")
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.exception() is None:
                    self._next()  # it came in the same breath
                raise
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._next()

        return leave

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Raise EngineClosed for everybody who waits."""
        self._closed = True
        for turn in self._queue:
            if not turn.done():
                turn.set_exception(EngineClosed("the engine was closed while a session waited for its turn"))
        self._queue.clear()
