"""When a session's worker is ended for want of work: a while after its code began to wait, or after its last cell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from durable.sessions.background import beside


class Resting:
    """At most one timer: the next one, or `cancel`, takes the place of the one before."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float, end: Callable[[], Awaitable[None] | None]) -> None:
        """Call `end` then. It looks whether there still is a reason, and returns what to await, or None."""
        self.cancel()

        def over() -> None:
            work = end()
            if work is not None:
                beside(_awaited(work))

        self._timer = asyncio.get_running_loop().call_later(seconds, over)

    def cancel(self) -> None:
        """There is work again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _awaited(work: Awaitable[None]) -> None:
    await work
