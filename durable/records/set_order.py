"""The order of what sets hold, the same in every process: that of a set itself is another one in each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any

import msgspec

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})

_SETS = (set, frozenset, deque)
_LISTS = (list, tuple)
_LEVELS_MAX = 100
_LEVEL_VALUES_MAX = 10_000
"""More of a level are looked at once each: a list may hold itself twice."""

type Encode = Callable[[Any], bytes]


def in_order(items: Iterable[Any]) -> list[Any]:
    """The items, those of a set in the order in which a record has them."""
    return sorted(items, key=order_of) if isinstance(items, set | frozenset) else list(items)


def order_of(item: object) -> tuple[str, str]:
    """The place of an item among those of its set: by its type's name, then by its text."""
    if isinstance(item, frozenset):
        return "list", repr(sorted(map(order_of, item)))
    if isinstance(item, tuple):
        return type(item).__name__, repr([order_of(each) for each in item])
    if is_dataclass(item) and not isinstance(item, type):
        return type(item).__name__, repr(
            [(each.name, order_of(getattr(item, each.name, None))) for each in fields(item)]
        )
    return type(item).__name__, repr(item)


def may_hold_sets(values: Iterable[object]) -> bool:
    """Whether there is a set, or a deque, in them; looked at level by level, since nearly everything has none."""
    level = list(values)
    for _ in range(_LEVELS_MAX):
        kinds = set(map(type, level)) - _SCALARS
        if not kinds:
            return False
        below: list[Any] = []
        for kind in kinds:
            these: list[Any] = [each for each in level if type(each) is kind]
            if len(these) > _LEVEL_VALUES_MAX:
                these = list(dict(zip(map(id, these), these, strict=True)).values())
            if issubclass(kind, _SETS):
                return True
            if issubclass(kind, _LISTS):
                below.extend(chain.from_iterable(these))
            elif issubclass(kind, dict):
                below.extend(chain.from_iterable(map(dict.values, these)))
            else:
                below.extend(chain.from_iterable(found.values() for found in map(_fields, these) if found is not None))
        if not below:
            return False
        level = below
    return True


def is_left_unsorted(value: object, *, in_set: bool = False) -> bool:
    """Whether msgspec leaves a set inside as it comes: it sorts by comparing, and sets only compare as parts.

    Also whether there is a deque of sets, which msgspec does not encode by itself. RecursionError.
    """
    if type(value) in _SCALARS:
        return False
    if isinstance(value, set | frozenset):
        return in_set or _any(value, in_set=len(value) > 1)
    if isinstance(value, list | tuple | deque):
        return _any(value, in_set=in_set or isinstance(value, deque))
    if isinstance(value, dict):
        return _any(value.values(), in_set=in_set)
    found = _fields(value)
    return found is not None and _any(found.values(), in_set=in_set)


def _any(values: Iterable[object], *, in_set: bool) -> bool:
    if set(map(type, values)) <= _SCALARS:
        return False
    return any(is_left_unsorted(each, in_set=in_set) for each in values)


def _fields(value: object) -> Mapping[str, object] | None:
    """The fields of a dataclass, a Struct or a pydantic model; None for anything else."""
    if isinstance(value, type):
        return None
    if is_dataclass(value):
        return {each.name: getattr(value, each.name, None) for each in fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name, None) for name in value.__struct_fields__}
    return vars(value) if hasattr(type(value), "__pydantic_serializer__") else None


def with_sorted_sets(value: Any, encode: Encode) -> Any:
    """The value with lists in place of its sets, sorted by what `encode` gives, whose errors are raised."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, set | frozenset):
        return sorted((with_sorted_sets(each, encode) for each in value), key=encode)
    if isinstance(value, list | tuple | deque):
        return [with_sorted_sets(each, encode) for each in value]
    if isinstance(value, dict):
        return {key: with_sorted_sets(each, encode) for key, each in value.items()}
    found = _fields(value)
    return value if found is None else {name: with_sorted_sets(each, encode) for name, each in found.items()}
