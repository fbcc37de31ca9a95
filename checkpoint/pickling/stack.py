"""A pickler with a stack of its own, for graphs that pickle follows one call deeper for each link, and for sets and
dicts in circles with what they are keyed by (worker side).

It writes what `GroupPickler` would write, by the same recipes. A set or dict whose keys are hashed by code of their
class is written empty, and filled when everything else is there: until then its keys may not have the attributes that
their hashes are made of. It takes ten times as long, so it is used only where the other one cannot do it.
"""

from __future__ import annotations

import gc
import pickle
import struct
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import batched
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from checkpoint.pickling import loaders
from checkpoint.pickling.importable import defined
from checkpoint.pickling.unsaveable import Unloadable

if TYPE_CHECKING:
    from checkpoint.pickling.pickler import GroupPickler

type Memo = dict[int, tuple[int, object]]
type Children = Iterator[object]

DEPTH_MAX = 500_000
"""Some seconds of work. Objects that make others each time they are looked at would have no end."""

_BATCH_MAX = 1_000
"""Items that one opcode puts in, as pickle does it."""

_BUILTIN_SETTERS = frozenset(vars(cls)["__setitem__"] for cls in (dict, list, OrderedDict, deque))
_OUR_SETTERS = frozenset((
    loaders.fill_instance, loaders.fill_error, loaders.fill_class, loaders.fill_function, loaders.fill_cell,
    loaders.fill_attributes,
))  # fmt: skip
"""They put what they are given in its place and look at nothing in it, so that it may be filled later."""


