"""Which variables are saved together, and in which order groups load. No pickling here: ids, names and edges."""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from checkpoint.pickling.importable import is_made_by_hand
from checkpoint.pickling.unsaveable import type_key

_NEVER_SHARED = (
    int, float, complex, bool, type(None), type(...), type(NotImplemented), enum.Enum,
    types.CodeType, types.BuiltinFunctionType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_SINGLETONS = frozenset((
    "re.Pattern", "datetime.timezone", "zoneinfo.ZoneInfo", "logging.Logger", "logging.RootLogger", "numpy.ufunc",
    "numpy._ArrayFunctionDispatcher", "functools._lru_cache_wrapper", "dataclasses._MISSING_TYPE",
))  # fmt: skip
"""Kinds whose identity across variables is kept by other means, or means nothing: without this list every two
float64 arrays would be one group, since they have one dtype."""

_TEXT_SHARED_MIN = 64 * 2**10
"""A text or bytes object this long is worth keeping once, though nothing depends on its identity."""


class Sharing:
    """Tells whether an object that two pickles contain makes their variables one group."""

    def __init__(self) -> None:
        self._by_type: dict[type, bool | None] = {}

    def __call__(self, value: object, by_value: set[int]) -> bool | None:
        """Whether the object makes one group; None: never. `by_value` holds the ids of functions and classes that a
        pickle contains whole, not by reference."""
        cls = type(value)
        verdict = self._by_type.get(cls)
        if cls not in self._by_type:
            verdict = self._by_type[cls] = self._judge(cls)
        if verdict is None:
            return id(value) in by_value
        if cls is types.ModuleType:
            return (
                not isinstance(value, types.ModuleType)
                or sys.modules.get(value.__name__) is not value
                or is_made_by_hand(value)
                or None
            )
        if cls is str or cls is bytes:
            return len(value) >= _TEXT_SHARED_MIN or None  # type: ignore[arg-type]
        return (verdict and not (cls in (tuple, frozenset) and not value)) or None

    def _judge(self, cls: type) -> bool | None:
        if issubclass(cls, type) or cls is types.FunctionType:
            return None
        module = cls.__module__
        return not (issubclass(cls, _NEVER_SHARED) or type_key(cls) in _SINGLETONS or module == "numpy.dtypes")


def united(
    memos: list[Mapping[int, tuple[int, object]]], shared: Callable[[int, object, int, int], bool | None]
) -> list[int]:
    """For every memo (id -> (place, object)) the index of the group it belongs to: its smallest member's.

    `shared(id, object, one, other)` says whether an object found in both memos counts; None, that it never does.
    """
    parent = list(range(len(memos)))

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    owner: dict[int, int] = {}
    never: set[int] = set()
    for index, memo in enumerate(memos):
        identities = memo.keys()
        if not owner.keys().isdisjoint(identities):
            for identity in (owner.keys() & identities) - never:
                one, other = find(owner[identity]), find(index)
                if one != other:
                    verdict = shared(identity, memo[identity][1], owner[identity], index)
                    if verdict:
                        parent[max(one, other)] = min(one, other)
                    elif verdict is None:
                        never.add(identity)
        owner.update(dict.fromkeys(memo, index))
    return [find(index) for index in range(len(memos))]


def load_order(needs: Mapping[int, Iterable[int]]) -> tuple[list[int], list[int]]:
    """(order with dependencies first, nothing), or (nothing, one cycle of groups that must become one)."""
    sorter = TopologicalSorter({node: [other for other in others if other != node] for node, others in needs.items()})
    try:
        return list(sorter.static_order()), []
    except CycleError as error:
        return [], sorted(set(error.args[1]))
