"""One call of a component: typed values in and out, a store of its own, metered, guarded, with captured output."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from wasmtime import WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime.component import (
    Component,
    ComponentInstanceType,
    Func,
    FuncType,
    Instance,
    Linker,
    ResourceAny,
    ResourceHost,
    ResourceType,
)

from capabilities.sandbox.errors import ExecutionFailed
from capabilities.sandbox.host_calls import Port
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.wasm.component_imports import Interface, link
from capabilities.sandbox.wasm.exports import Inputs, in_order, shown
from capabilities.sandbox.wasm.fuel_meter import FuelMeter, Outcome
from capabilities.sandbox.wasm.host_interface import HostInterfaces, Locals
from capabilities.sandbox.wasm.runtime import Runtime
from capabilities.sandbox.wasm.wasi import Ambient, Wasi
from capabilities.sandbox.wasm.wasi_p2 import shadows
from capabilities.sandbox.wasm.wit_codecs import Signature
from capabilities.sandbox.wasm.wit_values import Err, Misfit, Ok

RESOURCES_MAX = 10_000
"""Objects of the host that a component may hold at a time."""

_BARE = Wasi()


class Handle:
    """A resource of the component's own. It ends with its call, or when it is dropped."""

    def __init__(self, inner: ResourceAny, call: ComponentCall) -> None:
        self._inner: ResourceAny | None = inner
        self._call = call

    def drop(self) -> None:
        """Run the component's destructor of it, under the limits of a call. Idempotent."""
        inner, self._inner = self._inner, None
        if inner is not None and not self._call.closed:
            self._call.guarded("drop", lambda: _checked(ffi.wasmtime_component_resource_any_drop, self._call, inner))

    def lent(self, call: ComponentCall, *, owned: bool) -> Any:
        """The C handle for one use; an owned one is given away. Misfit."""
        if self._inner is None:
            raise Misfit("the resource was dropped or given away")
        if call is not self._call:
            raise Misfit("the resource is of another instance")
        if owned:
            inner, self._inner = self._inner, None
            return inner._consume()
        return ffi.wasmtime_component_resource_any_clone(self._inner.ptr())


class ComponentCall(FuelMeter):
    """A fresh instance of a component, and calls into it. Not for two threads at once; after an error it is dead.

    interfaces: host functions by interface (`test:host/notes@0.1.0`) and name. port: whom it may ask, through the
    interfaces of `durable:host` (`wit/host.wit`); without, nobody. locals: what of them is answered beside. wasi: what
    it is given of WASI preview 2; None for no WASI at all. Values are as specs/sandbox.md says; an error that the
    component answers with is raised as Err.
    """

    def __init__(
        self,
        runtime: Runtime,
        component: Component,
        limits: SandboxLimits,
        *,
        interfaces: Mapping[str, Interface] | None = None,
        port: Port | None = None,
        locals: Locals | None = None,
        wasi: Wasi | None = _BARE,
        name: str = "",
    ) -> None:
        super().__init__(runtime, limits, name)
        self._compiled = component
        self._resources = HostObjects(self)
        self._signatures: dict[str, tuple[Func, Signature]] = {}
        self._instance: Instance | None = None
        self._linker = Linker(runtime.engine)
        self._linker.allow_shadowing = True
        given = dict(interfaces or {})
        if port is not None:
            answered = {"log": self._log, **(locals or {})}
            hosted = HostInterfaces(port, self.guard, limits, self.fuel_used, name, answered)
            given = {**hosted.made(), **given}
        if wasi is not None:
            self._linker.add_wasip2()
            self.store.set_wasi(wasi.config(self.output))
            given = {**shadows(Ambient(wasi.started_ns, wasi.seed), name), **given}
        self._linked = link(
            self._linker, given, self.guard, self._resources, self._resources.kind, self._resources.dropped
        )

    def call(self, function: str, *args: Any) -> Outcome:
        """Call an export in this thread: `name`, or `interface#name` of an exported interface.

        ExecutionFailed for what is no such function or does not fit it, Err for its own error, or the one
        SandboxError of what stopped it.
        """
        return self.guarded(function, lambda: self._call(function, args))

    def instantiate(self) -> None:
        """Make the instance now. ExecutionFailed for what it imports and is not given, else as `call`."""
        self.guarded("instantiate", self._made)

    def exports(self) -> dict[str, list[str]]:
        """The functions of each exported interface; "" is what is exported without one."""
        engine = self.runtime.engine
        found: dict[str, list[str]] = {"": []}
        for name, extern in self._compiled.type.exports(engine).items():
            if isinstance(extern.ty, FuncType):
                found[""].append(name)
            elif isinstance(extern.ty, ComponentInstanceType):
                inner = extern.ty.exports(engine)
                found[name] = [each for each, what in inner.items() if isinstance(what.ty, FuncType)]
        return found

    def arguments(self, function: str, inputs: Inputs) -> tuple[Any, ...]:
        """The arguments that an export of this name is called with; empty for one that is not there, as `call` says."""
        interface, _, name = function.rpartition("#")
        exported = self._compiled.type.exports(self.runtime.engine)
        if interface:
            inside = exported[interface].ty if interface in exported else None
            exported = inside.exports(self.runtime.engine) if isinstance(inside, ComponentInstanceType) else {}
        kind = exported[name].ty if name in exported else None
        if not isinstance(kind, FuncType):
            return ()
        return in_order(function, [each for each, _ in kind.params], inputs)

    def _log(self, level: str, message: str) -> None:
        self.output.writer("stderr")(f"{level}: {message}\n".encode(errors="replace"))

    def _call(self, function: str, args: tuple[Any, ...]) -> Any:
        func, signature = self._found(function)
        params = signature.params
        if len(args) != len(params):
            names = ", ".join(name for name, _ in params) or "none"
            raise ExecutionFailed(function, f"it takes {len(params)} arguments ({names}), {len(args)} were given")
        given = (ffi.wasmtime_component_val_t * max(1, len(params)))()
        result = ffi.wasmtime_component_val_t()
        try:
            for place, ((name, inner), arg) in enumerate(zip(params, args, strict=True)):
                try:
                    inner.lower(arg, given[place], self._resources)
                except Misfit as misfit:
                    raise misfit.at(name).failure(function) from None
            count = 0 if signature.result is None else 1
            out = ctypes.byref(result) if count else None
            error = ffi.wasmtime_component_func_call(
                ctypes.byref(func._func), self.store._context(), given, len(params), out, count
            )
            if error:
                raise WasmtimeError._from_ptr(error)
            value = None if signature.result is None else signature.result.lift(result, self._resources)
        finally:
            for each in (*given, result):
                ffi.wasmtime_component_val_delete(ctypes.byref(each))
        if signature.fallible:
            if isinstance(value, Err):
                raise value
            assert isinstance(value, Ok)
            return value.value
        return value

    def _found(self, function: str) -> tuple[Func, Signature]:
        known = self._signatures.get(function)
        if known is not None:
            return known
        interface, separator, name = function.rpartition("#")
        instance = self._made()
        index = None
        if separator:
            outer = instance.get_export_index(self.store, interface)
            index = None if outer is None else instance.get_export_index(self.store, name, outer)
        else:
            index = instance.get_export_index(self.store, name)
        func = None if index is None else instance.get_func(self.store, index)
        if func is None:
            listed = ", ".join(shown(self.exports())) or "nothing"
            raise ExecutionFailed(function, f"there is no function of this name; exported: {listed}")
        with func.type(self.store) as kind:
            self._signatures[function] = found = (func, Signature.of(kind))
        return found

    def _made(self) -> Instance:
        if self._instance is None:
            try:
                self._instance = self._linker.instantiate(self.store, self._compiled)
            except WasmtimeError as error:
                text = str(error)
                if "matching implementation was not found" in text or "component imports" in text:
                    reason = "; ".join(line.strip() for line in text.splitlines()[:4] if line.strip())
                    raise ExecutionFailed("instantiate", f"it asks for what is not given: {reason}") from None
                raise
        return self._instance


