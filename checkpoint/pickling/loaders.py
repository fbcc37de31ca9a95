"""The functions that pickles name: how things are made again in a worker. Their names are part of the format.

They run while `checkpoint.restore` loads a group; `Loading` is what they need of it.
"""

from __future__ import annotations

import abc
import builtins
import collections
import contextvars
import functools
import importlib
import marshal
import random
import re
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAliasType, TypeVar

from checkpoint.capture.process_state import PROCESS_STATE, in_code_context
from checkpoint.lost_names import LostValue
from checkpoint.pickling.importable import defined, importable, is_python_class, kept_once
from checkpoint.pickling.namespace_owners import namespace_of
from durable.core.errors import CheckpointError

_PREAMBLE = f"\x80\x05c{__name__}\nlive_namespace\n)R\x940c{__name__}\nbuiltins_namespace\n)R\x94"


def preamble(constants: Iterable[tuple[str, str]] = ()) -> bytes:
    """Starts a pickle stream: see PREAMBLE. Constants (module, name) are at memo 2 and on."""
    return (_PREAMBLE + "".join(f"0c{module}\n{name}\n\x94" for module, name in constants) + ".").encode("latin-1")


PREAMBLE = preamble()
"""Starts every pickle stream: puts the live namespace and the builtins at memo 0 and 1, where the pickler's
own memo has them. So a reference to `globals()` from anywhere costs two bytes and comes back as the mapping
itself, and no per-object hook is needed. (The C unpickler's memo cannot be set from outside: tried.)"""


@dataclass(slots=True)
class Loading:
    """One restore: the mapping that functions get as their globals, and what was loaded so far."""

    namespace: dict[str, object]
    externals: Mapping[str, object]
    foreign_code: bool = False
    """Code in it is of another version of Python: running that would crash."""
    loaded: dict[str, object] = field(default_factory=dict)
    kept: Sequence[object] = ()
    """The objects that a savepoint could not save, and that are still there."""


def _nothing(_view: memoryview) -> None:
    return


class Pieces:
    """An out-of-band buffer, still in its chunks: arrays copy them straight into their memory."""

    def __init__(self, chunks: list[memoryview], placed: Callable[[memoryview], None] | None = None) -> None:
        self.chunks = chunks
        self.placed: Callable[[memoryview], None] = placed or _nothing
        """To be called with the memory that they were copied to, at once."""
        self._joined: bytearray | None = None

    def __buffer__(self, _flags: int) -> memoryview:
        """For whoever else takes a buffer: writable memory of its own."""
        if self._joined is None:
            self._joined = bytearray().join(self.chunks)
        return memoryview(self._joined)


_loading: Loading | None = None


@contextmanager
def loading(state: Loading) -> Iterator[None]:
    """Make `state` what this module's functions see."""
    global _loading
    before, _loading = _loading, state
    try:
        yield
    finally:
        _loading = before


def _current() -> Loading:
    if _loading is None:
        raise CheckpointError("this pickle belongs to a checkpoint and is loaded by restore_into only")
    return _loading


def live_namespace() -> dict[str, object]:
    """The live namespace itself."""
    return _current().namespace


def builtins_namespace() -> dict[str, object]:
    """The dict of the builtins module."""
    return builtins.__dict__


def definition(name: str) -> object:
    """A function or class that is a variable of its own, loaded earlier."""
    try:
        return _current().loaded[name]
    except KeyError:
        raise LookupError(f"it needs {name!r}, which could not be brought back") from None


def external(name: str) -> object:
    """An object that the worker itself puts into every session, such as a capability's function."""
    try:
        return _current().externals[name]
    except KeyError:
        raise LookupError(f"this session does not have {name!r}") from None


def module_namespace(name: str) -> dict[str, object]:
    """The globals of an importable module, for functions made inside it."""
    return importlib.import_module(name).__dict__


def main_module() -> types.ModuleType:
    """The session's own module."""
    return sys.modules["__main__"]


def module_attribute(module: str, name: str) -> object:
    """A constant of a module that is compared by identity."""
    return getattr(importlib.import_module(module), name)


def class_member(cls: type, name: str) -> object:
    """The member of a class that its own namespace has under a name."""
    return vars(cls)[name]


def make_module(name: str) -> types.ModuleType:
    """A module that no import gives."""
    return types.ModuleType(name)


def fill_module(module: types.ModuleType, state: dict[str, object]) -> None:
    """Put the contents into a module."""
    vars(module).update(state)


def make_code(data: bytes) -> types.CodeType:
    """Code of the same minor version of Python (the payload names it)."""
    if _loading is not None and _loading.foreign_code:
        raise CheckpointError("its code was compiled by another version of Python")
    code = marshal.loads(data)
    assert isinstance(code, types.CodeType)
    return code


