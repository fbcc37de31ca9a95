"""How long to wait before something is tried again: one policy, with its source of chance as a parameter (D10)."""

from __future__ import annotations

import random
from collections.abc import Callable


class Retries:
    """The waits between tries: `first_s`, doubled each time up to `longest_s`, and of that between half and all, so
    that many who failed together do not come back together. Also the SDK's `Backoff` port."""

    def __init__(self, first_s: float, longest_s: float, draw: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._draw = draw

    def delay(self, attempt: int) -> float:
        """Seconds before try `attempt` + 1, counted from 0."""
        longest = min(self._longest_s, self._first_s * 2.0 ** min(attempt, 64))
        return longest * (0.5 + 0.5 * self._draw())
