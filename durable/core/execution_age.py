"""How long executions are kept once they have ended: what `retention=` takes, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, get_args

from durable.core.errors import BadArguments
from durable.core.limits import AGE_S_MAX

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
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= AGE_S_MAX:
        raise BadArguments(f"{where}: retention is seconds or a timedelta, or these by state, not {age!r}")
    return int(found * 1000)
