"""Caches of libraries without certain objects, in a copy of the process: what a new process would make of them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Iterator, MutableMapping


def forget(values: Collection[object]) -> None:
    """Take objects out of the caches of the modules and classes that made them, so that asking again makes new ones.

    A cache is a mapping or an `lru_cache` that a module holds, or a class in its own namespace. What has a name of its
    own there is no cache's: a new process has it, too. For a copy only.
    """
    places = [place for cls in {type(value) for value in values} for place in _namespaces(cls)]
    constants = {id(member) for place in places for member in place.values()}
    found = {id(value) for value in values} - constants
    for place in places:
        for member in place.values():
            held = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            if isinstance(held, functools._lru_cache_wrapper):
                held.cache_clear()
            elif isinstance(held, MutableMapping):
                for key in [key for key, value in list(held.items()) if id(value) in found]:
                    del held[key]


def _namespaces(cls: type) -> Iterator[MutableMapping[str, object]]:
    """The namespaces of the class, its bases and the modules that these are in."""
    for base in cls.__mro__:
        module = sys.modules.get(base.__module__)
        if base.__module__ != "builtins" and module is not None:
            yield dict(vars(base))
            yield {name: value for name, value in vars(module).items() if not name.startswith("__")}
