"""Instances: how they are made again without calling what their class says of making one (worker side).

A class may ask for other arguments than its instances are, look names up greedily, or refuse to be changed. So every
special method is looked up on the type, as Python does; the object is made by the builtin that it is built on; then it
gets its attributes, and only then its items, whose order and hashes may depend on the attributes.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import random
import types
from collections.abc import Callable
from typing import Any

from checkpoint.pickling import loaders
from checkpoint.pickling.importable import attributes_of, defined, importable, is_python_class, python_line

type Reduced = tuple[Any, ...]
type Read = Callable[[Any], object]

_HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__getnewargs_ex__", "__getnewargs__")
_FILLING = ("__new__", "__setitem__", "__iter__", "__reduce__", "items", "append", "extend")
"""Methods that pickle calls to read and fill a list or dict of a class."""

_KNOWN_HOOKS = frozenset((
    collections.Counter.__reduce__,
    random.Random.__reduce__,
    random.Random.__getstate__,
    vars(random.Random)["__setstate__"],
    collections.namedtuple("_Known", "").__getnewargs__.__code__,  # type: ignore[attr-defined]  # of every namedtuple
))  # fmt: skip
"""Hooks of the standard library that lose attributes, or call the class with what a subclass may not take."""


def _deque_items(value: Any) -> object:
    return list(collections.deque.__iter__(value))


def _pairs(value: Any) -> object:
    pairs: list[object] = []
    for key, item in collections.OrderedDict.items(value):
        pairs += (key, item)
    return pairs


def _dict_pairs(value: Any) -> object:
    pairs: list[object] = []
    for key, item in dict.items(value):
        pairs += (key, item)
    return pairs


_CONTAINERS: dict[type, tuple[Callable[[Any], tuple[object, ...]], Read]] = {
    collections.OrderedDict: (lambda _value: (), _pairs),
    collections.defaultdict: (
        lambda value: (vars(collections.defaultdict)["default_factory"].__get__(value),),
        _dict_pairs,
    ),
    dict: (lambda _value: (), _dict_pairs),
    list: (lambda _value: (), lambda value: list(list.__iter__(value))),
    set: (lambda _value: (), lambda value: list(set.__iter__(value))),
    collections.deque: (
        lambda value: ((), vars(collections.deque)["maxlen"].__get__(value)),
        _deque_items,
    ),
    bytearray: (lambda value: (bytes(memoryview(value)),), lambda _value: []),
}
"""Arguments with which the builtin is made, and the items that its own methods put in afterwards."""

_DATED = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo)
_ATOMS: dict[type, Read] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    decimal.Decimal: decimal.Decimal.__str__,
}


def builtin_base(cls: type) -> type:
    """The class made in C that an instance of `cls` is built on."""
    base = cls
    while is_python_class(base):
        base = base.__base__  # type: ignore[assignment]
    return base


def own_hook(cls: type, names: tuple[str, ...] = _HOOKS) -> str | None:
    """The first of these methods that some class statement gives to instances, so that it has to be obeyed."""
    for base in python_line(cls):
        for name in names:
            hook = vars(base).get(name)
            if hook is not None and hook not in _KNOWN_HOOKS and getattr(hook, "__code__", None) not in _KNOWN_HOOKS:
                return name
    return None


def recipe_for(cls: type) -> Callable[[Any], Reduced | None] | None:
    """How instances of exactly this class are saved; None leaves them to pickle, which does it right, and faster."""
    if not is_python_class(cls):
        return None
    base = builtin_base(cls)
    hook = own_hook(cls)
    if hook is not None:
        return _obeyed if _is_greedy(cls) and own_hook(cls, _HOOKS[:2]) is None else None
    odd = _is_greedy(cls) or _sets_for_itself(cls)
    if base in _CONTAINERS:
        return _container if odd or base not in (dict, list) or _defines(cls, _FILLING) else None
    if base in _ATOMS:
        return _atom if odd or base in (frozenset, decimal.Decimal) or makes_itself(cls) else None
    if base in _DATED:
        return _dated
    if base is array.array:
        return _array
    if issubclass(cls, random.Random):
        return _generator if cls not in (random.Random, random.SystemRandom) else None
    if base is object and (odd or (makes_itself(cls) and not importable(cls))):
        return _bare
    return None


def _is_greedy(cls: type) -> bool:
    """Whether an instance may answer for names that it does not have, or hide what it has."""
    names = ("__getattr__", "__getattribute__", "__class__", "__dict__")
    hidden = [vars(base).get(name) for base in python_line(cls) for name in names]
    return any(value is not None and not isinstance(value, types.GetSetDescriptorType) for value in hidden)


def _sets_for_itself(cls: type) -> bool:
    """Whether setting a slot runs code of the class."""
    line = python_line(cls)
    return any("__setattr__" in vars(base) for base in line) and any("__slots__" in vars(base) for base in line)


def makes_itself(cls: type) -> bool:
    """Whether making one calls code of the class, other than what every namedtuple has."""
    for base in python_line(cls):
        code = getattr(getattr(vars(base).get("__new__"), "__func__", None), "__code__", None)
        if "__new__" in vars(base) and not ("_fields" in vars(base) and code and code.co_filename == "<string>"):
            return True
    return False


def _defines(cls: type, names: tuple[str, ...]) -> bool:
    return any(name in vars(base) for base in python_line(cls) for name in names)


def slots_of(value: object) -> dict[str, object]:
    """The slots that hold something."""
    found: dict[str, object] = {}
    for base in python_line(type(value)):
        for name, slot in vars(base).items():
            if isinstance(slot, types.MemberDescriptorType) and name not in found:
                try:
                    found[name] = slot.__get__(value)
                except AttributeError:
                    continue
    return found


def _state(value: object, items: object = ()) -> tuple[object, ...]:
    return {**attributes_of(value)}, slots_of(value), items


def reduce_whole(value: object) -> Reduced:
    """An instance by what it is built on and what it holds, whatever hooks its class has."""
    base = builtin_base(type(value))
    if base in _CONTAINERS:
        return _container(value)
    if base in _ATOMS:
        return _atom(value)
    return _dated(value) if base in _DATED else _bare(value)


def _bare(value: Any) -> Reduced:
    return loaders.make_instance, (type(value), object), _state(value), None, None, loaders.fill_instance


def _container(value: Any) -> Reduced:
    base = builtin_base(type(value))
    arguments, items = _CONTAINERS[base]
    made = (type(value), base, *arguments(value))
    return loaders.make_instance, made, _state(value, items(value)), None, None, loaders.fill_instance


def _atom(value: Any) -> Reduced:
    base = builtin_base(type(value))
    made = (type(value), base, _ATOMS[base](value))
    return loaders.make_instance, made, _filled(value), None, None, loaders.fill_instance


def _dated(value: Any) -> Reduced:
    base: Any = builtin_base(type(value))
    made = (type(value), base, *base.__reduce_ex__(value, 5)[1])
    return loaders.make_instance, made, _filled(value), None, None, loaders.fill_instance


def _array(value: Any) -> Reduced:
    made = (type(value), array.array, value.typecode, memoryview(value).tobytes())
    return loaders.make_instance, made, _filled(value), None, None, loaders.fill_instance


def _generator(value: Any) -> Reduced:
    state = random.Random.getstate(value), {**attributes_of(value)}
    made = (type(value), builtin_base(type(value)))
    return loaders.make_instance, made, state, None, None, loaders.fill_generator


def _filled(value: object) -> tuple[object, ...] | None:
    state = _state(value)
    return state if state[0] or state[1] else None


def _obeyed(value: Any) -> Reduced:
    """An instance that says how to be made or filled, but must not be asked for other names than that."""
    cls: Any = type(value)
    arguments: tuple[object, ...] = ()
    options: dict[str, object] = {}
    if defined(cls, "__getnewargs_ex__") is not None:
        arguments, options = cls.__getnewargs_ex__(value)
    elif defined(cls, "__getnewargs__") is not None:
        arguments = cls.__getnewargs__(value)
    base = builtin_base(cls)
    state = cls.__getstate__(value) if own_hook(cls, ("__getstate__",)) else None
    if state is None and not own_hook(cls, ("__getstate__",)):
        slots, attributes = slots_of(value), {**attributes_of(value)}
        state = (attributes or None, slots) if slots else attributes or None
    items = _CONTAINERS[base][1](value) if base in _CONTAINERS else ()
    made = (cls, arguments, options)
    return loaders.make_new, made, (state, items), None, None, loaders.fill_obeyed


def without_namespace(cls: type, state: Any, setter: Any, namespace: object) -> Any:
    """The state of an object without its namespace; the state itself where the namespace is not told apart in it."""
    if setter in (loaders.fill_instance, loaders.fill_error, loaders.fill_function):
        return ({}, *state[1:])
    if setter is not None or defined(cls, "__setstate__") is not None:
        return state
    if state is namespace:
        return {}
    return ({}, *state[1:]) if type(state) is tuple and state[:1] == (namespace,) else state


def reduce_exception(error: BaseException) -> Reduced | None:
    """An exception, made by the builtin one that it is, not by its class; None when its class says itself how.

    Cause and context come with it, which pickle drops; a traceback is live state and stays behind.
    """
    cls = type(error)
    base: Any = builtin_base(cls)
    if own_hook(cls, (*_HOOKS[:2], "__setstate__")) or base.__module__ != "builtins":
        return None
    reduced: Any = base.__reduce__(error)
    arguments = tuple(reduced[1])
    members: dict[str, object] = {}
    if isinstance(error, BaseExceptionGroup):
        arguments = (error.message, list(error.exceptions))
        members["args"] = error.args
    made = (cls, base, arguments)
    for owner in cls.__mro__:
        for name, member in vars(owner).items():
            if isinstance(member, types.MemberDescriptorType) and not name.startswith("__") and name not in members:
                try:
                    members[name] = member.__get__(error)
                except AttributeError:
                    continue
    attributes = {**attributes_of(error)}
    chain = (error.__cause__, error.__context__, error.__suppress_context__)
    state = (attributes, {name: value for name, value in members.items() if value is not None}, chain)
    return loaders.make_exception, made, state, None, None, loaders.fill_error
