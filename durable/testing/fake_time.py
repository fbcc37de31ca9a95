"""A clock that stands still until nothing else can go on, and then skips to the next timer (specs/testing.md)."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from durable.core import clock
from durable.core.errors import BadArguments

if TYPE_CHECKING:
    from durable.testing.engine_under_test import EngineUnderTest

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
"""When fake time begins, where a test says nothing else: a Tuesday, at midnight."""


class FakeTime:
    """The time of all engines of this process, while one of them is open. Engines that share a store share one.

    start: when it begins, with a time zone. Raises BadArguments without one.
    """

    def __init__(self, start: datetime = BEGIN) -> None:
        if start.tzinfo is None:
            raise BadArguments(f"start needs a time zone: write {start!r} with tzinfo=UTC")
        self._begin_ms = self._now_ms = int(start.timestamp() * 1000)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._users: list[EngineUnderTest] = []
        self._on_move: list[Callable[[], None]] = []

    @property
    def now(self) -> datetime:
        """The time that it is, in UTC."""
        return datetime.fromtimestamp(self._now_ms / 1000, UTC)

    @property
    def elapsed(self) -> timedelta:
        """The time that has passed since it began."""
        return timedelta(milliseconds=self._now_ms - self._begin_ms)

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return self._now_ms

    async def sleep(self, delay_s: float) -> None:
        """Return when so much of this time has passed."""
        wakes: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_ms + int(delay_s * 1000), next(self._numbers), wakes))
        await wakes

    @property
    def sleeping(self) -> int:
        """How many wait in `sleep`."""
        self._drop_done()
        return len(self._sleepers)

    @property
    def next_sleeper_ms(self) -> int | None:
        """When the first of those wakes."""
        self._drop_done()
        return self._sleepers[0][0] if self._sleepers else None

    def move_to(self, now_ms: int) -> None:
        """Let time pass until then, and wake who slept until then. It never goes back."""
        self._now_ms = max(self._now_ms, now_ms)
        while self._sleepers and (self._sleepers[0][0] <= self._now_ms or self._sleepers[0][2].done()):
            wakes = heapq.heappop(self._sleepers)[2]
            if not wakes.done():
                wakes.set_result(None)
        for told in list(self._on_move):
            told()

    def enter(self, user: EngineUnderTest, told: Callable[[], None]) -> None:
        """Become the time of this process, as long as somebody uses it. `told` is called when it moves. Conflict."""
        before = clock.other()
        if isinstance(before, FakeTime) and before is not self and all(each.is_left for each in before._users):
            clock.restore()  # of a test that did not close its engine
        clock.replace(self)
        self._users.append(user)
        self._on_move.append(told)

    def leave(self, user: EngineUnderTest) -> None:
        """Be used by one less; after the last one the process has the real clock again. Idempotent."""
        if user in self._users:
            place = self._users.index(user)
            del self._users[place], self._on_move[place]
            if not self._users:
                clock.restore()

    @property
    def engines(self) -> list[EngineUnderTest]:
        """The engines that run by it and are open."""
        return [each for each in self._users if each.is_open]

    def _drop_done(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
