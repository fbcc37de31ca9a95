"""State machines as tables: a state and an event have one next state, or none where the event cannot come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum


class IllegalTransition(AssertionError):
    """An event came in a state that has no place for it. That is a fault of this program, never of its user."""


def stepper[S: StrEnum, E: StrEnum](subject: str, table: Mapping[tuple[S, E], S]) -> Callable[[S, E], S]:
    """Make `step(state, event)` of a table. subject: names the machine in the error for what the table has not."""

    def step(state: S, event: E) -> S:
        after = table.get((state, event))
        if after is None:
            raise IllegalTransition(f"{subject} that is {state} cannot {event}")
        return after

    return step
