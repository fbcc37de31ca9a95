"""Health of components: derived from their state, counted over their checks (A66, A67)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capabilities.actors.backoff import is_number
from capabilities.actors.errors import InvalidSupervision
from capabilities.actors.states import ComponentState, HealthEvent, HealthState, step_health

CHECK_INTERVAL_S = 5.0
FAILURES_MAX = 3
"""Checks in a row that fail before a component is unhealthy (A67)."""
CHECK_TIMEOUT_S = 2.0
EVERY_S_MAX = 60.0
"""An actor is at hand in an engine for a minute after its last message: one that is asked less often is never asked."""
CHECK_MS_MAX = 1000
"""A check that took longer finds the component degraded (A66)."""
REASON_CHARS_MAX = 1000
"""What a component says of its health is kept so far."""


@dataclass(frozen=True, slots=True)
class Health:
    status: HealthState
    reason: str = ""


def health_of(state: ComponentState, *, instance: bool = True) -> Health:
    """The health that a component has by its state. instance: whether there is a runtime of it."""
    match state:
        case ComponentState.READY if instance:
            return Health(HealthState.HEALTHY)
        case ComponentState.READY:
            return Health(HealthState.UNHEALTHY, "it is ready and has no runtime")
        case ComponentState.FAILED | ComponentState.TERMINATED:
            return Health(HealthState.UNHEALTHY, f"it is {state}")
        case _:
            return Health(HealthState.DEGRADED, f"it is {state}")


def checked(said: Health, took_ms: float) -> Health:
    """The outcome of a check that took so long."""
    if said.status is HealthState.HEALTHY and took_ms > CHECK_MS_MAX:
        return Health(HealthState.DEGRADED, f"its check took {took_ms:.0f} ms")
    return said


def read_health(value: Any) -> Health:
    """Read what an actor says of its health: nothing, True or 0 is healthy; 1 degraded; False or 2 unhealthy; a text is
    degraded, and says why; or a report, {"status", "reason"}. ValueError for anything else.
    """
    match value:
        case None | True:
            return Health(HealthState.HEALTHY)
        case False:
            return Health(HealthState.UNHEALTHY, "it says so")
        case int() if 0 <= value < len(_BY_NUMBER):
            return Health(_BY_NUMBER[value], "it says so" if value else "")
        case str():
            return Health(HealthState.DEGRADED, value)
        case {"status": str(status), "reason": reason} if status in HealthState:
            return Health(HealthState(status), str(reason or ""))
    raise ValueError(f"{value!r} says nothing of its health: that is 0, 1 or 2, a bool, a text, or a report")


_BY_NUMBER = (HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY)


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """Options of health checks: how often an actor is asked, and when it is to be restarted (A67). InvalidSupervision.

    every, timeout: s. A check that does not end in time has failed. failures: so many in a row are a restart.
    """

    every: float = CHECK_INTERVAL_S
    timeout: float = CHECK_TIMEOUT_S
    failures: int = FAILURES_MAX

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("timeout", self.timeout)):
            if not is_number(value) or not 0 < value <= EVERY_S_MAX:
                raise InvalidSupervision(
                    f"health checks: {name} is seconds, more than 0 and at most {EVERY_S_MAX:g}, not {value!r}"
                )
        if isinstance(self.failures, bool) or not isinstance(self.failures, int) or self.failures < 1:
            raise InvalidSupervision(f"health checks: failures is a whole number from 1, not {self.failures!r}")

    def monitor(self) -> HealthMonitor:
        """The count of an actor's checks."""
        return HealthMonitor(self.failures, self.every)


@dataclass(slots=True)
class HealthMonitor:
    """Counts failed checks in a row; at the threshold the component is unhealthy and to be restarted."""

    threshold: int = FAILURES_MAX
    interval_s: float = CHECK_INTERVAL_S
    state: HealthState = HealthState.UNKNOWN
    failures: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.threshold < 1 or self.interval_s <= 0:
            raise InvalidSupervision("a health monitor counts at least 1 failure, at intervals of more than 0 s")

    def take(self, outcome: Health | None) -> bool:
        """Count a check; None for one that did not end in time. True when the component is to be restarted now."""
        if outcome is None or outcome.status in (HealthState.UNHEALTHY, HealthState.UNKNOWN):
            self.failures += 1
            self.reason = "its check did not end in time" if outcome is None else _kept(outcome.reason)
            if self.failures < self.threshold:
                return False
            first = self.failures == self.threshold
            self.state = step_health(self.state, HealthEvent.EXHAUST)
            return first
        self.reason = _kept(outcome.reason)
        if outcome.status is HealthState.DEGRADED:  # neither counts nor resets (D10)
            self.state = step_health(self.state, HealthEvent.DEGRADE)
            return False
        self.failures = 0
        self.state = step_health(self.state, HealthEvent.SUCCEED)
        return False

    def reset(self) -> None:
        """Begin anew: the component was restarted."""
        self.failures, self.reason = 0, ""
        self.state = step_health(self.state, HealthEvent.RESET)


def _kept(reason: str) -> str:
    """A reason as it can be stored: of a length, and in UTF-8."""
    return reason[:REASON_CHARS_MAX].encode("utf-8", "replace").decode()
