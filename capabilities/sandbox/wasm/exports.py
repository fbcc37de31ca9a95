"""Which export a call begins with, and its arguments in order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capabilities.sandbox.errors import ExecutionFailed

ENTRIES = ("run", "main", "_start")
"""The exports that code begins with, the first that is there."""
COMMAND = "wasi:cli/run@"
"""The interface of programs that are components."""

type Inputs = Mapping[str, Any] | Sequence[Any]
"""By the names of parameters, or in their order."""


def entry(exported: Mapping[str, Sequence[str]], what: str) -> str:
    """Where to begin. exported: functions by interface, "" being those without one. ExecutionFailed: "no main"."""
    alone = exported.get("", ())
    for name in ENTRIES:
        if name in alone:
            return name
    for interface, functions in exported.items():
        if interface.startswith(COMMAND) and "run" in functions:
            return f"{interface}#run"
    there = ", ".join(shown(exported)) or "nothing"
    raise ExecutionFailed("main", f"no main: the {what} exports none of {', '.join(ENTRIES)}; there is {there}")


def shown(exported: Mapping[str, Sequence[str]]) -> list[str]:
    """All exports as a caller names them."""
    return sorted(f"{place}#{one}" if place else one for place, ones in exported.items() for one in ones)


def in_order(function: str, params: Sequence[str] | None, inputs: Inputs) -> tuple[Any, ...]:
    """The arguments. params: names of the parameters, None for code whose parameters have none. ExecutionFailed."""
    if not isinstance(inputs, Mapping):
        return tuple(inputs)
    if params is None:
        return tuple(inputs.values())
    given = {name.replace("_", "-"): value for name, value in inputs.items()}
    there = ", ".join(params) or "none"
    unknown = sorted(set(given) - set(params))
    if unknown:
        raise ExecutionFailed(function, f"there is no parameter {unknown[0]!r}; there are {there}")
    missing = [name for name in params if name not in given]
    if missing:
        raise ExecutionFailed(function, f"{missing[0]!r} is not given; its parameters are {there}")
    return tuple(given[name] for name in params)