def make_function(
    code: types.CodeType, namespace: dict[str, object], closure: tuple[types.CellType, ...] | None
) -> types.FunctionType:
    """A function over the live mapping; nothing is written into the mapping."""
    return types.FunctionType(code, namespace, code.co_name, None, closure)


FUNCTION_ATTRIBUTES = (
    "__name__",
    "__qualname__",
    "__module__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
    "__type_params__",
)


def fill_function(function: types.FunctionType, state: tuple[dict[str, object], tuple[object, ...]]) -> None:
    """Everything of a function but its code, after it is memoised: so that it may refer to itself."""
    function.__dict__.update(state[0])
    for name, value in zip(FUNCTION_ATTRIBUTES, state[1], strict=True):
        setattr(function, name, value)
    if function.__defaults__:
        function.__defaults__ = tuple(map(same_text, function.__defaults__))
    if function.__kwdefaults__:
        function.__kwdefaults__ = {name: same_text(value) for name, value in function.__kwdefaults__.items()}


def make_class(
    metaclass: type, name: str, bases: tuple[Any, ...], attributes: dict[str, object], _tracker: None, _extra: None
) -> type:
    """A class of the session, empty; `fill_class` fills it. Hooks of the session's own classes do not run again:

    what `__init_subclass__` or a metaclass did (such as registering the class) is in the saved state already. Those of
    libraries run, since they may keep records elsewhere, unless they want what only the class statement gave.
    """
    attributes = {sys.intern(key): value for key, value in attributes.items()}
    known = next(base for base in metaclass.__mro__ if importable(base) or not is_python_class(base))
    if known.__qualname__ == "_TypedDictMeta":  # it refuses its own result's bases
        with _without_hooks(bases, importable_too=False):
            return type.__new__(metaclass, name, bases, attributes)
    try:
        with _without_hooks(bases, importable_too=False):
            if known is metaclass:
                return types.new_class(name, bases, {"metaclass": metaclass}, lambda names: names.update(attributes))
            made: object = known.__new__(metaclass, name, bases, attributes)
    except Exception:
        least = next(base for base in metaclass.__mro__ if base.__module__ in ("abc", "builtins"))
        with _without_hooks(bases, importable_too=True):
            made = least.__new__(metaclass, name, bases, attributes)
    assert isinstance(made, type)
    return made


def make_enum(
    metaclass: type, name: str, bases: tuple[Any, ...], attributes: dict[str, object], _tracker: None, _extra: None
) -> type:
    """An enum without members, which are in its state as they were: its metaclass would make others."""
    attributes = {sys.intern(key): value for key, value in attributes.items()}
    with _without_hooks(bases, importable_too=False):
        return type.__new__(metaclass, name, bases, attributes)


@contextmanager
def _without_hooks(bases: tuple[Any, ...], *, importable_too: bool) -> Iterator[None]:
    """No `__init_subclass__` of these classes runs."""
    line = dict.fromkeys(ancestor for base in bases for ancestor in base.__mro__ if is_python_class(ancestor))
    silenced = [base for base in line if "__init_subclass__" in vars(base) and (importable_too or not importable(base))]
    hooks = [vars(base)["__init_subclass__"] for base in silenced]
    for base in silenced:
        type.__delattr__(base, "__init_subclass__")
    try:
        yield
    finally:
        for base, hook in zip(silenced, hooks, strict=True):
            type.__setattr__(base, "__init_subclass__", hook)


def fill_class(cls: Any, state: tuple[dict[str, object], list[type]]) -> None:
    """Everything that stands in the class, past what its metaclass says of setting it; then what was registered."""
    attributes, registered = state
    for name, value in attributes.items():
        text = same_text(value)
        try:
            type.__setattr__(cls, name, text)
        except TypeError:  # a metaclass made in C, which has to see it
            setattr(cls, name, text)
    for subclass in registered:
        abc.ABCMeta.register(cls, subclass)


def same_text(value: object) -> object:
    """A text that Python keeps once, as it does with constants that look like names: they may be compared by `is`."""
    return sys.intern(value) if type(value) is str and kept_once(value) else value


def parametrised(origin: Any, arguments: tuple[object, ...]) -> object:
    """A generic class with arguments, as its own cache has it."""
    return origin[arguments if len(arguments) > 1 else arguments[0]]


def enum_member(cls: Any, name: str) -> object:
    """A member of an enum that was loaded before, or is importable."""
    return cls._member_map_[name]


def enum_value(cls: Any, value: object) -> object:
    """A member without a name, such as two flags together."""
    return cls(value)


