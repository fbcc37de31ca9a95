"""Groups that may not load, or load as something else, restored in a copy of the process before they are believed.

What pickles need not load: a class may ask for other arguments, or leave something out of its state. So the first group
in which a kind of object is met is loaded once, in a forked copy, and compared with what it was made of: types,
attributes, lengths, plain values. A session is told of what differs when it is saved, not when it is restored.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from checkpoint.capture.forked_capture import ask_copy
from checkpoint.lost_names import LostValue, LostValueError
from checkpoint.pickling.forget_caches import forget
from checkpoint.pickling.importable import attributes_of, defined, importable, is_python_class
from checkpoint.pickling.instances import builtin_base, makes_itself, own_hook, slots_of
from checkpoint.pickling.loaders import Loading, Pieces, loading
from checkpoint.pickling.unpickler import GroupUnpickler
from checkpoint.pickling.unsaveable import safe_text, type_key

if TYPE_CHECKING:
    from checkpoint.pickling.pickler import Scope

TRIAL_S = 3.0
"""A copy that did not answer by then says nothing: what it was asked about is believed."""

TRIAL_BYTES_MAX = 2**20
"""Larger groups are believed: loading them takes longer than it is worth."""

COMPARED_MAX = 500
"""Objects that are compared in one variable."""

_ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None), bytearray))
_TRUSTED = frozenset(("numpy", "polars", "builtins", "checkpoint", "durable", "bridge", "__mp_main__"))
"""Packages whose kinds have tests of ours. Polars loads by threads of its own, of which a copy has none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A group to be tried: the names, their values, the stream, its buffers."""

    names: tuple[str, ...]
    values: Sequence[object]
    stream: bytes
    buffers: Sequence[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of a trial on one variable: it does not load (`problem`), or comes back different (`difference`).

    `members`: the places in the pickler's memo of what does not load in it, and why. `kind`: the class of what differs.
    """

    name: str
    problem: str = ""
    difference: str = ""
    kind: str = ""
    members: Mapping[int, str] = field(default_factory=dict)


PROVEN: set[tuple[str, int, int]] = set()
"""Kinds that came back in this process: the name of the class, its id, and the number for types of attributes."""

SHAPES_MAX = 12
"""Of one class: when its objects came back with so many types of attributes, others are believed."""


def doubtful(cls: type) -> bool:
    """Whether objects of this kind may not come back: somebody else says how they are saved."""
    if not issubclass(cls, type) and makes_itself(cls) and builtin_base(cls) is object and own_hook(cls) is None:
        return importable(cls)  # pickle calls its __new__ without arguments
    package = cls.__module__.partition(".")[0] if isinstance(cls.__module__, str) else ""
    if package in _TRUSTED or (package in sys.stdlib_module_names and package != "__main__"):
        return (
            issubclass(cls, type) and is_python_class(cls) and not cls.__module__.startswith(("abc", "enum", "typing"))
        )
    if is_python_class(cls):
        return own_hook(cls) is not None or issubclass(cls, type)
    return True


def shaped(cls: type) -> bool:
    """Whether what comes back of an object may depend on what it has: its class says itself how it is saved."""
    return is_python_class(cls) and bool(cls.__dictoffset__) and own_hook(cls) is not None and doubtful(cls)


def tried(samples: Sequence[Sample], scope: Scope) -> list[Verdict]:
    """The faults of these groups; nothing when no copy of the process could say."""
    answer = ask_copy(lambda: _answer(samples, scope), TRIAL_S)
    return [] if answer is None else msgspec.msgpack.decode(answer, type=list[Verdict])


def _answer(samples: Iterable[Sample], scope: Scope) -> bytes:
    found: list[Verdict] = []
    externals = {name: value for name, value in scope.namespace.items() if id(value) in scope.externals}
    for sample in samples:
        found += _verdicts(sample, scope, externals)
    return msgspec.msgpack.encode(found)


def _verdicts(sample: Sample, scope: Scope, externals: Mapping[str, object]) -> list[Verdict]:
    """Of a second load, where the first gave objects that a library keeps: a new process has to make them."""
    interned: dict[int, object] = {}
    found = _once(sample, scope, externals, interned)
    if interned and not found:
        forget(interned.values())
        found = _once(sample, scope, externals, {})
    return found


