"""Classes of a session by value: made empty, then given everything that stands in their own namespace (worker side).

An attribute counts by standing in the class, not by differing from its base's. An enum is saved whole, with its members
as the objects that they are: no metaclass makes them again.
"""

from __future__ import annotations

import abc
import sys
import types
from enum import Enum, EnumType
from typing import Any

from checkpoint.pickling import loaders

_ABC_CACHES = ("_abc_impl", "_abc_cache", "_abc_negative_cache", "_abc_negative_cache_version", "_abc_registry")
_MADE_WITH = ("__module__", "__qualname__", "__doc__", "__slots__", "__orig_bases__")
"""Attributes that the class has from its first moment on: what makes it reads them."""


def reduce_generic(cls: type) -> tuple[object, tuple[object, ...]] | None:
    """A parametrised pydantic model: asked for again, so that the next `Box[int]` is the same one."""
    metadata = vars(cls).get("__pydantic_generic_metadata__")
    if not isinstance(metadata, dict) or not metadata.get("origin") or not metadata.get("args"):
        return None
    arguments = metadata["args"]
    return loaders.parametrised, (metadata["origin"], arguments)


def reduce_foreign(cls: type) -> tuple[object, tuple[object, ...]] | None:
    """A class that ctypes made: again by what makes it, so that it is the one that ctypes knows."""
    if type(cls).__module__ == "_ctypes":
        made = vars(cls)
        if "_length_" in made and "_type_" in made and "_fields_" not in made:
            return loaders.array_type, (made["_type_"], made["_length_"])
        if issubclass(cls, sys.modules["_ctypes"]._Pointer) and isinstance(made.get("_type_"), type):
            return sys.modules["ctypes"].POINTER, (made["_type_"],)
    elif cls.__module__ == "_ctypes" and issubclass(cls, type):  # the metaclasses have no name that can be imported
        for value in vars(sys.modules["_ctypes"]).values():
            if type(value) is cls:
                return type, (value,)
    return None


def reduce_by_value(cls: type) -> tuple[Any, ...]:
    """The function that makes the class, its arguments, and the class's state for `loaders.fill_class`."""
    state = dict(vars(cls))
    for name in ("__dict__", "__weakref__", "__slotnames__", *_ABC_CACHES):  # __slotnames__: copyreg's cache
        state.pop(name, None)
    slots = [name for name, value in state.items() if isinstance(value, types.MemberDescriptorType)]
    attributes: dict[str, object] = {"__qualname__": cls.__qualname__}
    for name in slots:
        if vars(cls)[name].__objclass__ is cls:
            del state[name]
    for name in _MADE_WITH:
        if name in state:
            attributes[name] = state.pop(name)
    if slots and not isinstance(attributes.get("__slots__"), str | tuple | list | dict):
        attributes["__slots__"] = tuple(slots)
    if type(cls).__module__ == "_ctypes":
        state = _ctypes_last(state)
    registry = [known() for known in abc._get_dump(cls)[0]] if isinstance(cls, abc.ABCMeta) else []  # type: ignore[attr-defined]
    make = loaders.make_enum if isinstance(cls, EnumType) else loaders.make_class
    return (
        make,
        (type(cls), cls.__name__, cls.__bases__, attributes, None, None),
        (state, registry),
        None,
        None,
        loaders.fill_class,
    )


def _ctypes_last(state: dict[str, object]) -> dict[str, object]:
    """The fields of a structure make its descriptors, when everything that they depend on is set."""
    last: dict[str, object] = {name: state.pop(name) for name in ("_anonymous_", "_fields_") if name in state}
    plain = {name: value for name, value in state.items() if type(value).__name__ != "CField"}
    return {**plain, **last}


def named_member(member: Enum) -> tuple[object, tuple[object, ...]]:
    """A member of an enum that is referred to by name."""
    name = member._name_
    if type(member)._member_map_.get(name) is member:
        return loaders.enum_member, (type(member), name)
    return loaders.enum_value, (type(member), member._value_)
