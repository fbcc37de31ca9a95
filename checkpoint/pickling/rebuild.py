"""The functions that pickles name: how things are made again in a worker. Their names are part of the format.

They run while `checkpoint.restore` loads a group; `Loading` is what they need of it.
"""

from __future__ import annotations

import builtins
import contextvars
import functools
import importlib
import marshal
import re
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAliasType, TypeVar

from checkpoint.pickling.importable import importable
from checkpoint.process import in_code_context
from durable.core.errors import CheckpointError

PREAMBLE = (f"\x80\x05c{__name__}\nlive_namespace\n)R\x940c{__name__}\nbuiltins_namespace\n)R\x94.").encode("latin-1")
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
    """The mapping itself."""
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


def make_class(
    metaclass: type, name: str, bases: tuple[Any, ...], attributes: dict[str, object], _tracker: None, _extra: None
) -> type:
    """A class of the session, empty; cloudpickle fills it. Hooks of the session's own classes do not run again:

    what `__init_subclass__` or a metaclass did (such as registering the class) is in the saved state already.
    """
    attributes = {sys.intern(key): value for key, value in attributes.items()}
    known = next(base for base in metaclass.__mro__ if importable(base))
    silenced = [base for base in _line(bases) if "__init_subclass__" in vars(base) and not importable(base)]
    hooks = [vars(base)["__init_subclass__"] for base in silenced]
    for base in silenced:
        del base.__init_subclass__
    try:
        if known.__qualname__ == "_TypedDictMeta":  # it refuses its own result's bases
            return type.__new__(metaclass, name, bases, attributes)
        if known is metaclass:
            return types.new_class(name, bases, {"metaclass": metaclass}, lambda names: names.update(attributes))
        made: object = known.__new__(metaclass, name, bases, attributes)
        assert isinstance(made, type)
        return made
    finally:
        for base, hook in zip(silenced, hooks, strict=True):
            base.__init_subclass__ = hook


def _line(bases: tuple[Any, ...]) -> list[Any]:
    return list(dict.fromkeys(ancestor for base in bases for ancestor in base.__mro__))


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
    """Its contents, after it is memoised."""
    cell.cell_contents = state[0]


class _Gone:
    """What a dead weak reference pointed to."""


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
    """What was wanted, after all that had to be there first."""
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


def make_type_alias(name: str, value: object, parameters: tuple[Any, ...]) -> object:
    """A `type X = ...` statement's object."""
    return TypeAliasType(name, value, type_params=parameters)


def make_bare(cls: Any) -> object:
    """An instance without __init__."""
    return cls.__new__(cls)