def make_instance(cls: Any, base: Any, *arguments: Any) -> object:
    """An instance as the builtin that it is built on makes it: the class is not asked."""
    made = base.__new__(cls, *arguments)
    if base in (collections.deque, collections.defaultdict, bytearray):
        base.__init__(made, *arguments)
    return made


def fill_instance(value: Any, state: tuple[dict[str, object], dict[str, object], Any]) -> None:
    """Attributes and slots, then items, by the builtin's own methods."""
    attributes, slots, items = state
    _set(value, attributes, slots)
    _put(value, items)


def _set(value: Any, attributes: Mapping[str, object], slots: Mapping[str, object]) -> None:
    line = type(value).__mro__
    if attributes:
        own = next(
            found for base in line if isinstance(found := vars(base).get("__dict__"), types.GetSetDescriptorType)
        )
        own.__get__(value).update({sys.intern(name): item for name, item in attributes.items()})
    for name, item in slots.items():
        slot = next(found for base in line if isinstance(found := vars(base).get(name), types.MemberDescriptorType))
        slot.__set__(value, item)


def _put(value: Any, items: Any) -> None:
    if not items:
        return
    if isinstance(value, dict):
        put: Any = collections.OrderedDict if isinstance(value, collections.OrderedDict) else dict
        for index in range(0, len(items), 2):
            put.__setitem__(value, items[index], items[index + 1])
    elif isinstance(value, set):
        set.update(value, items)
    else:
        base: Any = collections.deque if isinstance(value, collections.deque) else list
        base.extend(value, items)


def fill_generator(value: Any, state: tuple[Any, dict[str, object]]) -> None:
    """The attributes of a random generator, and where it is."""
    _set(value, state[1], {})
    random.Random.setstate(value, state[0])


def make_new(cls: Any, arguments: tuple[object, ...], options: dict[str, object]) -> object:
    """An instance of a class that says by `__getnewargs__` how it is made."""
    return cls.__new__(cls, *arguments, **options)


def fill_obeyed(value: Any, state: tuple[Any, Any]) -> None:
    """The state that `__getstate__` gave, to `__setstate__` where the class has one: both are looked up on the type."""
    own, items = state
    if defined(type(value), "__setstate__") is not None:
        if own is not None:
            type(value).__setstate__(value, own)
    elif own is not None:
        attributes, slots = own if isinstance(own, tuple) else (own, {})
        _set(value, attributes or {}, slots or {})
    _put(value, items)


def original(module: str, name: str) -> object:
    """A function of a module that has another one in its place since."""
    return PROCESS_STATE.original(module, name)


def adopt_namespace(owner: object, namespace: dict[str, object]) -> dict[str, object]:
    """Make the dict the object's own namespace, as it was. Of earlier checkpoints."""
    if isinstance(owner, types.SimpleNamespace | types.ModuleType):  # they keep theirs
        own: dict[str, object] = object.__getattribute__(owner, "__dict__")
        own.update(namespace)
        return own
    _adopt(owner, namespace)
    return namespace


def own_namespace(owner: object) -> object:
    """The namespace of an object that keeps its own."""
    return namespace_of(owner)


def fill_adopting(owner: Any, state: tuple[Any, bool, Any, Any]) -> None:
    """Give an object its namespace, and what else it holds. Without `first` it fills a namespace by itself before."""
    namespace, first, setter, rest = state
    if first:
        _adopt(owner, namespace)
    if setter is not None:
        setter(owner, rest)
    elif rest is not None:
        fill_obeyed(owner, (rest, ()))
    if not first:
        own: Any = namespace_of(owner)
        if own is not namespace:
            if own:  # what fills an object need not be what was in it
                namespace.clear()
                namespace.update(own)
            _adopt(owner, namespace)


def _adopt(owner: object, namespace: object) -> None:
    for base in type(owner).__mro__:
        slot = vars(base).get("__dict__")
        if isinstance(slot, types.GetSetDescriptorType):
            slot.__set__(owner, namespace)
            break


def make_exception(cls: Any, base: Any, arguments: tuple[object, ...]) -> BaseException:
    """An exception as the builtin one that it is makes it."""
    error: BaseException = base.__new__(cls, *arguments)
    base.__init__(error, *arguments)
    return error


