"""A fair queue: as many begin beside those under way as fit, the others in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """The queue of one event loop. `used`: what those that are under way have taken."""

    def __init__(self) -> None:
        self.used = 0
        self._waiting: deque[tuple[int, int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, most: int, wait_s: float | None = None) -> None:
        """Wait until `used` is at most `most` with this one, and take it. TimeoutError."""
        if not self._waiting and self.used + size <= most:
            self.used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (size, most, turn)
        self._waiting.append(place)
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.used -= size  # it had its turn, and does not take it
            else:
                self._waiting.remove(place)
            self._admit()
            raise

    def give(self, size: int) -> None:
        """Give back what was taken, at the end."""
        self.used -= size
        assert self.used >= 0
        self._admit()

    def _admit(self) -> None:
        """In their order: a large one is not passed by small ones for ever."""
        while self._waiting:
            size, most, turn = self._waiting[0]
            if turn.cancelled():
                return  # it goes by itself, and then admits
            if self.used + size > most:
                return
            self._waiting.popleft()
            self.used += size
            turn.set_result(None)
