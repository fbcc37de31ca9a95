"""A module that is imported when it is first touched, though others import it earlier."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """Stands in for a module until one of its names is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system asks; only code asks for the rest
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def defer(name: str) -> None:
    """Import the module `name` on first use. (importlib.util.LazyLoader loads at the next `import` of it on 3.13.)"""
    if name not in sys.modules:
        stand_in = Later(name)
        stand_in.__spec__ = ModuleSpec(name, None)
        sys.modules[name] = stand_in
