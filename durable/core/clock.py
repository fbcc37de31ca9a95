"""Time as a parameter: whoever needs a clock takes one, and defaults to the real one."""

from __future__ import annotations

import time
from collections.abc import Callable

type Clock = Callable[[], int]
"""Reads the wall clock: milliseconds since the Unix epoch."""

TIME_MAX_MS = 2**53 - 1
"""The deadline of what has none: the largest integer that every JSON reader keeps exact."""


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000