class StackPickler:
    """Pickles one value after another into the file of `rules`, the pickler whose recipes it follows.

    `unloadable`: ids of objects that were found not to load, and why: a placeholder takes the place of each.
    """

    def __init__(self, rules: GroupPickler, unloadable: Mapping[int, str] = MappingProxyType({})) -> None:
        self._rules = rules
        self._unloadable = unloadable
        self._write = rules.file.write
        self.memo: Memo = dict(rules.seed)
        self._keepers = rules.scope.keepers
        self._contents: object = None
        """The namespace that is written as the contents of its object, not as that object's namespace."""
        self._later: list[Children] = []
        """Fillings of containers, to be done at the end."""
        self._eager = 0
        """Inside of what is looked at as soon as it is there: an argument, or a state for a setter of user code."""

    def dump(self, value: object) -> None:
        """One pickle, with everything that belongs to it."""
        self._write(pickle.PROTO + b"\x05")
        self._run(value)
        while self._later:
            self._walk(self._later.pop(0))
        self._write(pickle.STOP)

    def _run(self, value: object) -> None:
        if not self._at_once(value):
            self._walk(self._steps(value))

    def _walk(self, steps: Children) -> None:
        pending = [steps]
        while pending:
            for child in pending[-1]:
                if not self._at_once(child):
                    if len(pending) == DEPTH_MAX:
                        raise RecursionError(f"more than {DEPTH_MAX} objects inside of each other")
                    pending.append(self._steps(child))
                    break
            else:
                pending.pop()

    def _at_once(self, value: object) -> bool:
        """Whether it was there already, or holds nothing, and is written by now."""
        atom = _ATOMS.get(type(value))
        if atom is not None and type(value) not in (str, bytes):
            self._write(atom(value))
            return True
        if id(value) in self.memo:
            self._get(value)
            return True
        if atom is not None:
            self._write(atom(value))
            self._memoize(value)
            return True
        return False

    def _memoize(self, value: object) -> None:
        self.memo[id(value)] = len(self.memo), value
        self._write(pickle.MEMOIZE)

    def _get(self, value: object) -> None:
        place = self.memo[id(value)][0]
        self._write(pickle.BINGET + bytes((place,)) if place < 256 else pickle.LONG_BINGET + struct.pack("<I", place))

    def _steps(self, value: Any) -> Children:
        """Writes one object; what it yields is to be written in between."""
        cls = type(value)
        if cls is list:
            self._write(pickle.EMPTY_LIST)
            self._memoize(value)
            yield from self._put(value, pickle.APPENDS)
        elif cls is dict:
            yield from self._dict(value)
        elif cls is set:
            self._write(pickle.EMPTY_SET)
            self._memoize(value)
            yield from self._keyed(value, value, list(value), pickle.ADDITEMS)
        elif cls is tuple or cls is frozenset:
            yield from self._fixed(value)
        elif cls is bytearray:
            self._write(pickle.BYTEARRAY8 + struct.pack("<Q", len(value)) + bytes(value))
            self._memoize(value)
        elif cls is pickle.PickleBuffer:
            self._rules.take_buffer(value)
            self._write(pickle.NEXT_BUFFER + (pickle.READONLY_BUFFER if value.raw().readonly else b""))
        else:
            yield from self._object(value)

    def _dict(self, value: dict[Any, Any]) -> Children:
        keeper = self._keepers.get(id(value))
        if keeper is None:
            self._write(pickle.EMPTY_DICT)
            self._memoize(value)
            yield from self._keyed(value, value, _flat(value), pickle.SETITEMS)
        elif self._contents is value:
            self._contents = None
            self._write(pickle.EMPTY_DICT)
            yield from self._put(_flat(value), pickle.SETITEMS)
        else:
            yield from self._reduced(value, loaders.own_namespace, (keeper,))

    def _fixed(self, value: Any) -> Children:
        if not value:
            self._write(pickle.EMPTY_TUPLE if type(value) is tuple else pickle.MARK + pickle.FROZENSET)
            return
        self._write(pickle.MARK)
        yield from value
        if id(value) in self.memo:  # a circle through it was written meanwhile
            self._write(pickle.POP_MARK)
            self._get(value)
            return
        self._write(pickle.TUPLE if type(value) is tuple else pickle.FROZENSET)
        self._memoize(value)

    def _put(self, items: Iterable[object], opcode: bytes) -> Children:
        for chunk in batched(items, _BATCH_MAX):
            self._write(pickle.MARK)
            yield from chunk
            self._write(opcode)

    def _later_put(self, container: object, items: list[object], opcode: bytes) -> Children:
        self._get(container)
        yield from self._put(items, opcode)
        self._write(pickle.POP)

    def _keyed(self, container: object, keys: Iterable[object], items: list[object], opcode: bytes) -> Children:
        if not self._eager and any(map(hashed_by_code, keys)):
            self._later.append(self._later_put(container, items, opcode))
        else:
            yield from self._put(items, opcode)

    def _object(self, value: Any) -> Children:
        why = self._unloadable.get(id(value))
        if why is not None:
            make, arguments = self._rules.replaced(value, Unloadable(why))
            yield from self._reduced(value, make, arguments)
            return
        reduced = self._rules.reducer_override(value)
        if reduced is NotImplemented and isinstance(value, type | types.FunctionType):
            reduced = value.__qualname__
        elif reduced is NotImplemented:
            reduced = self._rules.reduce_or_replace(value)
        if isinstance(reduced, str):
            yield from self._global(value, reduced)
        else:
            yield from self._reduced(value, *reduced)

    def _global(self, value: Any, name: str) -> Children:
        module = getattr(value, "__module__", None) or pickle.whichmodule(value, name)  # type: ignore[attr-defined]
        yield module
        yield name
        self._write(pickle.STACK_GLOBAL)
        self._memoize(value)

    def _reduced(
        self,
        value: object,
        make: Any,
        arguments: tuple[Any, ...],
        state: Any = None,
        items: Iterable[object] | None = None,
        pairs: Iterable[tuple[object, object]] | None = None,
        setter: Any = None,
    ) -> Children:
        name = getattr(make, "__name__", "")
        self._eager += 1
        if name == "__newobj__":
            yield arguments[0]
            yield arguments[1:]
            self._write(pickle.NEWOBJ)
        elif name == "__newobj_ex__":
            yield from arguments
            self._write(pickle.NEWOBJ_EX)
        else:
            yield make
            yield arguments
            self._write(pickle.REDUCE)
        self._eager -= 1
        if id(value) in self.memo:  # a circle through its arguments was written meanwhile
            self._write(pickle.POP)
            self._get(value)
        else:
            self._memoize(value)
        yield from self._filled(value, items, pairs)
        if state is not None:
            yield from self._state(value, state, setter)

    def _filled(
        self, value: object, items: Iterable[object] | None, pairs: Iterable[tuple[object, object]] | None
    ) -> Children:
        eager = defined(type(value), "__setitem__") not in _BUILTIN_SETTERS
        self._eager += eager
        if items is not None:
            yield from self._put(items, pickle.APPENDS)
        if pairs is not None:
            flat = [part for pair in pairs for part in pair]
            yield from self._keyed(value, flat[::2], flat, pickle.SETITEMS)
        self._eager -= eager

    def _state(self, value: object, state: Any, setter: Any) -> Children:
        if self._keepers:
            parts = state if type(state) is tuple else (state,)
            found = [part for part in parts if self._keepers.get(id(part)) is value]
            self._contents = found[0] if found else None
        if setter is None:
            eager = defined(type(value), "__setstate__") is not None
            self._eager += eager
            yield state
            self._write(pickle.BUILD)
            self._eager -= eager
            return
        if setter is loaders.fill_instance and not self._eager:
            attributes, slots, items = state
            yield from self._set(value, setter, (attributes, slots, ()))
            if items:  # after all attributes of all keys
                self._later.append(self._set(value, setter, ({}, {}, items)))
            return
        if setter is loaders.fill_adopting:
            yield from self._owner_state(value, *state)
            return
        eager = setter not in _OUR_SETTERS
        self._eager += eager
        yield from self._set(value, setter, state)
        self._eager -= eager

    def _owner_state(self, value: object, namespace: object, first: bool, setter: Any, rest: Any) -> Children:
        """An object's own namespace, then what else it holds; in one step where its class has a say in it."""
        if first and (setter is not None or defined(type(value), "__setstate__") is None):
            yield from self._set(value, loaders.fill_adopting, (namespace, True, None, None))
            if rest:
                yield from self._state(value, rest, setter)
            return
        self._eager += 1
        yield from self._set(value, loaders.fill_adopting, (namespace, first, setter, rest))
        self._eager -= 1

    def _set(self, value: object, setter: object, state: object) -> Children:
        yield setter
        yield value
        yield state
        self._write(pickle.TUPLE2 + pickle.REDUCE + pickle.POP)


