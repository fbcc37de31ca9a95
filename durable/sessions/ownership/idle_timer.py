"""When a session's worker is ended for want of work: a while after its code began to wait, or after its last cell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from durable.core.background import beside
from durable.sessions.services import House

RUNS = "its code runs"
"""Why a session keeps its worker, where it needs no saying; so where it has none."""


class Resting:
    """At most one timer: the next one, or `cancel`, takes the place of the one before."""

    def __init__(self, house: House) -> None:
        self.since = 0.0
        """When its code last began to wait, or ended: a time of the loop's."""
        self._house = house
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float, end: Callable[[], Awaitable[None] | None]) -> None:
        """Call `end` then. It looks whether there still is a reason, and returns what to await, or None."""
        self.cancel()

        def over() -> None:
            work = end()
            if work is not None:
                beside(_awaited(work))

        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self._timer = loop.call_later(seconds, over)
        self._house.rested()

    def cancel(self) -> None:
        """There is work again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _awaited(work: Awaitable[None]) -> None:
    await work