def _once(sample: Sample, scope: Scope, externals: Mapping[str, object], interned: dict[int, object]) -> list[Verdict]:
    others = {name: value for name, value in scope.namespace.items() if name not in sample.names}
    state = Loading(scope.namespace, externals, loaded=others, kept=scope.kept.values if scope.kept else ())
    with loading(state):
        return list(_loaded(sample, state, interned))


def _loaded(sample: Sample, state: Loading, interned: dict[int, object]) -> Iterator[Verdict]:
    """Variables one after the other: the first that does not load is named, what comes after it is not tried."""
    unpickler = GroupUnpickler(io.BytesIO(sample.stream), _pieces(sample), state)
    unpickler.load()  # the preamble
    met = Met(interned=interned)
    for name, value in zip(sample.names, sample.values, strict=True):
        try:
            again = unpickler.load()
        except BaseException as error:  # user code runs in here
            yield Verdict(name, f"it cannot be restored: {_reason(error)}", members=_culprits(sample, name, state))
            return
        state.loaded[name] = again
        try:
            difference, kind = differences(name, value, again, met)
        except Exception:  # whatever makes them incomparable
            difference, kind = "", ""
        if difference:
            yield Verdict(name, difference=difference, kind=kind)


def _pieces(sample: Sample) -> Iterator[Pieces]:
    return (Pieces([memoryview(buffer)]) for buffer in sample.buffers)


_MADE_OF = "it is made of something that is lost: "


def _reason(error: BaseException) -> str:
    if isinstance(error, LostValueError):
        return f"{_MADE_OF}{error.reason.rpartition(_MADE_OF)[2]}"
    return f"{type(error).__name__}: {safe_text(error)}"


def _culprits(sample: Sample, name: str, state: Loading) -> dict[int, str]:
    """Which objects of a variable do not load: looked for by an unpickler that goes on without them."""
    unpickler = _Tolerant(io.BytesIO(sample.stream), buffers=_pieces(sample))
    unpickler.find_class = GroupUnpickler(io.BytesIO(), iter(()), state).find_class
    try:
        for _ in range(sample.names.index(name) + 2):  # the preamble is the first
            unpickler.failed = {}
            unpickler.load()
    except BaseException:
        return {}
    return unpickler.failed