def fill_error(error: BaseException, state: tuple[dict[str, Any], dict[str, Any], tuple[Any, Any, bool]]) -> None:
    """Attributes, then what the builtin itself holds, where that is not what it was made with; cause and context."""
    attributes, members, chain = state
    _set(error, attributes, {})
    if "args" in members:  # of a group, whose class may take others than its builtin
        error.args = members.pop("args")
    for name, item in members.items():
        member = next(
            found
            for base in type(error).__mro__
            if isinstance(found := vars(base).get(name), types.MemberDescriptorType)
        )
        with suppress(AttributeError):
            if member.__get__(error) is item:
                continue
        with suppress(AttributeError, TypeError):  # read-only: what it was made with
            member.__set__(error, item)
    for base in type(error).__mro__:
        for name, member in vars(base).items():
            if isinstance(member, types.MemberDescriptorType) and name not in members and not name.startswith("__"):
                with suppress(AttributeError, TypeError):  # its class did not ask the builtin to set it
                    if member.__get__(error) is not None:
                        member.__delete__(error)
    error.__cause__, error.__context__, error.__suppress_context__ = chain


def fill_exception(
    error: BaseException, state: tuple[dict[str, Any] | None, BaseException | None, BaseException | None, bool]
) -> None:
    """Attributes, cause and context."""
    own, error.__cause__, error.__context__, error.__suppress_context__ = state
    if own is not None:
        error.__setstate__(own)


def make_cell() -> types.CellType:
    """An empty cell. Functions that shared one share it again."""
    return types.CellType()


def fill_cell(cell: types.CellType, state: tuple[object]) -> None:
    """Set a cell's contents, after it is memoised."""
    cell.cell_contents = state[0]


def lost_value(kind: str, reason: str) -> object:
    """Stands for what could not be saved."""
    return LostValue(kind, reason)


def kept_value(place: int) -> object:
    """The object itself that a savepoint could not save."""
    return _current().kept[place]


class _Gone:
    """A stand-in for what a dead weak reference pointed to."""


def make_weakref(referent: object | None, callback: Callable[[object], object] | None) -> object:
    """A weak reference; None makes a dead one."""
    return weakref.ref(_Gone() if referent is None else referent, callback)


def make_rlock() -> object:
    """An RLock that nobody holds (its type cannot be called by name)."""
    return threading.RLock()


def make_lock() -> object:
    """A Lock that nobody holds."""
    return threading.Lock()


def make_event(is_set: bool) -> threading.Event:
    """An event in its state, with nobody waiting."""
    event = threading.Event()
    if is_set:
        event.set()
    return event


def make_local(values: dict[str, object]) -> threading.local:
    """A thread-local with the main thread's values."""
    local = threading.local()
    local.__dict__.update(values)
    return local


def make_context_variable(name: str, default: tuple[object, ...], value: tuple[object, ...]) -> object:
    """A ContextVar, set in the context of the code of cells; tuples hold one thing or none."""
    variable: contextvars.ContextVar[object] = (
        contextvars.ContextVar(name, default=default[0]) if default else contextvars.ContextVar(name)
    )
    if value:
        in_code_context(variable.set, value[0])
    return variable


def make_lru_cache(function: Callable[..., object], maxsize: int | None, typed: bool) -> object:
    """The same cached function with an empty cache."""
    return functools.lru_cache(maxsize, typed)(function)


def fill_attributes(value: object, state: dict[str, object]) -> None:
    """Attributes that update_wrapper or the user put on a callable."""
    value.__dict__.update(state)


def last(_objects: list[object], _fillings: list[None], value: object) -> object:
    """The value that was wanted, after all that had to be there first."""
    return value


MATCHERS: tuple[str, ...] = ("search", "match", "fullmatch")


def make_match(pattern: re.Pattern[str], how: int, text: str, start: int, end: int) -> object:
    """The same match, found again; the capture made sure that it is."""
    return getattr(pattern, MATCHERS[how])(text, start, end)


def make_memoryview(base: bytes | bytearray, shape: tuple[int, ...], code: str) -> memoryview:
    """A view of a whole buffer."""
    view = memoryview(base)
    return view if (view.format, view.shape) == (code, shape) else view.cast("B").cast(code, list(shape))  # type: ignore[call-overload]


def make_type_variable(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> object:
    """A TypeVar of the session."""
    return TypeVar(name, *arguments, **options)


def set_module(value: Any, module: str) -> None:
    """Set where something says that it was made, which is not here."""
    with suppress(AttributeError, TypeError):
        value.__module__ = module


def array_type(kind: Any, length: int) -> Any:
    """The array type of ctypes, which notes as its module who asks for it first."""
    made = kind * length
    if made.__module__.startswith("checkpoint."):
        made.__module__ = "__main__"
    return made


def make_type_alias(name: str, value: object, parameters: tuple[Any, ...]) -> object:
    """A `type X = ...` statement's object."""
    return TypeAliasType(name, value, type_params=parameters)


def make_bare(cls: Any) -> object:
    """An instance without __init__."""
    return cls.__new__(cls)
