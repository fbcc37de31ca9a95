"""Restarts that happened: the window that limits them, and the ring that tells of them (A58, A60, A61)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

HISTORY_KEPT = 100
"""Records of restarts: the newest (A61)."""

LIMIT_HITS_MAX = 5
"""Refusals after which a child has failed for good (A60)."""


class RestartReason(StrEnum):
    COMPONENT_FAILURE = "component_failure"
    HEALTH_CHECK_FAILED = "health_check_failed"
    MANUAL_RESTART = "manual_restart"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart: the how manieth, when (s), why, and the delay before it (s)."""

    attempt: int
    time_s: float
    reason: RestartReason
    delay_s: float


@dataclass(frozen=True, slots=True)
class Allowed:
    """A restart may happen. attempt: restarts in the window before it."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A restart may not happen. earliest_s: when the window has room again; None when it has failed for good."""

    earliest_s: float | None


@dataclass(slots=True)
class RestartWindow:
    """At most so many restarts within so many seconds; older ones count no more."""

    max_restarts: int
    within_s: float
    times: deque[float] = field(default_factory=deque)
    """Restarts in the window, the oldest first (s)."""
    hits: int = 0
    failed: bool = False
    """For good: after LIMIT_HITS_MAX refusals, or by hand."""

    def ask(self, now_s: float) -> Allowed | Refused:
        """Whether a restart may happen now; one that may is counted."""
        while self.times and abs(now_s - self.times[0]) >= self.within_s:  # a clock may be set back, too
            self.times.popleft()
        if self.failed:
            return Refused(None)
        if len(self.times) < self.max_restarts:
            self.times.append(now_s)
            return Allowed(len(self.times) - 1)
        self.hits += 1
        self.failed = self.hits >= LIMIT_HITS_MAX
        return Refused(None if self.failed or not self.times else self.times[0] + self.within_s)

    def fail(self) -> None:
        """Allow no more restarts until `reset`."""
        self.failed = True

    def reset(self) -> None:
        """Begin anew, as after a recovery."""
        self.times.clear()
        self.hits, self.failed = 0, False


class RestartHistory:
    """The newest HISTORY_KEPT restarts."""

    def __init__(self, records: Iterable[Restart] = ()) -> None:
        self._records: deque[Restart] = deque(records, maxlen=HISTORY_KEPT)

    def add(self, restart: Restart) -> None:
        """Note one."""
        self._records.append(restart)

    def newest(self) -> list[Restart]:
        """All that are kept, the newest first."""
        return list(reversed(self._records))

    def rate(self, now_s: float, within_s: float) -> float:
        """Restarts a second within the last seconds."""
        return sum(1 for each in self._records if now_s - each.time_s < within_s) / within_s

    def reset(self) -> None:
        """Forget them, as after a recovery."""
        self._records.clear()
