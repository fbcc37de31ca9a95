"""Rates: a bucket that fills at `per_s`, holds one second's worth, and may go into debt. Time is given in seconds."""

from __future__ import annotations


class Bucket:
    """How long to wait before so much may be used. What is taken is taken at once; the wait pays for it."""

    __slots__ = ("_at_s", "_left", "per_s")

    def __init__(self, per_s: float, now_s: float) -> None:
        assert per_s > 0
        self.per_s = per_s
        self._left = per_s
        self._at_s = now_s

    def take(self, amount: float, now_s: float) -> float:
        """Take it, and say for how many seconds the taker has to wait: 0 while there was enough."""
        self._left = min(self.per_s, self._left + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s
        self._left -= amount
        return max(0.0, -self._left / self.per_s)