def hashed_by_code(key: object) -> bool:
    """Whether hashing a key runs code of its class, which may want attributes."""
    cls = type(key)
    if cls is tuple or cls is frozenset:
        return any(map(hashed_by_code, key))  # type: ignore[call-overload]
    return isinstance(defined(cls, "__hash__"), types.FunctionType)


def circular(memo: Mapping[int, tuple[int, Any]], hashed: Collection[type]) -> bool:
    """Whether a set or dict may be reached from a key of its own that was begun before it: then it would be filled
    when that key has no attributes yet. `hashed`: the classes in it whose instances are hashed by code."""
    keys: list[object] = []
    containers: set[int] = set()
    suspects = {*hashed, tuple, frozenset}
    others: set[type] = set()
    for place, value in memo.values():
        cls = type(value)
        if cls in others:
            continue
        if cls not in _KEYED and not issubclass(cls, dict | set):
            others.add(cls)
            continue
        if suspects.isdisjoint(map(type, value)):
            continue
        early = [key for key in value if memo.get(id(key), _LATE)[0] < place and hashed_by_code(key)]
        if early:
            keys += early
            containers.add(id(value))
    todo, seen = (keys, set(map(id, keys))) if containers else ([], set())
    while todo:
        for value in gc.get_referents(todo.pop()):
            if id(value) in memo and id(value) not in seen:
                if id(value) in containers:
                    return True
                seen.add(id(value))
                todo.append(value)
    return False


_KEYED = (dict, set, frozenset)
_LATE = (2**62, None)


def _flat(pairs: dict[Any, Any]) -> list[object]:
    return [part for pair in list(pairs.items()) for part in pair]


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return pickle.BININT1 + bytes((value,))
    if -(2**31) <= value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    data = pickle.encode_long(value)
    if len(data) < 256:
        return pickle.LONG1 + bytes((len(data),)) + data
    return pickle.LONG4 + struct.pack("<i", len(data)) + data


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE8 + struct.pack("<Q", len(data)) + data


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _value: pickle.NONE,
    bool: lambda value: pickle.NEWTRUE if value else pickle.NEWFALSE,
    int: _integer,
    float: lambda value: pickle.BINFLOAT + struct.pack(">d", value),
    str: _text,
    bytes: lambda value: pickle.BINBYTES8 + struct.pack("<Q", len(value)) + value,
}
