"""Time as a parameter: whoever needs a clock takes one, and defaults to the real one.

A test may put another clock in place of that of this process (`durable.testing`): then `now_ms` is its time, and
delays that an engine itself waits for are its too. Code of steps and workers of sessions keep the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from durable.core.errors import Conflict

type Clock = Callable[[], int]
"""Reads the wall clock: milliseconds since the Unix epoch."""

TIME_MAX_MS = 2**53 - 1
"""The deadline of what has none: the largest integer that every JSON reader keeps exact."""


class OtherClock(Protocol):
    """A clock in place of the real one."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""

    async def sleep(self, delay_s: float) -> None:
        """Return when so much of its time has passed."""


_other: OtherClock | None = None


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000 if _other is None else _other.now_ms()


async def sleep(delay_s: float) -> None:
    """Wait as `asyncio.sleep` does, by the clock of this process."""
    import asyncio  # not for whoever only wants the time

    await (asyncio.sleep(delay_s) if _other is None else _other.sleep(delay_s))


def is_replaced() -> bool:
    """Whether another clock stands in place of the real one."""
    return _other is not None


def replace(clock: OtherClock) -> None:
    """Put a clock in place of the real one, for all of this process. Conflict when another one is there."""
    global _other
    if _other is not None and _other is not clock:
        raise Conflict("this process has another clock already: engines that run together share one fake time")
    _other = clock


def other() -> OtherClock | None:
    """The clock in place of the real one."""
    return _other


def restore() -> None:
    """Go back to the real clock."""
    global _other
    _other = None
