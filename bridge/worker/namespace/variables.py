"""The variables of a namespace for people: types, short texts, estimates of size, completions of a name (E16)."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
import zlib
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import NamedTuple

from bridge.worker.namespace.main_module import Namespace
from bridge.worker.namespace.values import bounded_repr
from bridge.worker.run.sigint_gate import Gate
from durable.core.limits import COMPLETIONS_MAX

SHORT_CHARS = 80


def short_reprs(namespace: Mapping[str, object], names: Iterable[str]) -> dict[str, str]:
    """Of the names that are there, each value's repr on one line; what is cut ends with a checksum of the whole."""
    return {name: _short(namespace[name]) for name in names if name in namespace}


def _short(value: object) -> str:
    text = " ".join(("None" if value is None else bounded_repr(value)).split()).encode(errors="replace").decode()
    if len(text) <= SHORT_CHARS:
        return text
    return f"{text[: SHORT_CHARS - 6]}… {zlib.crc32(text.encode()) & 0xFFFF:04x}"


_DOTTED = re.compile(r"((?:\w+\.)*)(\w*)\Z")


def completions(text: str, namespace: Namespace, gate: Gate) -> list[str]:
    """Sorted names that begin with the dotted name `text`. Those with an underscore only where one was typed.

    Attributes are looked up without running properties; a `__getattr__` or `__dir__` of the user's does run, and SIGINT
    ends it. Nothing is raised: what fails has no completions.
    """
    gate.begin()
    try:
        gate.enter()
        return names_for(text, namespace)
    except BaseException:
        return []
    finally:
        gate.open = False
        gate.end()


def names_for(text: str, namespace: Namespace) -> list[str]:
    """`completions`, and what code of the user's raises."""
    found = _DOTTED.match(text)
    if found is None:
        return []
    path, start = found[1].split(".")[:-1], found[2]
    names = _attributes(path, namespace) if path else {*namespace, *keyword.kwlist, *dir(builtins)}
    fitting = {n for n in names if isinstance(n, str) and n.startswith(start)}
    shown = sorted(n for n in fitting if start.startswith("_") or not n.startswith("_"))
    return [found[1] + name for name in shown[:COMPLETIONS_MAX]]


def _attributes(path: list[str], namespace: Namespace) -> set[str]:
    value: object = namespace[path[0]] if path[0] in namespace else getattr(builtins, path[0])
    for name in path[1:]:
        if isinstance(getattr(type(value), name, None), property):
            return set()
        value = getattr(value, name)
    return set(dir(value))


SHORT_S = 2.0
"""All short texts of one answer together: code of the user's own types runs in them."""

SHORT_EACH_S = 0.2

SIZED_MAX = 100_000
"""Objects that are looked at for one variable's size."""


class NamespaceVariable(NamedTuple):
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


def variables_of(namespace: Mapping[str, object], *, texts: bool = True) -> list[NamespaceVariable]:
    """Each variable, by name."""
    until = monotonic() + SHORT_S
    found = []
    for name in sorted(name for name in namespace if isinstance(name, str)):
        value = namespace[name]
        text = short_repr(value, until) if texts else ""
        kind, shown = type(value), name.encode(errors="replace").decode()
        found.append(
            NamespaceVariable(
                shown, f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), text, size_of(value)
            )
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
