"""Host interfaces of components: their functions as wasmtime calls them, with values as Python has them.

wasmtime's own ones carry errors in a global of the process; here an error stays with the guard of its call (S7).
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from wasmtime import StoreContext, WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime.component import Linker, ResourceType
from wasmtime.component import _types as wit

from capabilities.sandbox.wasm.deadline import NO_FINALIZER, DeadlineGuard
from capabilities.sandbox.wasm.module_imports import failed
from capabilities.sandbox.wasm.wit_codecs import Resources, Signature
from capabilities.sandbox.wasm.wit_values import Err, Misfit, Ok

type HostFunction = Callable[..., Any]
type Interface = Mapping[str, HostFunction | type]
"""By the name that WIT has for it: functions, and classes for resources, whose `[constructor]` and `[method]` are
functions of their own."""

_bound: weakref.WeakValueDictionary[int, _Bound] = weakref.WeakValueDictionary()
_dropping: weakref.WeakValueDictionary[int, _Dropping] = weakref.WeakValueDictionary()
"""Weakly: their call keeps them, and nothing else."""
_numbers = itertools.count(1)


class _Bound:
    """One function for one call."""

    __slots__ = ("__weakref__", "call", "guard", "name", "resources", "signature")

    def __init__(self, name: str, call: HostFunction, guard: DeadlineGuard, resources: Resources) -> None:
        self.name = name
        self.call = call
        self.guard = guard
        self.resources = resources
        self.signature: Signature | None = None


class _Dropping:
    """A listener for objects that the component of one call is done with."""

    def __init__(self, drop: Callable[[int], None]) -> None:
        self.drop = drop


def link(
    linker: Linker,
    interfaces: Mapping[str, Interface],
    guard: DeadlineGuard,
    resources: Resources,
    kind: Callable[[type], int],
    drop: Callable[[int], None],
) -> list[object]:
    """Give interfaces to a component, for as long as what is returned is kept.

    "" is what it imports without one. `kind` numbers a class of resources, `drop` is told which object the component
    is done with.
    """
    kept: list[object] = []
    with linker.root() as root:
        for interface, functions in interfaces.items():
            if not interface:
                kept += _define(root, interface, functions, guard, resources, kind, drop)
                continue
            with root.add_instance(interface) as instance:
                kept += _define(instance, interface, functions, guard, resources, kind, drop)
    return kept


def _define(
    place: Any,
    interface: str,
    functions: Interface,
    guard: DeadlineGuard,
    resources: Resources,
    kind: Callable[[type], int],
    drop: Callable[[int], None],
) -> list[object]:
    kept: list[object] = []
    for name, given in functions.items():
        number, encoded = next(_numbers), name.encode()
        buffer = ctypes.create_string_buffer(encoded)
        if isinstance(given, type):
            _dropping[number] = dropping = _Dropping(drop)
            kept.append(dropping)
            made = ResourceType.host(kind(given))
            error = ffi.wasmtime_component_linker_instance_add_resource(
                place.ptr(), buffer, len(encoded), made.ptr(), _drop, number, NO_FINALIZER
            )
        else:
            bound = _Bound(f"{interface}#{name}" if interface else name, given, guard, resources)
            _bound[number] = bound
            kept.append(bound)
            error = ffi.wasmtime_component_linker_instance_add_func(
                place.ptr(), buffer, len(encoded), _call, number, NO_FINALIZER
            )
        if error:
            raise WasmtimeError._from_ptr(error)
    return kept


@ffi.wasmtime_component_func_callback_t  # type: ignore[untyped-decorator]
def _call(number: int | None, context: Any, ty: Any, args: Any, _nargs: int, results: Any, nresults: int) -> int:
    """Nothing is raised out of here: whatever happens is kept by the guard, and the code traps."""
    bound = _bound.get(number or 0)
    if bound is None:
        return _error("the call that this belongs to is over")
    guard = bound.guard
    store = StoreContext(context)
    try:
        if guard.over:
            guard.trip()
            return _error("interrupted by the guard")
        signature = bound.signature
        if signature is None:
            with wit.FuncType._from_ptr(ty, owner=store) as kind:
                signature = bound.signature = Signature.of(kind)
        given = [inner.lift(args[n], bound.resources) for n, (_, inner) in enumerate(signature.params)]
        value = _answer(signature, bound.call, given)
        if nresults:
            assert signature.result is not None
            try:
                results[0].kind = ffi.WASMTIME_COMPONENT_BOOL
                signature.result.lower(value, results[0], bound.resources)
            except Misfit as misfit:
                raise misfit.at("result").failure(bound.name) from None
        if guard.over:
            guard.trip()
            return _error("interrupted by the guard")
        return 0
    except BaseException as error:
        return _error(failed(guard, bound.name, error))
    finally:
        store._invalidate()


def _answer(signature: Signature, call: HostFunction, given: list[Any]) -> Any:
    """The value of the function; where WIT says result, it returns the good case and raises Err for the bad one."""
    if not signature.fallible:
        return call(*given)
    try:
        value = call(*given)
    except Err as bad:
        return bad
    return value if isinstance(value, Ok | Err) else Ok(value)


def _error(text: str) -> int:
    return ctypes.cast(ffi.wasmtime_error_new(text.encode()), ctypes.c_void_p).value or 0


@ffi.wasmtime_component_resource_destructor_t  # type: ignore[untyped-decorator]
def _drop(number: int | None, _context: Any, rep: int) -> int:
    dropping = _dropping.get(number or 0)
    if dropping is not None:
        dropping.drop(rep)
    return 0
