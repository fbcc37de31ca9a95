"""Dicts that are the namespace of an object, as `vars(client)` gives them, and that something else holds as well.

Pickle writes the namespace of an object as a dict, and copies it into the object that it made: whatever else held
that dict would hold another one than the object's. So such dicts are found before groups are written (worker side).
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from checkpoint.pickling.importable import importable, is_python_class

type Memo = Mapping[int, tuple[int, object]]
type Read = Callable[[Any], object]
type Found = dict[int, object]

_SETTABLE = (BaseException, types.FunctionType, functools.partial)
"""Classes of C code that let code replace the namespace of an object."""

_AS_GLOBALS = (b"h\x00b", b"h\x01b")
"""A pickle's opcodes for: the session's namespace, or that of the builtins, is filled into an object."""


def held_dicts(
    memos: Sequence[Memo],
    small: list[dict[object, object]],
    roots: Counter[int],
    classes: Collection[type],
    known: Collection[int],
) -> dict[int, tuple[object, int]]:
    """The dicts that more than one object holds, by id, and how many more; those of classes of their own, and 0.

    `small`: dicts that are in no memo. `roots`: how many variables have a value, by its id. `classes`: those of dicts.
    `known`: ids of what is not looked for. An ordinary dict may be among the found ones.
    """
    found = _more_than_once(memos, small, classes)
    for identity in found.keys() & known:
        del found[identity]
    if not found:
        return {}
    times = Counter(map(id, small))
    for memo in memos:
        times.update(found.keys() & memo.keys())
    expected = {identity: times[identity] + max(1, 2 * roots[identity]) + _found_refs() for identity in found}
    more = {
        identity: sys.getrefcount(value) - expected[identity] if type(value) is dict else 0
        for identity, value in found.items()
    }
    return {
        identity: (value, more[identity])
        for identity, value in found.items()
        if type(value) is not dict or more[identity] > 0
    }


def _more_than_once(memos: Sequence[Memo], small: list[dict[object, object]], classes: Collection[type]) -> Found:
    """Of plain dicts, those to which there are more references than one of a memo and one other."""
    refs, most = sys.getrefcount, _memo_refs() + 1
    dicts = [value for memo in memos for _place, value in memo.values() if type(value) is dict and refs(value) > most]
    if classes:
        dicts += [value for memo in memos for _place, value in memo.values() if type(value) in classes]  # type: ignore[misc]
    dicts += [value for value in small if refs(value) > most]
    return dict(zip(map(id, dicts), dicts, strict=True))


@functools.cache
def _memo_refs() -> int:
    """The references to a dict of one memo that nothing else refers to, as they are counted above."""
    memo: dict[int, tuple[int, object]] = {0: (0, {})}
    refs = sys.getrefcount
    return max([refs(value) for memo in (memo,) for _place, value in memo.values() if type(value) is dict])


@functools.cache
def _found_refs() -> int:
    """The references to a dict that nothing else refers to than the result of `_more_than_once`."""
    found: Found = {0: {}}
    return max([sys.getrefcount(value) for _identity, value in found.items() if type(value) is dict])


class _Readers(dict[type, Read | None]):
    """How the namespace of an object of a class is read, without asking the class; None where it has none."""

    def __missing__(self, cls: type) -> Read | None:
        self[cls] = found = _reader(cls)
        return found


def _reader(cls: type) -> Read | None:
    if issubclass(cls, type):
        return None
    if issubclass(cls, types.SimpleNamespace | types.ModuleType):
        return lambda value: object.__getattribute__(value, "__dict__")
    if issubclass(cls, threading.local):
        return lambda value: threading.local.__getattribute__(value, "__dict__")
    for base in cls.__mro__:
        found = vars(base).get("__dict__")
        if isinstance(found, types.GetSetDescriptorType):
            return found.__get__
    return None


def namespace_owners(memos: Sequence[Memo], namespaces: Mapping[int, object]) -> list[tuple[int, object]]:
    """The objects of these memos whose namespaces are among `namespaces`: the place of the memo, and the object."""
    readers = _Readers()
    found: list[tuple[int, object]] = []
    for place, memo in enumerate(memos):
        for _at, value in list(memo.values()):
            read = readers[type(value)]
            if read is not None and id(read(value)) in namespaces:
                found.append((place, value))
    return found


def namespace_of(owner: object) -> object:
    """The namespace of an object that has one."""
    read = _reader(type(owner))
    assert read is not None
    return read(owner)


def keeps_namespace(owner: object) -> bool:
    """Whether an object cannot be given another namespace, or is not made anew by a restore."""
    if isinstance(owner, types.FunctionType) and importable(owner):
        return True
    for base in type(owner).__mro__:
        if isinstance(vars(base).get("__dict__"), types.GetSetDescriptorType):
            return not is_python_class(base) and base not in _SETTABLE
    return True


def fills_globals(stream: bytes) -> bool:
    """Whether a pickle may have an object whose namespace is the session's own, or that of the builtins."""
    return any(opcodes in stream for opcodes in _AS_GLOBALS)
