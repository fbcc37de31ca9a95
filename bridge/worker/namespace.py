"""The live namespace: one real module `__main__`, whose dict is never replaced, and its history (E2, E8)."""

from __future__ import annotations

import builtins
import sys
import types

ENGINE_INTERNALS = frozenset(
    {"_", "__", "___", "_i", "_ii", "_iii", "Out", "In", "_oh", "_ih", "_exit_code", "_exception"}
)
"""Names that the engine owns: not settable as inputs, kept by merges."""

HISTORY_MAX = 1_000
"""Values and sources kept; older ones would keep every value a session ever had alive."""

type Namespace = dict[str, object]


def initial_internals() -> Namespace:
    """Fresh values of the engine's names (P56); Out and _oh, In and _ih are one object each."""
    values: Namespace = dict.fromkeys(ENGINE_INTERNALS)
    values["Out"] = values["_oh"] = {}
    values["In"] = values["_ih"] = []
    return values


def make_main() -> Namespace:
    """Install a fresh module `__main__` and return its dict, the namespace."""
    module = types.ModuleType("__main__")
    namespace = module.__dict__
    namespace["__builtins__"] = builtins
    namespace.update(initial_internals())
    sys.modules["__main__"] = module
    return namespace


class History:
    """`_`, `__`, `___`, `Out`, `In`, `_i`…: what the interactive interpreter keeps."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def record_source(self, code: str) -> None:
        """A cell begins: `In[-1]` is its code, `_i` the code before it."""
        names = self._namespace
        sources = names.get("_ih")
        if not isinstance(sources, list):
            sources = names["_ih"] = names["In"] = []
        names["_iii"], names["_ii"], names["_i"] = names.get("_ii"), names.get("_i"), sources[-1] if sources else None
        sources.append(code)
        if len(sources) > HISTORY_MAX:
            sources[-HISTORY_MAX - 1] = ""  # positions hold

    def record_value(self, value: object) -> None:
        """An expression's value, not None: shift `_` and file it under the cell's number."""
        names = self._namespace
        names["___"], names["__"], names["_"] = names.get("__"), names.get("_"), value
        values, sources = names.get("_oh"), names.get("_ih")
        if isinstance(values, dict) and isinstance(sources, list):
            number = len(sources)
            values[number] = value
            values.pop(number - HISTORY_MAX, None)
