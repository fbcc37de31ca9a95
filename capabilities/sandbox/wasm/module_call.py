"""One call of a core module: a store of its own, metered, guarded, with captured output."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from wasmtime import Func, FuncType, Instance, Linker, Memory, Module, WasmtimeError

from capabilities.sandbox.errors import ExecutionFailed
from capabilities.sandbox.host_calls import CoreHost, Port
from capabilities.sandbox.limits import INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX, SandboxLimits
from capabilities.sandbox.wasm.exports import Inputs, in_order
from capabilities.sandbox.wasm.fuel_meter import FuelMeter, Outcome
from capabilities.sandbox.wasm.module_imports import Import, define, imported
from capabilities.sandbox.wasm.runtime import Runtime
from capabilities.sandbox.wasm.wasi import WASI, Ambient, Captured, Preopened, Wasi

_BARE = Wasi()


class CoreCall(FuelMeter):
    """A fresh instance of a core module, and calls into it. Not for two threads at once; after an error it is dead.

    imports: host functions beside WASI. port: whom it may ask (`durable.call`); without, nobody. wasi: what it is
    given of WASI preview 1; None for no WASI at all.
    """

    def __init__(
        self,
        runtime: Runtime,
        module: Module,
        limits: SandboxLimits,
        *,
        imports: Iterable[Import] = (),
        port: Port | None = None,
        wasi: Wasi | None = _BARE,
        component: str = "",
    ) -> None:
        super().__init__(runtime, limits, component)
        self._module = module
        self._linker = Linker(runtime.engine)
        self._linker.allow_shadowing = True
        wanted = imported(module)
        defined = list(imports)
        if wasi is not None and any(where == WASI for where, _ in wanted):
            self._linker.define_wasi()
            self.store.set_wasi(wasi.config(self.output))
            defined = [*Ambient(wasi.started_ns, wasi.seed).imports(), *defined]
        if port is not None:
            host = CoreHost(port, limits)
            host.attach(self.guard, self.fuel_used)
            defined += host.imports()
        self._defined = [
            define(self._linker, each, lambda: self.guard) for each in defined if (each.module, each.name) in wanted
        ]
        self._instance: Instance | None = None

    def call(self, function: str, *args: Any) -> Outcome:
        """Call an export, in this thread. ExecutionFailed, or the one SandboxError of what stopped it."""
        return self.guarded(function, lambda: self._export(function)(self.store, *self._checked(function, args)))

    def instantiate(self) -> None:
        """Make the instance now, and run what the module itself says begins it. As `call`."""
        self.guarded("instantiate", lambda: self.instance)

    def call_bytes(self, function: str, data: bytes) -> Outcome:
        """Call an export of at most one number, given and returned as its little-endian bytes (A32)."""

        def call() -> bytes:
            func = self._export(function)
            kind = func.type(self.store)
            return _encoded(function, kind.results, func(self.store, *_decoded(function, kind.params, data)))

        return self.guarded(function, call)

    def exports(self) -> dict[str, list[str]]:
        """The functions, as a component's (`ComponentCall.exports`)."""
        return {"": [each.name for each in self._module.exports if isinstance(each.type, FuncType)]}

    def arguments(self, function: str, inputs: Inputs) -> tuple[Any, ...]:
        """The arguments that an export is called with: parameters of modules have no names."""
        return in_order(function, None, inputs)

    @property
    def instance(self) -> Instance:
        """Made on first use, under the limits of the call that needs it."""
        if self._instance is None:
            try:
                self._instance = self._linker.instantiate(self.store, self._module)
            except WasmtimeError as error:
                if "unknown import" in str(error):
                    raise ExecutionFailed("instantiate", str(error).splitlines()[0]) from None
                raise
        return self._instance

    def memory_used(self) -> int | None:
        """Bytes of the exported memories; None when there is none."""
        if self._instance is None or self._ended is not None:
            return super().memory_used()
        exported = self._instance.exports(self.store)
        sizes = [each.data_len(self.store) for each in exported.values() if isinstance(each, Memory)]
        return sum(sizes) if sizes else None

    def _export(self, function: str) -> Func:
        found = self.instance.exports(self.store).get(function)
        if not isinstance(found, Func):
            raise ExecutionFailed(function, "there is no function of this name among the exports")
        return found

    def _checked(self, function: str, args: Sequence[Any]) -> Sequence[Any]:
        kinds = self._export(function).type(self.store).params
        if len(kinds) != len(args):
            raise ExecutionFailed(function, f"it takes {len(kinds)} arguments, {len(args)} were given")
        for kind, arg in zip(kinds, args, strict=True):
            name = str(kind)
            wanted: tuple[type, ...] = (int,) if name in _INTS else (int, float)
            if name not in _FORMATS or isinstance(arg, bool) or not isinstance(arg, wanted):
                raise ExecutionFailed(function, f"type mismatch: {arg!r} is no {name}")
            if name in _INTS and not -(2 ** (_INTS[name] - 1)) <= arg < 2 ** _INTS[name]:
                raise ExecutionFailed(function, f"type mismatch: {arg} is no {name}: it does not fit")
        return args


_INTS = {"i32": 32, "i64": 64}
_FORMATS = {"i32": "<i", "i64": "<q", "f32": "<f", "f64": "<d"}


def _decoded(function: str, kinds: Sequence[Any], data: bytes) -> tuple[Any, ...]:
    form = _format(function, kinds, "parameters")
    if len(data) != struct.calcsize(form):
        raise ExecutionFailed(function, f"type mismatch: {len(data)} bytes, {struct.calcsize(form)} are expected")
    return struct.unpack(form, data)


def _encoded(function: str, kinds: Sequence[Any], value: Any) -> bytes:
    form = _format(function, kinds, "results")
    return struct.pack(form, value) if kinds else b""


def _format(function: str, kinds: Sequence[Any], what: str) -> str:
    if len(kinds) > 1:
        raise ExecutionFailed(function, f"it has {len(kinds)} {what}: more than one needs a schema")
    if not kinds:
        return ""
    form = _FORMATS.get(str(kinds[0]))
    if form is None:
        raise ExecutionFailed(function, f"a {kinds[0]} cannot be given as bytes")
    return form


__all__ = ["INSTANCES_MAX", "MEMORIES_MAX", "TABLES_MAX", "Captured", "CoreCall", "Outcome", "Preopened", "Wasi"]
