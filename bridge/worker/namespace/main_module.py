"""The live namespace: one real module `__main__`, whose dict is never replaced, and its history (E2, E8)."""

from __future__ import annotations

import builtins
import sys
import types

ENGINE_INTERNALS = frozenset(
    {"_", "__", "___", "_i", "_ii", "_iii", "Out", "In", "_oh", "_ih", "_exit_code", "_exception"}
)
"""Names that the engine owns: not settable as inputs, kept by merges."""

HISTORY_MAX = 100
"""Values and sources kept. They keep their values alive, and every checkpoint of the session looks through them."""

_PLAIN = (int, float, complex, str, bytes)
"""A restore makes equal ones of these, where others come back as one object."""

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


class InteractiveHistory:
    """`_`, `__`, `___`, `Out`, `In`, `_i`…: what the interactive interpreter keeps."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._number = 0
        self._recorded = False

    def reset(self) -> None:
        """Back to what a new session has; its containers stay the objects that code may hold."""
        names = self._namespace
        sources, values = names.get("_ih"), names.get("_oh")
        for held in (sources, values):
            if isinstance(held, list | dict):
                held.clear()
        names.update(initial_internals())
        if isinstance(sources, list) and isinstance(values, dict):
            names.update({"_ih": sources, "In": sources, "_oh": values, "Out": values})
        self._number = 0

    def record_source(self, code: str) -> None:
        """A cell begins: `In[-1]` is its code, `_i` the code before it."""
        names = self._namespace
        sources, values = names.get("_ih"), names.get("_oh")
        if not isinstance(sources, list):
            sources = names["_ih"] = names["In"] = []
        self._number = self.count() + 1
        if hasattr(builtins, "_") and self._is_shown(values):
            names.pop("_", None)  # else it would hide the one that code put there (gettext.install)
        names["_iii"], names["_ii"], names["_i"] = names.get("_ii"), names.get("_i"), sources[-1] if sources else None
        sources.append(code)
        del sources[:-HISTORY_MAX]

    def count(self) -> int:
        """The number of the last cell; of what a restore brought back until one has run here."""
        if self._number == 0:
            sources, values = self._namespace.get("_ih"), self._namespace.get("_oh")
            numbers = [key for key in values if isinstance(key, int)] if isinstance(values, dict) else []
            return max(len(sources) if isinstance(sources, list) else 0, *numbers, 0)
        return self._number

    def record_value(self, value: object) -> None:
        """An expression's value, not None: shift `_`, unless it is the user's, and file it under the cell's number."""
        names = self._namespace
        values = names.get("_oh")
        if not hasattr(builtins, "_") and self._is_shown(values):
            names["___"], names["__"], names["_"] = names.get("__"), names.get("_"), value
        self._recorded = True
        if isinstance(values, dict):
            values[self._number] = value
            while len(values) > HISTORY_MAX:
                del values[next(iter(values))]

    def _is_shown(self, values: object) -> bool:
        """Whether `_` is what was shown last, or nothing yet. Code may put something else there: gettext's function."""
        shown = self._namespace.get("_")
        if shown is None or not isinstance(values, dict):
            return True
        if not values:  # cleared by code, or nothing was shown yet
            return self._recorded
        last = next(reversed(values.values()))
        return last is shown or (type(shown) in _PLAIN and type(last) is type(shown) and last == shown)
