"""Host functions of core modules. wasmtime's own ones carry errors in a global of the process, where another thread's
call may find them; here an error stays with the guard of its call.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from wasmtime import Caller, FuncType, Linker, Module, Trap, Val, ValType, WasmtimeError
from wasmtime import _ffi as ffi

from capabilities.sandbox.errors import HostError, SandboxError
from capabilities.sandbox.wasm.deadline import NO_FINALIZER, DeadlineGuard
from durable.core.errors import Conflict, EngineFailed, NonDeterminism

type HostFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Import:
    """A host function as a module imports it. With `caller` its first argument gives it the caller's memory.

    waits: it may take long, and runs in a thread of its own, which is left to itself when a host call's time, the
    call's, or the caller's patience is over. Others run in the code's thread, and nothing can end them.
    """

    module: str
    name: str
    params: Sequence[ValType]
    results: Sequence[ValType]
    call: HostFunction
    caller: bool = False
    waits: bool = False


class Defined:
    """An import as it is given to one call, which keeps it; nothing else does."""

    def __init__(self, function: Import, guard: Callable[[], DeadlineGuard | None]) -> None:
        self.function = function
        self.guard = guard


_bound: weakref.WeakValueDictionary[int, Defined] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


_imported: weakref.WeakKeyDictionary[Module, frozenset[tuple[str, str | None]]] = weakref.WeakKeyDictionary()


def imported(module: Module) -> frozenset[tuple[str, str | None]]:
    """Module and name of all that it imports. A host function is made for what is among these alone: making one costs
    as much as running a small module.
    """
    found = _imported.get(module)
    if found is None:
        found = _imported[module] = frozenset((each.module, each.name) for each in module.imports)
    return found


def define(linker: Linker, function: Import, guard: Callable[[], DeadlineGuard | None]) -> Defined:
    """Give `function` to all that `linker` links, for as long as what is returned is kept. `guard` finds the guard of
    the call that is being made.
    """
    number = next(_numbers)
    _bound[number] = defined = Defined(function, guard)
    module, name = function.module.encode(), function.name.encode()
    kind = FuncType(list(function.params), list(function.results))
    error = ffi.wasmtime_linker_define_func(
        linker.ptr(),
        ctypes.create_string_buffer(module),
        len(module),
        ctypes.create_string_buffer(name),
        len(name),
        kind.ptr(),
        _call,
        number,
        NO_FINALIZER,
    )
    if error:
        raise WasmtimeError._from_ptr(error)
    return defined


@ffi.wasmtime_func_callback_t  # type: ignore[untyped-decorator]
def _call(number: int | None, caller_ptr: Any, args: Any, nargs: int, results: Any, nresults: int) -> int:
    """Nothing is raised out of here: whatever happens is kept by the guard, and the code traps."""
    defined = _bound.get(number or 0)
    if defined is None:
        return _trap("the call that this belongs to is over")
    function, guard = defined.function, defined.guard()
    caller = Caller(caller_ptr)
    try:
        if guard is not None and guard.over:
            guard.trip()
            return _trap("interrupted by the guard")
        given = [Val._from_raw(caller, args[i], owned=False).value for i in range(nargs)]
        value = _value(function, caller, given, guard)
        if nresults:
            values = [value] if nresults == 1 else list(value)
            for i, (kind, each) in enumerate(zip(function.results, values, strict=True)):
                results[i] = Val._convert_to_raw(caller, kind, each)
        if guard is not None and guard.over:
            guard.trip()
            return _trap("interrupted by the guard")
        return 0
    except BaseException as error:
        return _trap(failed(guard, function.name, error))
    finally:
        caller._invalidate()


def _value(function: Import, caller: Caller, given: list[Any], guard: DeadlineGuard | None) -> Any:
    if function.caller:
        return function.call(caller, *given)
    if not function.waits or guard is None:
        return function.call(*given)
    future: Future[Any] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function.call(*given))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"durable-host-{function.name}", daemon=True).start()
    return guard.wait(future, function.name, guard.host_call_ms)


def failed(guard: DeadlineGuard | None, name: str, error: BaseException) -> str:
    """A host function raised: kept for its call, unless the call was over by then. What wasmtime is told."""
    if guard is None:
        return "a host function failed"
    if guard.over:
        guard.trip()
        return "interrupted by the guard"
    if guard.host is None:
        if not isinstance(error, SandboxError | NonDeterminism | Conflict | EngineFailed):
            error = _host_error(name, error)
        guard.host = error
    return "a host function failed"


def _host_error(name: str, error: BaseException) -> HostError:
    found = HostError(name, error)
    found.__cause__ = error
    return found


def _trap(text: str) -> int:
    return ctypes.cast(Trap(text)._consume(), ctypes.c_void_p).value or 0
