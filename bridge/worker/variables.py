"""The variables of a namespace for people: types, short texts, estimates of size."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple

from bridge.worker.values import bounded_repr

SHORT_CHARS = 80

SHORT_S = 2.0
"""All short texts of one answer together: code of the user's own types runs in them."""

SHORT_EACH_S = 0.2

SIZED_MAX = 100_000
"""Objects that are looked at for one variable's size."""


class Variable(NamedTuple):
    """One variable; `size` in bytes."""

    name: str
    type: str
    repr: str
    size: int


def short_repr(value: object, until: float) -> str:
    """The value's repr on one line; `…` after that time (of `monotonic`)."""
    seconds = min(SHORT_EACH_S, until - monotonic())
    if seconds <= 0:
        return "…"
    whole = "None" if value is None else bounded_repr(value, 4 * SHORT_CHARS, seconds)
    text = " ".join(whole.split())
    return text if len(text) <= SHORT_CHARS else f"{text[: SHORT_CHARS - 1]}…"


def variables_of(namespace: Mapping[str, object], *, texts: bool = True) -> list[Variable]:
    """Each variable, by name."""
    until = monotonic() + SHORT_S
    found = []
    for name in sorted(name for name in namespace if isinstance(name, str)):
        value = namespace[name]
        text = short_repr(value, until) if texts else ""
        kind, shown = type(value), name.encode(errors="replace").decode()
        found.append(
            Variable(shown, f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), text, size_of(value))
        )
    return found


def size_of(value: object) -> int:
    """An estimate in bytes: the object, its buffer, and what containers hold, each object once."""
    seen: set[int] = set()
    left = [value]
    total = 0
    while left and len(seen) < SIZED_MAX:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        total += _own_size(one)
        kind = type(one)
        if kind in (list, tuple, set, frozenset):
            left.extend(one)  # type: ignore[arg-type]
        elif kind is dict:
            left.extend(one.keys())  # type: ignore[attr-defined]
            left.extend(one.values())  # type: ignore[attr-defined]
        elif kind.__module__ == "__main__" and type(getattr(one, "__dict__", None)) is dict:
            left.append(one.__dict__)
    return total


def _own_size(value: object) -> int:
    try:
        own = sys.getsizeof(value)
        held = getattr(value, "nbytes", 0) if type(value).__module__ != "__main__" else 0
        return max(own, held if isinstance(held, int) else 0)
    except Exception:  # a type whose __sizeof__ or properties raise
        return 0
