"""Objects that modules have one of: constants that are compared by identity, and the process's own containers.
They come back as themselves, not as equals or copies (worker side).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from checkpoint.capture.process_state import PROCESS_STATE
from checkpoint.pickling import loaders
from checkpoint.pickling.importable import attributes_of, importable, module_of
from checkpoint.pickling.instances import builtin_base, own_hook, slots_of

_TEXTS = (("argparse", "SUPPRESS"),)
"""Texts that a module compares with `is`. Of other texts only the characters count."""

type Place = tuple[str, str]
"""A module and a name in it."""


_CONTAINERS = (("sys", "path"), ("sys", "modules"))
"""Containers that are saved with the interpreter's state."""

_STARTED_ARGV = getattr(sys, "argv", None)
"""Its contents are saved with the process's state."""


def texts() -> dict[int, Place]:
    """The texts of the modules that are loaded, by id."""
    return {id(getattr(sys.modules[place[0]], place[1])): place for place in _TEXTS if place[0] in sys.modules}


def containers(namespace: Mapping[str, object]) -> dict[int, Place]:
    """The process's own containers, and the namespaces of modules that are variables, by id."""
    found = {id(getattr(sys.modules[place[0]], place[1])): place for place in _CONTAINERS}
    if getattr(sys, "argv", None) is _STARTED_ARGV:  # one that code put there is saved by value
        found[id(_STARTED_ARGV)] = "sys", "argv"
    for value in list(namespace.values()):
        module = module_of(value)
        if module is not None:
            found[id(value)] = module.__name__, "__dict__"
    return found


def method_recipe(method: Any, _notes: object) -> tuple[Any, ...] | None:
    """A method that a module has one of, such as `random.randint`, whose object is the module's own."""
    owner = method.__self__
    if type(owner) is types.ModuleType and not importable(method):
        place = PROCESS_STATE.original_place(method)
        return None if place is None else (loaders.original, place)
    home = None if isinstance(owner, type | types.ModuleType) else type(owner).__module__
    if home in (None, "__main__", "builtins") or home not in sys.modules:
        return None
    names = [name for name, value in list(vars(sys.modules[home]).items()) if value is method]
    return _named((home, names[0])) if names else None


def recipe_for(cls: type) -> Callable[[Any], tuple[Any, ...] | None] | None:
    """How constants of this class are saved, where there are any: bare objects, and objects that hold nothing.

    What holds something may have been changed, and is saved by value.
    """
    if cls is object:
        return lambda value: _named(_bare_objects(len(sys.modules)).get(id(value)))
    if not importable(cls) or builtin_base(cls) is not object or own_hook(cls) is not None or issubclass(cls, type):
        return None
    module = cls.__module__
    names = {id(value): name for name, value in list(vars(sys.modules[module]).items()) if type(value) is cls}

    def reduce(value: Any) -> tuple[Any, ...] | None:
        name = names.get(id(value))
        return None if name is None or attributes_of(value) or slots_of(value) else _named((module, name))

    return reduce if names else None


def _named(place: Place | None) -> tuple[Any, ...] | None:
    return None if place is None else (loaders.module_attribute, place)


@lru_cache(maxsize=1)
def _bare_objects(_loaded: int) -> dict[int, Place]:
    found: dict[int, Place] = {}
    for module, loaded in list(sys.modules.items()):
        if module != "__main__":
            for name, value in list(getattr(loaded, "__dict__", {}).items()):
                if type(value) is object:
                    found.setdefault(id(value), (module, name))
    return found
