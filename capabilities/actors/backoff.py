"""Backoff between restarts: one policy; what the requirements give three times are its presets (A58, A59, A60, D10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from capabilities.actors.errors import InvalidSupervision

type Growth = Literal["immediate", "linear", "exponential"]

EXPONENT_MAX = 10
"""The exponent of the actor preset stops growing there."""

DELAY_S_MAX = 24 * 3600.0
"""A day: an actor that rests longer than that is stopped."""


def is_number(value: object) -> bool:
    """Whether a policy may have it for a number: a bool is a slip of whoever wrote it."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before a restart, and how many restarts are allowed within how many seconds.

    `jitter` from 0 to 1: the part of the delay that chance may add or take. Raises InvalidSupervision.
    """

    growth: Growth = "exponential"
    base_s: float = 0.1
    factor: float = 2.0
    delay_max_s: float = 60.0
    jitter: float = 0.0
    max_restarts: int = 5
    within_s: float = 60.0

    def __post_init__(self) -> None:
        if self.growth not in ("immediate", "linear", "exponential"):
            raise InvalidSupervision(f"backoff grows 'immediate', 'linear' or 'exponential', not {self.growth!r}")
        for name, least, most in (
            ("base_s", 0.0, DELAY_S_MAX),
            ("factor", 1.0, 1e6),
            ("delay_max_s", 0.0, DELAY_S_MAX),
            ("jitter", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not is_number(value) or not least <= value <= most:
                raise InvalidSupervision(f"backoff: {name} is from {least:g} to {most:g}, not {value!r}")
        if isinstance(self.max_restarts, bool) or not isinstance(self.max_restarts, int) or self.max_restarts < 0:
            raise InvalidSupervision(f"max_restarts is a whole number from 0, not {self.max_restarts!r}")
        if not is_number(self.within_s) or not 0 < self.within_s <= 1e9:
            raise InvalidSupervision(f"the window of restarts is seconds, more than 0, not {self.within_s!r}")

    def delay_s(self, attempt: int, chance: float = 0.5) -> float:
        """The delay before a restart. attempt: restarts in the window before it. chance: 0 to 1, for the jitter."""
        match self.growth:
            case "immediate":
                found = 0.0
            case "linear":
                found = self.base_s * max(attempt, 1)
            case "exponential":
                found = self.base_s * self.factor ** min(attempt, EXPONENT_MAX)
        found = min(found, self.delay_max_s)
        return max(0.0, min(found * (1 + self.jitter * (2 * chance - 1)), self.delay_max_s))


ACTOR = Backoff()
"""A58: 5 restarts in 60 s, 100 ms doubled, at most 60 s."""

COMPONENT = Backoff(factor=1.5, delay_max_s=30.0, max_restarts=3)
"""A59: 3 restarts in 60 s, 100 ms by 1.5, at most 30 s."""

JITTERED = Backoff(delay_max_s=5.0, jitter=0.1)
"""A60: 5 restarts in 60 s, 100 ms doubled, at most 5 s, a tenth of it by chance."""

IMMEDIATE = Backoff(growth="immediate")
LINEAR = Backoff(growth="linear")

PRESETS = {
    "exponential": ACTOR,
    "component": COMPONENT,
    "jittered": JITTERED,
    "immediate": IMMEDIATE,
    "linear": LINEAR,
}
"""By the word that users write."""


def backoff_of(given: str | Backoff) -> Backoff:
    """A policy by its word, or itself; InvalidSupervision names the words."""
    if isinstance(given, Backoff):
        return given
    found = PRESETS.get(given) if isinstance(given, str) else None
    if found is None:
        raise InvalidSupervision(f"there is no backoff {given!r}: it is one of {', '.join(PRESETS)}, or a Backoff")
    return found
