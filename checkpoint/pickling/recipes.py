"""How single kinds of objects are saved: a table from type to recipe (the loading halves are in loaders.py).

A recipe returns what `object.__reduce__` may return, or None to leave the object to pickle. It notes in
`Notes` what will come back made anew.
"""

from __future__ import annotations

import contextvars
import gc
import io
import os
import re
import sys
import threading
import types
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from checkpoint.capture.process_state import code_context
from checkpoint.pickling import constants, loaders, stdlib_internals
from checkpoint.pickling.arrays import reduce_array
from checkpoint.pickling.importable import importable
from checkpoint.pickling.object_columns import Columns
from checkpoint.pickling.open_files import file_recipe, reopen
from checkpoint.pickling.unsaveable import Unsaveable

type Reduced = tuple[Any, ...] | str | None


class RecipeNotes(Protocol):
    """A recipe's view of the pickler, with a place to say what will be made anew."""

    columns: Columns

    def note(self, how: str) -> None:
        """Say it in one short sentence."""


type Recipe = Callable[[Any, RecipeNotes], Reduced]


def _lock(_lock: object, notes: RecipeNotes) -> Reduced:
    notes.note("a lock comes back released")
    return loaders.make_lock, ()


def _rlock(_lock: object, notes: RecipeNotes) -> Reduced:
    notes.note("a lock comes back released")
    return loaders.make_rlock, ()


def _event(event: threading.Event, notes: RecipeNotes) -> Reduced:
    notes.note("an event comes back with nobody waiting")
    return loaders.make_event, (event.is_set(),)


def _condition(condition: Any, notes: RecipeNotes) -> Reduced:
    notes.note("a condition comes back with nobody waiting")
    return threading.Condition, (condition._lock,)


def _local(local: threading.local, notes: RecipeNotes) -> Reduced:
    notes.note("a thread-local comes back with the main thread's values")
    return loaders.make_local, (dict(local.__dict__),)


def _lru_cache(function: Any, notes: RecipeNotes) -> Reduced:
    if importable(function):
        return None
    notes.note("an lru_cache starts empty")
    parameters = function.cache_parameters()
    state = {key: value for key, value in function.__dict__.items() if key not in ("__wrapped__", "cache_parameters")}
    arguments = (function.__wrapped__, parameters["maxsize"], parameters["typed"])
    return loaders.make_lru_cache, arguments, state, None, None, loaders.fill_attributes


def _weakref(reference: Any, _notes: RecipeNotes) -> Reduced:
    return loaders.make_weakref, (reference(), reference.__callback__)


def _weak_mapping(mapping: Any, _notes: RecipeNotes) -> Reduced:
    return type(mapping), (dict(mapping.items()),)


def _context_variable(variable: contextvars.ContextVar[object], _notes: RecipeNotes) -> Reduced:
    def read(context: contextvars.Context) -> tuple[object, ...]:
        try:
            return (context.run(variable.get),)
        except LookupError:
            return ()

    default, value = read(contextvars.Context()), read(code_context().copy())
    return loaders.make_context_variable, (variable.name, default, value)


def _environment(environment: Any, _notes: RecipeNotes) -> Reduced:
    for name in ("environ", "environb"):
        if environment is getattr(os, name, None):
            return loaders.module_attribute, ("os", name)
    return None


def _file(file: io.IOBase, notes: RecipeNotes) -> Reduced:
    if file is sys.__stdout__ or file is sys.__stderr__:
        return getattr, (sys, "__stdout__" if file is sys.__stdout__ else "__stderr__")
    recipe = file_recipe(file)
    notes.note("a file is opened again at its position" if recipe[2] is not None else "a closed file comes back closed")
    return reopen, recipe


def _match(match: Any, _notes: RecipeNotes) -> Reduced:
    for how, name in enumerate(loaders.MATCHERS):
        for start, end in ((match.pos, match.endpos), (match.start(), match.endpos), (match.start(), match.end())):
            again = getattr(match.re, name)(match.string, start, end)
            if again is not None and again.regs == match.regs:
                return loaders.make_match, (match.re, how, match.string, start, end)
    raise Unsaveable("re.Match", re.Match)


def _memoryview(view: memoryview, _notes: RecipeNotes) -> Reduced:
    base = view.obj
    if type(base) not in (bytes, bytearray) or not view.c_contiguous or view.nbytes != len(base) or not view.ndim:  # type: ignore[arg-type]
        raise Unsaveable("memory.view", memoryview)
    return loaders.make_memoryview, (base, view.shape, view.format)


def _type_alias(alias: Any, _notes: RecipeNotes) -> Reduced:
    return loaders.make_type_alias, (alias.__name__, alias.__value__, alias.__type_params__)


def _type_variable(variable: Any, _notes: RecipeNotes) -> Reduced:
    if importable(variable, variable.__name__):
        return str(variable.__name__)
    options = {"bound": variable.__bound__}
    if variable.__covariant__ or variable.__contravariant__:
        options |= {"covariant": variable.__covariant__, "contravariant": variable.__contravariant__}
    else:
        options["infer_variance"] = variable.__infer_variance__
    if sys.version_info >= (3, 13) and variable.has_default():
        options["default"] = variable.__default__
    made = (variable.__name__, variable.__constraints__, options)
    return loaders.make_type_variable, made, variable.__module__, None, None, loaders.set_module


def _type_parameter(parameter: Any, _notes: RecipeNotes) -> Reduced:
    if importable(parameter, parameter.__name__):
        return str(parameter.__name__)
    return type(parameter), (parameter.__name__,), parameter.__module__, None, None, loaders.set_module