class _Tolerant(pickle._Unpickler):
    """Puts a placeholder where something cannot be made, and remembers which place in the memo that is."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    memo: dict[int, object]
    failed: dict[int, str]
    find_class: Any

    def _reduce(self) -> None:
        function, arguments = self.stack[-2], self.stack[-1]
        try:
            pickle._Unpickler.load_reduce(self)  # type: ignore[attr-defined]
        except BaseException as error:
            filled = arguments[0] if getattr(function, "__name__", "").startswith("fill_") else None
            self._fail(filled, error, made=filled is None)
            if self.stack[-1] is arguments:
                self.stack.pop()
            if filled is None:
                self.stack[-1] = LostValue("unknown", _reason(error))

    def _new(self) -> None:
        self._made(pickle._Unpickler.load_newobj)  # type: ignore[attr-defined]

    def _new_ex(self) -> None:
        self._made(pickle._Unpickler.load_newobj_ex)  # type: ignore[attr-defined]

    def _made(self, load: Callable[[Any], None]) -> None:
        before = self.stack[:]
        try:
            load(self)
        except BaseException as error:
            count = 3 if load is pickle._Unpickler.load_newobj_ex else 2  # type: ignore[attr-defined]
            self.stack[:] = before[:-count]
            self._fail(None, error, made=True)
            self.stack.append(LostValue("unknown", _reason(error)))

    def _build(self) -> None:
        instance = self.stack[-2]
        try:
            pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        except BaseException as error:
            self._fail(instance, error, made=False)

    def _fail(self, value: object, error: BaseException, *, made: bool) -> None:
        if isinstance(value, LostValue):
            return
        known = (place for place, other in self.memo.items() if other is value)
        self.failed[len(self.memo) if made else next(known, -1)] = f"it cannot be restored: {_reason(error)}"

    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.NEWOBJ_EX[0]] = _new_ex
    dispatch[pickle.BUILD[0]] = _build


_NOT_COMPARED = frozenset(("__slotnames__", "_drv", "_root", "_raw_paths"))
"""Attributes that copyreg gives to classes when they are pickled, and how pathlib spells a path."""


@dataclass(slots=True)
class Met:
    """The objects of a group that were compared, over all its variables: what was one of them has to be one again."""

    came_back_as: dict[int, tuple[object, object, str]] = field(default_factory=dict)
    """By the id of an object: the object, what it came back as, and where it was met first."""

    interned: dict[int, object] = field(default_factory=dict)
    """Those that came back as themselves, since a library keeps them and their class says how they are saved."""


def differences(name: str, before: object, after: object, met: Met) -> tuple[str, str]:
    """How a variable that came back differs from what it was, and the class that is to blame. Caches may be empty."""
    compared = 0
    todo: deque[tuple[str, object, object, type]] = deque([(name, before, after, type(before))])
    while todo and compared < COMPARED_MAX:
        path, one, other, holder = todo.popleft()
        if type(other) is LostValue:
            continue
        if one is other:
            if shaped(type(one)) and importable(type(one)):
                met.interned[id(one)] = one
            continue
        known = met.came_back_as.get(id(one))
        if known is not None:
            if known[1] is not other and _has_identity(one):
                return f"{path} is no longer the same object as {known[2]}"[:500], type_key(holder)
            continue
        met.came_back_as[id(one)] = one, other, path
        holder = type(one) if type(one).__module__ != "builtins" else holder
        compared += 1
        told = _differ(one, other)
        if told:
            return f"{path} {told}"[:500], type_key(holder)
        todo += ((path + step, child, again, holder) for step, child, again in _pairs(one, other))
    return "", ""


def _has_identity(value: object) -> bool:
    """Whether a program can tell by what it does that there are two of it now: something that can be changed."""
    if isinstance(value, type):
        return is_python_class(value) and not importable(value)
    cls = type(value)
    return cls in _CHANGEABLE or (is_python_class(cls) and (bool(cls.__dictoffset__) or builtin_base(cls) is object))


_METHODS = (
    types.FunctionType,
    classmethod,
    staticmethod,
    property,
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
)
_CHANGEABLE = (list, dict, set, bytearray, deque)


def _differ(one: Any, other: Any) -> str:
    cls = type(one)
    if type_key(cls) != type_key(type(other)):
        return f"comes back as {type_key(type(other))}, not {type_key(cls)}"
    if cls in _ATOMS:
        return "" if one == other or one != one else "comes back with another value"
    base: Any = builtin_base(cls)
    if issubclass(base, list | tuple | dict | set | frozenset | deque):
        length, other_length = base.__len__(one), base.__len__(other)
        if length != other_length:
            return f"comes back with {other_length} items, not {length}"
    if base is cls and cls.__module__ != "builtins" and not issubclass(cls, type):
        return _unequal(one, other)
    held, again = {**attributes_of(one), **slots_of(one)}, {**attributes_of(other), **slots_of(other)}
    missing = [name for name in held if name not in again and "cache" not in name and name not in _NOT_COMPARED]
    if missing:
        return f"comes back without its attributes {', '.join(missing[:5])}"
    return ""


def _unequal(one: Any, other: Any) -> str:
    """Of a class made in C, that can be compared: one that equals itself equals what came back."""
    if isinstance(one, weakref.ref):  # they are equal when what they refer to is, which is compared where it is
        return ""
    if defined(type(one), "__eq__") is vars(object)["__eq__"] or type(one).__hash__ is None:
        return ""
    same, again = one == one, one == other
    return "comes back as one that is not equal to it" if same is True and again is False else ""


def _pairs(one: Any, other: Any) -> Iterator[tuple[str, object, object]]:
    base: Any = builtin_base(type(one))
    if issubclass(base, types.FunctionType | types.ModuleType):
        return
    if issubclass(base, type):
        if not importable(one):
            yield from _class_pairs(one, other)
        return
    if not importable(type(one)):
        yield ".__class__", type(one), type(other)
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
        if name in again and "cache" not in name and name not in _NOT_COMPARED:
            yield f".{name}", item, again[name]


def _class_pairs(one: type, other: type) -> Iterator[tuple[str, object, object]]:
    """The members of a class that is saved whole, but for its functions and what Python keeps there."""
    again = vars(other)
    for name, item in list(vars(one).items()):
        if name in again and not isinstance(item, _METHODS) and not name.startswith("__") and "cache" not in name:
            yield f".{name}", item, again[name]
