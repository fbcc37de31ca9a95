"""The room of an engine for passes that stay in memory while they only wait for children which run there.

Such a pass goes on when a child ends, without a suspension, a lease and a replay of its own (specs/execution.md, R12).
It holds the place that it ran in, so few may stay, and not for long after the last child's end.
"""

from __future__ import annotations

from durable.functions.resonate.lease_keeper import HeldTasks
from durable.store.operations.execution_slots import Slots

STAY_LOOK_S = 0.05
"""How often a pass that stays looks whether a child of it runs here."""

STAY_IDLE_S = 0.2
"""How long it stays while none does: one may have ended and the next not have begun."""

STAY_QUIET_S = 5.0
"""How long a pass stays after the last child's end: of longer children a replay costs little."""

STAY_PLACES_MIN = 8
"""Of so many places of an engine one at most is held by a pass that stays: the others are for what runs."""


class StayRoom:
    """How many passes stay, and whether one stays on."""

    def __init__(self, held: HeldTasks, slots: Slots) -> None:
        self._held = held
        self._slots = slots
        self._staying = 0

    def enter(self) -> bool:
        """Let a pass stay, where there is room for it."""
        if self._staying >= self._slots.count // STAY_PLACES_MIN:
            return False
        self._staying += 1
        return True

    def leave(self) -> None:
        """A pass stays no more."""
        self._staying -= 1

    def runs(self, execution: str) -> bool:
        """Whether the execution with this promise runs on this engine now."""
        return self._held.runs(execution)

    def goes_on(self, quiet_s: float, idle_s: float) -> bool:
        """Whether a pass stays on. quiet_s: seconds since it heard of a child's end; idle_s: since one ran here."""
        return quiet_s < STAY_QUIET_S and idle_s < STAY_IDLE_S and self._slots.count > 0