def _new_type(new_type: Any, _notes: RecipeNotes) -> Reduced:
    if importable(new_type):
        return None
    made = (new_type.__name__, new_type.__supertype__)
    return type(new_type), made, new_type.__module__, None, None, loaders.set_module


def _missing(_missing: object, _notes: RecipeNotes) -> Reduced:
    return "MISSING"  # dataclasses.MISSING is compared by identity; pickled by value it is another object


def _asyncio(value: Any, notes: RecipeNotes) -> Reduced:
    notes.note("an asyncio object comes back with nobody waiting")
    state = dict(value.__dict__)
    for name in ("_waiters", "_getters", "_putters"):
        if state.get(name) is not None:
            state[name] = deque()
    state.pop("_loop", None)
    return loaders.make_bare, (type(value),), state, None, None, loaders.fill_attributes


def _iterator(iterator: Any, _notes: RecipeNotes) -> Reduced:
    import warnings

    with warnings.catch_warnings():  # their pickling is deprecated in 3.12 and gone in 3.14; until then it is sound
        warnings.simplefilter("ignore")
        reduced: Reduced = iterator.__reduce__()
    return reduced


def _keyed_iterator(iterator: Any, notes: RecipeNotes) -> Reduced:
    notes.note("an iterator of a dict or set comes back over a list of what was left")
    reduced: Reduced = iterator.__reduce__()
    return reduced


def _of_sys(value: Any, _notes: RecipeNotes) -> Reduced:
    name = type(value).__qualname__
    return (getattr, (sys, name)) if getattr(sys, name, None) is value else None


def _mapping_proxy(proxy: types.MappingProxyType[Any, Any], _notes: RecipeNotes) -> Reduced:
    """Over the mapping itself, which may be a class's."""
    (mapping,) = gc.get_referents(proxy)
    own = mapping.get("__dict__") if type(mapping) is dict else None
    if isinstance(own, types.GetSetDescriptorType) and type(vars(own.__objclass__)) is types.MappingProxyType:
        return vars, (own.__objclass__,)
    return types.MappingProxyType, (mapping,)


def _descriptor(descriptor: Any, _notes: RecipeNotes) -> Reduced:
    """One that its class does not give by its name: `vars(cls)["__dict__"]`."""
    owner, name = descriptor.__objclass__, descriptor.__name__
    found = getattr(owner, name, None) is not descriptor and vars(owner).get(name) is descriptor
    return (loaders.class_member, (owner, name)) if found else None


def _array(array: Any, notes: RecipeNotes) -> Reduced:
    return reduce_array(array, notes.columns)


def _business_days(calendar: Any, _notes: RecipeNotes) -> Reduced:
    return type(calendar), (calendar.weekmask, calendar.holidays)


RECIPES: dict[str, Recipe] = {
    **stdlib_internals.RECIPES,
    "_thread.lock": _lock,
    "_thread.RLock": _rlock,
    "threading.Event": _event,
    "threading.Condition": _condition,
    "_thread._local": _local,
    "functools._lru_cache_wrapper": _lru_cache,
    "weakref.ReferenceType": _weakref,
    "weakref.WeakKeyDictionary": _weak_mapping,
    "weakref.WeakValueDictionary": _weak_mapping,
    "_contextvars.ContextVar": _context_variable,
    "builtins.method": constants.method_recipe,
    "builtins.builtin_function_or_method": constants.method_recipe,
    "os._Environ": _environment,
    "_io.TextIOWrapper": _file,
    "_io.BufferedReader": _file,
    "_io.BufferedWriter": _file,
    "_io.BufferedRandom": _file,
    "_io.FileIO": _file,
    "re.Match": _match,
    "builtins.memoryview": _memoryview,
    "typing.TypeAliasType": _type_alias,
    "typing.TypeVar": _type_variable,
    "typing.ParamSpec": _type_parameter,
    "typing.TypeVarTuple": _type_parameter,
    "typing.NewType": _new_type,
    "dataclasses._MISSING_TYPE": _missing,
    "asyncio.locks.Lock": _asyncio,
    "asyncio.locks.Event": _asyncio,
    "asyncio.locks.Condition": _asyncio,
    "asyncio.locks.Semaphore": _asyncio,
    "asyncio.locks.BoundedSemaphore": _asyncio,
    "asyncio.queues.Queue": _asyncio,
    "asyncio.queues.LifoQueue": _asyncio,
    "asyncio.queues.PriorityQueue": _asyncio,
    "numpy.ndarray": _array,
    "numpy.busdaycalendar": _business_days,
    "builtins.mappingproxy": _mapping_proxy,
    **{
        f"builtins.{name}_descriptor": _descriptor
        for name in ("getset", "member", "method", "classmethod", "wrapper")
    },
    **{
        f"sys.{name}": _of_sys
        for name in ("flags", "version_info", "float_info", "int_info", "hash_info", "thread_info")
    },
    **{
        f"builtins.{name}iterator": _keyed_iterator
        for name in ("dict_key", "dict_value", "dict_item", "dict_reversekey", "dict_reversevalue", "set_")
    },
    **{
        f"itertools.{name}": _iterator
        for name in (
            "accumulate", "chain", "combinations", "combinations_with_replacement", "compress", "count", "cycle",
            "dropwhile", "filterfalse", "islice", "permutations", "product", "repeat", "starmap",
            "takewhile", "zip_longest",
        )
    },
}  # fmt: skip
"""Recipes for exactly these types. A subclass is pickled as any object; its parts find their recipes."""
