"""Long chains of objects, which pickle follows one call deeper for each link: every object is made first, without what
it holds, then all are filled (worker side). No link is deeper than the next then.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable
from typing import Any

from checkpoint.pickling import rebuild

_CONTAINERS = frozenset((list, tuple, set, frozenset))
_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class made by a class statement."""

_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__")
_MORE_HOOKS = ("__setstate__", "__getnewargs__", "__getnewargs_ex__")


class Unrolled:
    """Pickles as `value`, after all the objects in it that can be made empty."""

    def __init__(self, value: object, objects: list[object]) -> None:
        self._value = value
        self._objects = objects

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return rebuild.last, (self._objects, [_Filling(value) for value in self._objects], self._value)


class _Filling:
    def __init__(self, value: object) -> None:
        self._value = value

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return rebuild.fill_attributes, (self._value, vars(self._value))


def empty(value: object) -> tuple[object, tuple[object, ...]]:
    """How such an object is saved: without what it holds."""
    return copyreg.__newobj__, (type(value),)  # type: ignore[attr-defined]


def objects_in(values: Iterable[object], has_recipe: Callable[[type], bool]) -> list[object]:
    """The objects that are reached from these through containers and attributes, and pickle without hooks."""
    todo, found = list(values), []
    seen: dict[int, object] = {}
    ordinary: dict[type, bool] = {}
    while todo:
        value: Any = todo.pop()
        if id(value) in seen:
            continue
        cls = type(value)
        if cls in _CONTAINERS:
            todo += value
        elif cls is dict:
            todo += value
            todo += value.values()
        else:
            if cls not in ordinary:
                ordinary[cls] = _ordinary(cls) and not has_recipe(cls)
            if not ordinary[cls]:
                continue
            found.append(value)
            todo += vars(value).values()
        seen[id(value)] = value
    return found


def _ordinary(cls: type) -> bool:
    """Whether an instance is its class and its `__dict__`, and nobody says otherwise."""
    return (
        not issubclass(cls, type)
        and cls.__dictoffset__ != 0
        and all(base is object or base.__flags__ & _HEAP_TYPE for base in cls.__mro__)
        and all(getattr(cls, name) is getattr(object, name) for name in _HOOKS)
        and not any(hasattr(cls, name) for name in _MORE_HOOKS)
        and not any(vars(base).get("__slots__") for base in cls.__mro__)
    )
