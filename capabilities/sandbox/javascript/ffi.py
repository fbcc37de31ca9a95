"""An instance of QuickJS by wasmtime's unchecked entry: own ctypes, half a microsecond a call where its Python package
takes sixteen. What may go wrong there is kept out: every function is named with its signature below, and every address
that the sandbox gives is checked against the size of its memory before it is followed.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from wasmtime import Engine, FuncType, Instance, InstancePre, Linker, Module, Store, Trap, ValType, WasmtimeError
from wasmtime import _ffi as ffi

from capabilities.sandbox.errors import ComponentTrapped

_POINTER = ctypes.c_void_p
_RAW_I32 = 4
"""A raw value has 16 bytes: four i32."""
ARGS_MAX = 8


def _own(name: str, result: Any, *args: Any) -> Any:
    """A prototype of our own, whose arguments are plain addresses: converting them is what costs."""
    address = ctypes.cast(getattr(ffi.dll, name), _POINTER).value
    assert address is not None
    return ctypes.CFUNCTYPE(result, *args)(address)


_call = _own("wasmtime_func_call_unchecked", _POINTER, _POINTER, _POINTER, _POINTER, ctypes.c_size_t, _POINTER)
_data = _own("wasmtime_memory_data", _POINTER, _POINTER, _POINTER)
_size = _own("wasmtime_memory_data_size", ctypes.c_size_t, _POINTER, _POINTER)
_context = _own("wasmtime_caller_context", _POINTER, _POINTER)
_number = _own("wasmtime_context_get_data", _POINTER, _POINTER)


class InstanceHost(Protocol):
    """The host of an instance: whoever made it. What it raises ends the call; nothing is raised into wasmtime."""

    def imported(self, name: str, args: Sequence[int]) -> int:
        """An import was called."""
        ...

    def raised(self, error: BaseException) -> None:
        """`imported` raised this."""
        ...


_hosts: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
_I32, _I64 = "i32", "i64"
IMPORTS: dict[tuple[str, str], tuple[tuple[str, ...], bool]] = {
    ("env", "host_get_timezone_offset"): ((_I32, _I32), True),
    ("env", "host_interrupt"): ((), True),
    ("env", "host_promise_rejection"): ((_I32, _I32, _I32), False),
    ("env", "host_module_normalize"): ((_I32, _I32), True),
    ("env", "host_module_load"): ((_I32, _I32), True),
    ("env", "host_call"): ((_I32,) * 5, True),
    ("wasi_snapshot_preview1", "clock_time_get"): ((_I32, _I64, _I32), True),
    ("wasi_snapshot_preview1", "fd_close"): ((_I32,), True),
    ("wasi_snapshot_preview1", "fd_fdstat_get"): ((_I32, _I32), True),
    ("wasi_snapshot_preview1", "fd_seek"): ((_I32, _I64, _I32, _I32), True),
    ("wasi_snapshot_preview1", "fd_write"): ((_I32,) * 4, True),
    ("wasi_snapshot_preview1", "random_get"): ((_I32, _I32), True),
}
"""All that the engine imports: parameters, and whether it gives an i32 back."""


def _callback(name: str, count: int) -> Any:
    def called(_env: Any, caller: Any, raw: Any, _length: int) -> int:
        host = _hosts.get(_number(_context(caller)) or 0)
        if host is None:
            return _trap("the instance is gone")
        values = ctypes.cast(raw, ctypes.POINTER(ctypes.c_int32))
        try:
            values[0] = host.imported(name, [values[i * _RAW_I32] & 0xFFFFFFFF for i in range(count)])
        except BaseException as error:
            host.raised(error)
            return _trap("a host function failed")
        return 0

    return ctypes.CFUNCTYPE(ctypes.c_size_t, _POINTER, _POINTER, _POINTER, ctypes.c_size_t)(called)


def _trap(text: str) -> int:
    return ctypes.cast(Trap(text)._consume(), _POINTER).value or 0


_callbacks = {(module, name): _callback(name, len(params)) for (module, name), (params, _) in IMPORTS.items()}
"""Never freed: an instance may call them as long as the process lives."""
_no_finalizer = ctypes.CFUNCTYPE(None, _POINTER)()


def link(engine: Engine, module: Module) -> InstancePre:
    """The module with all its imports, ready to be instantiated."""
    linker = Linker(engine)
    kinds = {_I32: ValType.i32, _I64: ValType.i64}
    for (where, name), (params, gives) in IMPORTS.items():
        kind = FuncType([kinds[each]() for each in params], [ValType.i32()] if gives else [])
        error = ffi.wasmtime_linker_define_func_unchecked(
            linker.ptr(),
            ctypes.create_string_buffer(where.encode()),
            len(where),
            ctypes.create_string_buffer(name.encode()),
            len(name),
            kind.ptr(),
            ctypes.cast(_callbacks[where, name], ffi.wasmtime_func_unchecked_callback_t),
            None,
            _no_finalizer,
        )
        if error:
            raise WasmtimeError._from_ptr(error)
    return linker.instantiate_pre(module)


class Entry:
    """One instance, by numbers and addresses. All that it does must be done between `begin` and `end` of a guard."""

    def __init__(self, store: Store, pre: InstancePre, host: InstanceHost, number: int) -> None:
        _hosts[number] = host
        self.store = store
        ffi.wasmtime_context_set_data(store._context(), number)
        self._instance: Instance = pre.instantiate(store)
        self._ctx = ctypes.cast(store._context(), _POINTER).value
        self._functions: dict[str, tuple[ctypes.Structure, int]] = {}
        self._memory_item = self._find("memory").of.memory
        self._memory = ctypes.addressof(self._memory_item)
        self._values = (ctypes.c_int32 * (_RAW_I32 * ARGS_MAX))()
        self._at = ctypes.addressof(self._values)
        self._floats = ctypes.cast(self._at, ctypes.POINTER(ctypes.c_double))
        self._trap = ctypes.c_void_p()
        self._trap_at = ctypes.addressof(self._trap)

    def call(self, name: str, *args: int) -> int:
        """An export of i32 to i32, or to nothing. Trap or WasmtimeError as wasmtime ends it."""
        values = self._values
        at = 0
        for arg in args:
            values[at] = arg
            at += _RAW_I32
        found = self._functions.get(name)
        if found is None:
            item = self._find(name)
            found = self._functions[name] = (item, ctypes.addressof(item.of.func))
        error = _call(self._ctx, found[1], self._at, ARGS_MAX, self._trap_at)
        if error or self._trap.value:
            self._raise(error)
        return values[0] & 0xFFFFFFFF

    def call_wide(self, name: str, first: int, low: int, high: int) -> int:
        """An export of an i32 and an i64, in two halves."""
        self._values[_RAW_I32 + 1] = high
        return self.call(name, first, low)

    def number(self, handle: int) -> float:
        """The number that this handle holds."""
        self.call("qjs_get_float64", handle)
        return float(self._floats[0])

    def new_number(self, value: float) -> int:
        """A handle of this number."""
        self._floats[0] = value
        return self.call("qjs_new_number")

    @property
    def size(self) -> int:
        """Bytes of its memory."""
        return int(_size(self._ctx, self._memory))

    def read(self, address: int, length: int) -> bytes:
        """Bytes of its memory. ComponentTrapped for what lies outside of it."""
        if address + length > self.size or length < 0:
            raise ComponentTrapped("the engine gave an address outside of its memory")
        return ctypes.string_at(_data(self._ctx, self._memory) + address, length)

    def write(self, address: int, data: bytes, *, whole: bool = False) -> None:
        """Into its memory, all of it or ComponentTrapped. whole: also at address 0, which no pointer has."""
        if address + len(data) > self.size or address < (0 if whole else 1):
            raise ComponentTrapped("the engine gave an address outside of its memory")
        ctypes.memmove(_data(self._ctx, self._memory) + address, data, len(data))

    def word(self, address: int) -> int:
        """The u32 there."""
        return int.from_bytes(self.read(address, 4), "little")

    def c_string(self, address: int, most: int = 4096) -> bytes:
        """The bytes up to a NUL, at most so many."""
        return self.read(address, min(most, self.size - address)).split(b"\0", 1)[0]

    def close(self) -> None:
        """Free it: nothing of it may be used again."""
        self.store.close()

    def whole(self) -> bytes:
        """A copy of its memory."""
        return self.read(0, self.size)

    def view(self) -> memoryview:
        """Its memory in place, to be read while nothing runs in it."""
        found = (ctypes.c_ubyte * self.size).from_address(_data(self._ctx, self._memory))
        return memoryview(found).cast("B").toreadonly()

    def grow(self, pages: int) -> None:
        """By so many pages of 64 KiB. MemoryError when its limit refuses."""
        before = ctypes.c_uint64()
        error = ffi.wasmtime_memory_grow(
            self.store._context(), ctypes.byref(self._memory_item), pages, ctypes.byref(before)
        )
        if error:
            raise MemoryError(str(WasmtimeError._from_ptr(error)))

    def _find(self, name: str) -> Any:
        item = ffi.wasmtime_extern_t()
        raw = name.encode()
        found = ffi.wasmtime_instance_export_get(
            self.store._context(),
            ctypes.byref(self._instance._instance),
            ctypes.create_string_buffer(raw),
            len(raw),
            ctypes.byref(item),
        )
        if not found:
            raise ComponentTrapped(f"the engine has no {name}")
        return item

    def _raise(self, error: int | None) -> None:
        if error:
            raise WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
        trap = ctypes.cast(self._trap, ctypes.POINTER(ffi.wasm_trap_t))
        self._trap.value = None
        raise Trap._from_ptr(trap)
