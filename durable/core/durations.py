"""Durations as users give them: seconds or a timedelta, and how long executions are kept once they have ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, get_args

from durable.core.errors import BadArguments

SECONDS_MAX = 1000 * 366 * 86_400.0
"""A thousand years: longer ones are a mistake in the unit, and do not fit into a timedelta at some point."""

type EndedState = Literal["completed", "failed", "lost", "cancelled", "timed_out"]
type ExecutionAge = float | timedelta | Mapping[EndedState, float | timedelta | None]
"""Seconds or a timedelta for every state, or by state; None in it is for ever."""

STATES: tuple[str, ...] = get_args(EndedState.__value__)
EVERY_FUNCTION = "*"
"""In place of a function's id: those without a rule of their own."""


def retention_rules(given: ExecutionAge, where: str) -> dict[str, int | None]:
    """Milliseconds by state; None is for ever. `where` names what it was given to. BadArguments."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(STATES, _milliseconds(given, where))
    unknown = [state for state in given if state not in STATES]
    if unknown:
        raise BadArguments(f"{where}: retention is by {', '.join(STATES)}; {unknown[0]!r} is none of them")
    return {state: None if age is None else _milliseconds(age, where) for state, age in given.items()}


def _milliseconds(age: object, where: str) -> int:
    found = age.total_seconds() if isinstance(age, timedelta) else age
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= SECONDS_MAX:
        raise BadArguments(
            f"{where}: retention is seconds or a timedelta, from 0 to a thousand years, or these by state, not {age!r}"
        )
    return int(found * 1000)


def seconds(value: float | timedelta | None) -> float | None:
    """A duration given as seconds or timedelta, in seconds; BadArguments when it is none, negative or without end."""
    if value is None:
        return None
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise BadArguments(f"a duration is seconds or a timedelta, not {value!r}")
    if found < 0:
        raise BadArguments(f"a duration cannot be negative: {value!r}")
    if not found <= SECONDS_MAX:
        raise BadArguments(f"a duration is at most a thousand years, not {value!r}; without a limit it is None")
    return float(found)
