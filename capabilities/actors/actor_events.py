"""Events of actors for whoever watches them, in memory and bounded (A68)."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

EVENTS_KEPT = 1000
SNAPSHOT_S = 60.0


class Severity(IntEnum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    CRITICAL = 5


SEVERITIES = {
    "child_started": Severity.INFO,
    "child_stopped": Severity.INFO,
    "child_failed": Severity.ERROR,
    "child_restarted": Severity.WARNING,
    "restart_limit_exceeded": Severity.CRITICAL,
    "health_healthy": Severity.INFO,
    "health_degraded": Severity.WARNING,
    "health_unhealthy": Severity.ERROR,
    "message": Severity.TRACE,
}
"""By what happened."""


@dataclass(frozen=True, slots=True)
class ActorEventRecord:
    time_s: float
    what: str
    actor: str
    detail: str = ""

    @property
    def severity(self) -> Severity:
        return SEVERITIES.get(self.what, Severity.INFO)


@dataclass(frozen=True, slots=True)
class MonitoringSnapshot:
    time_s: float
    counts: dict[Severity, int]
    kept: int


class MonitoringSink(Protocol):
    """Takes events; never raises."""

    def take(self, event: ActorEventRecord) -> None: ...


class NoSink:
    """Takes events and keeps nothing."""

    def take(self, event: ActorEventRecord) -> None:
        """Do nothing."""


class MemorySink:
    """The newest EVENTS_KEPT events from a severity on, and counts of all."""

    def __init__(self, least: Severity = Severity.INFO, kept: int = EVENTS_KEPT) -> None:
        self._least = least
        self._events: deque[ActorEventRecord] = deque(maxlen=kept)
        self._counts: Counter[Severity] = Counter()
        self._snapshot: MonitoringSnapshot | None = None

    def take(self, event: ActorEventRecord) -> None:
        """Count it, and keep it where it is severe enough."""
        severity = event.severity
        self._counts[severity] += 1
        if severity >= self._least:
            self._events.append(event)

    def events(self) -> list[ActorEventRecord]:
        """The events that are kept, the newest first."""
        return list(reversed(self._events))

    def snapshot(self, now_s: float) -> MonitoringSnapshot:
        """The counts, looked at again every SNAPSHOT_S."""
        if self._snapshot is None or now_s - self._snapshot.time_s >= SNAPSHOT_S:
            counts = {severity: self._counts[severity] for severity in Severity}
            self._snapshot = MonitoringSnapshot(now_s, counts, len(self._events))
        return self._snapshot
