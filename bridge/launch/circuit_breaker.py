"""Stops asking for what fails again and again (specs/pool.md, W5). No I/O: the caller brings the time."""

from __future__ import annotations

import msgspec

FAILURES_MAX = 5
"""In a row: one may be chance, five are a machine out of memory or processes."""

PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
"""How long nothing is tried: doubling with each failure after a pause."""


class Breaker(msgspec.Struct):
    """closed -> open after `FAILURES_MAX` failures in a row; open -> half-open when its pause is over; half-open ->
    closed or open again, by what the one attempt does. `last` is why the newest one failed.
    """

    failures: int = 0
    opened_until: float = 0.0
    pause_s: float = 0.0
    trying: bool = False
    last: str = ""

    def closed_for(self, now: float) -> float:
        """Seconds until an attempt is allowed; 0 when it is now. In the half-open state the first caller is."""
        if self.failures < FAILURES_MAX:
            return 0.0
        if now < self.opened_until:
            return self.opened_until - now
        if self.trying:
            return self.pause_s
        self.trying = True
        return 0.0

    def succeeded(self) -> None:
        """An attempt did what it should."""
        self.failures, self.pause_s, self.trying, self.last = 0, 0.0, False, ""

    def failed(self, why: str, now: float) -> None:
        """An attempt did not."""
        self.failures += 1
        self.trying, self.last = False, why
        if self.failures >= FAILURES_MAX:
            self.pause_s = min(PAUSE_MAX_S, 2 * self.pause_s or PAUSE_FIRST_S)
            self.opened_until = now + self.pause_s

    def abandoned(self) -> None:
        """An attempt was cancelled: it says nothing."""
        self.trying = False