class HostObjects:
    """Objects of the host that a component holds, by number, and its own ones as handles."""

    def __init__(self, call: ComponentCall) -> None:
        self._call = call
        self._kinds: dict[type, int] = {}
        self._objects: dict[int, Any] = {}
        self._next = 0

    def kind(self, cls: type) -> int:
        """The number of a class of objects, within this store."""
        return self._kinds.setdefault(cls, len(self._kinds) + 1)

    def dropped(self, number: int) -> None:
        """The component is done with an object."""
        self._objects.pop(number, None)

    def lend(self, value: Any, kind: ResourceType, *, owned: bool) -> Any:
        """The C handle of a value. Misfit for what is of another type."""
        if isinstance(value, Handle):
            return value.lent(self._call, owned=owned)
        number = self._kinds.get(type(value))
        if number is None or ResourceType.host(number) != kind:
            raise Misfit(f"a {type(value).__name__} is no such resource")
        if len(self._objects) >= RESOURCES_MAX:
            raise Misfit(f"a component holds at most {RESOURCES_MAX} objects of the host")
        self._next += 1
        self._objects[self._next] = value
        made = ResourceHost.own(self._next, number) if owned else ResourceHost.borrow(self._next, number)
        return made.to_any(self._call.store)._consume()

    def going(self) -> None:
        """Check that the call has time left. WasmtimeError, which the guard knows the reason of."""
        guard = self._call.guard
        if guard.over:
            guard.trip()
            raise WasmtimeError("interrupted by the guard")

    def take(self, pointer: Any) -> Any:
        """The value of a C handle; the host's own object, or a handle of the component's."""
        inner = ResourceAny._from_ptr(ffi.wasmtime_component_resource_any_clone(pointer))
        if any(ResourceType.host(number) == inner.type for number in self._kinds.values()):
            number = inner.to_host(self._call.store).rep
            if number not in self._objects:
                raise Misfit("the resource was dropped before")
            return self._objects[number]
        return Handle(inner, self._call)


def _checked(call: Any, of: ComponentCall, inner: ResourceAny) -> None:
    error = call(of.store._context(), inner.ptr())
    if error:
        raise WasmtimeError._from_ptr(error)
