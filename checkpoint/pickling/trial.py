"""Groups that may not load, or load as something else, restored in a copy of the process before they are believed.

What pickles need not load: a class may ask for other arguments, or leave something out of its state. So the first group
in which a kind of object is met is loaded once, in a forked copy, and compared with what it was made of: types,
attributes, lengths, plain values. A session is told of what differs when it is saved, not when it is restored.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from checkpoint.aside import ask_copy
from checkpoint.lost import LostValue
from checkpoint.pickling.importable import is_python_class
from checkpoint.pickling.instances import attributes_of, builtin_base, own_hook, slots_of
from checkpoint.pickling.rebuild import Loading, Pieces, loading
from checkpoint.pickling.unpickler import GroupUnpickler
from checkpoint.pickling.unsaveable import safe_text, type_key

TRIAL_S = 3.0
"""A copy that did not answer by then says nothing: what it was asked about is believed."""

TRIAL_BYTES_MAX = 8 * 2**20
"""Larger groups are believed: loading them takes longer than it is worth."""

COMPARED_MAX = 500
"""Objects that are compared in one variable."""

_ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None), bytearray))
_TRUSTED = frozenset(("numpy", "builtins", "checkpoint", "durable", "bridge", "__mp_main__"))
"""Packages whose kinds have tests of ours."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A group to be tried: the names, their values, the stream, its buffers."""

    names: tuple[str, ...]
    values: Sequence[object]
    stream: bytes
    buffers: Sequence[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial found of one variable: it does not load (`problem`), or comes back different (`difference`)."""

    name: str
    problem: str = ""
    difference: str = ""


def doubtful(cls: type) -> bool:
    """Whether objects of this kind may not come back: somebody else says how they are saved."""
    package = cls.__module__.partition(".")[0] if isinstance(cls.__module__, str) else ""
    if package in _TRUSTED or package in sys.stdlib_module_names and package != "__main__":
        return issubclass(cls, type) and is_python_class(cls) and not cls.__module__.startswith(("abc", "enum", "typing"))
    if is_python_class(cls):
        return own_hook(cls) is not None or issubclass(cls, type)
    return True


def tried(samples: Sequence[Sample], namespace: dict[str, object], externals: Mapping[str, object]) -> list[Verdict]:
    """What is wrong with these groups; nothing when no copy of the process could say."""
    answer = ask_copy(lambda: _answer(samples, namespace, externals), TRIAL_S)
    return [] if answer is None else [Verdict(*entry) for entry in json.loads(answer)]


def _answer(samples: Iterable[Sample], namespace: dict[str, object], externals: Mapping[str, object]) -> bytes:
    found: list[tuple[str, str, str]] = []
    for sample in samples:
        own = set(sample.names)
        state = Loading(
            namespace, externals, loaded={name: value for name, value in namespace.items() if name not in own}
        )
        with loading(state):
            found += _loaded(sample, state)
    return json.dumps(found).encode()


def _loaded(sample: Sample, state: Loading) -> Iterator[tuple[str, str, str]]:
    """Variables one after the other: the first that does not load is named, what comes after it is not tried."""
    buffers = (Pieces([memoryview(buffer)]) for buffer in sample.buffers)
    unpickler = GroupUnpickler(io.BytesIO(sample.stream), buffers, state)
    unpickler.load()  # the preamble
    for name, value in zip(sample.names, sample.values, strict=True):
        try:
            again = unpickler.load()
        except BaseException as error:  # user code runs in here
            yield name, f"it cannot be restored: {type(error).__name__}: {safe_text(error)}", ""
            return
        state.loaded[name] = again
        try:
            difference = "; ".join(differences(value, again))
        except Exception:  # whatever makes them incomparable
            difference = ""
        if difference:
            yield name, "", difference[:500]


def differences(before: object, after: object) -> list[str]:
    """In which ways an object that came back is not what it was; at most three."""
    found: list[str] = []
    seen: set[int] = set()
    todo: deque[tuple[str, object, object]] = deque([("it", before, after)])
    while todo and len(found) < 3 and len(seen) < COMPARED_MAX:
        path, one, other = todo.popleft()
        if id(one) in seen or one is other or type(other) is LostValue:
            continue
        seen.add(id(one))
        told = _differ(one, other)
        if told:
            found.append(f"{path} {told}")
            continue
        todo += ((path + step, child, again) for step, child, again in _pairs(one, other))
    return found


def _differ(one: Any, other: Any) -> str:
    cls = type(one)
    if type_key(cls) != type_key(type(other)):
        return f"comes back as {type_key(type(other))}, not {type_key(cls)}"
    if cls in _ATOMS:
        return "" if one == other or one != one else "comes back with another value"
    base = builtin_base(cls)
    if issubclass(base, list | tuple | dict | set | frozenset | deque):
        length, again = base.__len__(one), base.__len__(other)
        if length != again:
            return f"comes back with {again} items, not {length}"
    if base is cls and cls.__module__ != "builtins" and not issubclass(cls, type):
        return _unequal(one, other)
    held, again = {**attributes_of(one), **slots_of(one)}, {**attributes_of(other), **slots_of(other)}
    missing = [name for name in held if name not in again]
    if missing:
        return f"comes back without its attributes {', '.join(missing[:5])}"
    return ""


def _unequal(one: Any, other: Any) -> str:
    """Of a class made in C, that can be compared: one that equals itself equals what came back."""
    if type(one).__eq__ is object.__eq__ or type(one).__hash__ is None:
        return ""
    same, again = one == one, one == other
    return "comes back as one that is not equal to it" if same is True and again is False else ""


def _pairs(one: Any, other: Any) -> Iterator[tuple[str, object, object]]:
    base: Any = builtin_base(type(one))
    if issubclass(base, type | types.FunctionType | types.ModuleType):
        return
    if issubclass(base, dict):
        for (key, item), (_key, again) in zip(list(base.items(one)), list(base.items(other)), strict=False):
            yield f"[{key!r:.40}]" if type(key) in _ATOMS else "[…]", item, again
    elif issubclass(base, list | tuple | deque):
        for index, (item, again) in enumerate(zip_longest(base.__iter__(one), base.__iter__(other))):
            yield f"[{index}]", item, again
            if index > COMPARED_MAX:
                return
    held, again = {**attributes_of(one), **slots_of(one)}, {**attributes_of(other), **slots_of(other)}
    for name, item in held.items():
        if name in again:
            yield f".{name}", item, again[name]


type Try = Callable[[Sequence[Sample]], list[Verdict]]


def sizes(buffers: Iterable[pickle.PickleBuffer]) -> int:
    """Bytes out of band."""
    return sum(buffer.raw().nbytes for buffer in buffers)
