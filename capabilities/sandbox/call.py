"""One call of a core module: a store of its own, metered, guarded, with captured output."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wasmtime import ExitTrap, Func, Instance, Linker, Memory, Module, Store, Trap, WasiConfig, WasmtimeError

from capabilities.sandbox.errors import ExecutionFailed, Used
from capabilities.sandbox.guard import Guard
from capabilities.sandbox.hostcalls import CoreHost, Port
from capabilities.sandbox.hosting import Import, define
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.runtime import Runtime
from capabilities.sandbox.verdict import End, verdict
from durable.core.errors import DurableError

FUEL_UNLIMITED = (1 << 63) - 1
INSTANCES_MAX, TABLES_MAX, MEMORIES_MAX = 64, 64, 16
"""Of one store: a component is made of several core instances."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call gave, and what it used."""

    value: Any
    used: Used


@dataclass(frozen=True, slots=True)
class Preopened:
    """A directory that the code sees as `guest`."""

    path: str
    guest: str
    writable: bool = False


class Captured:
    """What the code prints, of each stream the first bytes up to a limit; the rest is counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.dropped = {"stdout": 0, "stderr": 0}

    def writer(self, stream: str) -> Callable[[bytes], int]:
        kept = self._kept[stream]

        def write(data: bytes) -> int:
            room = self._most - len(kept)
            kept.extend(data[:room])
            self.dropped[stream] += max(0, len(data) - room)
            return len(data)

        return write

    def text(self, stream: str) -> str:
        return self._kept[stream].decode(errors="replace")


class CoreCall:
    """A fresh instance of a core module, and calls into it. Not for two threads at once; after an error it is dead.

    imports: host functions beside WASI. port: whom it may ask (`durable.call`); without, nobody. wasi: give WASI
    preview 1, with these arguments, environment and directories.
    """

    def __init__(
        self,
        runtime: Runtime,
        module: Module,
        limits: SandboxLimits,
        *,
        imports: Iterable[Import] = (),
        port: Port | None = None,
        wasi: bool = True,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        preopened: Iterable[Preopened] = (),
        component: str = "",
    ) -> None:
        self._runtime = runtime
        self._limits = limits
        self._component = component
        self._fuel = FUEL_UNLIMITED if limits.fuel is None else limits.fuel
        self._module = module
        self.output = Captured(limits.output)
        self.store = Store(runtime.engine)
        self.guard = Guard(self.store)
        self.store.set_limits(limits.memory, limits.table_elements, INSTANCES_MAX, TABLES_MAX, MEMORIES_MAX)
        self._linker = Linker(runtime.engine)
        if wasi:
            self._linker.define_wasi()
            self.store.set_wasi(_wasi(self.output, argv, env or {}, preopened))
        host = None if port is None else CoreHost(port, limits)
        if host is not None:
            host.attach(self.guard, self.fuel_used)
        for each in (*imports, *(host.imports() if host is not None else ())):
            define(self._linker, each, lambda: self.guard)
        self._instance: Instance | None = None

    def call(self, function: str, *args: Any) -> Outcome:
        """Call an export, in this thread. ExecutionFailed, or the one SandboxError of what stopped it."""
        return self._guarded(lambda: self._export(function)(self.store, *self._checked(function, args)))

    def call_bytes(self, function: str, data: bytes) -> Outcome:
        """Call an export of at most one number, given and returned as its little-endian bytes (A32)."""

        def call() -> bytes:
            func = self._export(function)
            kind = func.type(self.store)
            return _encoded(function, kind.results, func(self.store, *_decoded(function, kind.params, data)))

        return self._guarded(call)

    def cancel(self) -> None:
        """Stop it, from any thread."""
        self.guard.cancel()
        self._runtime.nudge()

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

    def _guarded(self, work: Callable[[], Any]) -> Outcome:
        limits = self._limits
        if self._runtime.metered:
            self.store.set_fuel(self._fuel)
        with self._runtime.running():
            self.guard.begin(limits.timeout_ms)
            try:
                value = work()
            except ExecutionFailed as error:
                error.used = self._used()
                raise
            except (Trap, WasmtimeError) as error:
                ended = self._verdict(error)
                raise ended from ended.__cause__
        return Outcome(value, self._used())

    def _verdict(self, error: Trap | WasmtimeError) -> DurableError:
        guard = self.guard
        status = error.code if isinstance(error, ExitTrap) else None
        end = End(str(error), self._used(), guard.host, status, guard.cancelled, guard.interrupted)
        return verdict(end, self._limits, self._component)

    def fuel_used(self) -> int | None:
        """By the call that runs, or the last one; None where it is not known."""
        if not self._runtime.metered or self.guard.interrupted:
            return None  # after an interrupt it reads as none left
        return self._fuel - int(self.store.get_fuel())

    def _used(self) -> Used:
        fuel = self.fuel_used()
        return Used(self.guard.elapsed_ms, fuel, self._memory(), self.output.text("stdout"), self.output.text("stderr"))

    def _memory(self) -> int | None:
        """Bytes of the exported memories; None when there is none."""
        if self._instance is None:
            return None
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
            wanted: tuple[type, ...] = (int,) if str(kind) in ("i32", "i64") else (int, float)
            if str(kind) not in _FORMATS or isinstance(arg, bool) or not isinstance(arg, wanted):
                raise ExecutionFailed(function, f"type mismatch: {arg!r} is no {kind}")
        return args


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


def _wasi(output: Captured, argv: Sequence[str], env: Mapping[str, str], preopened: Iterable[Preopened]) -> WasiConfig:
    config = WasiConfig()
    config.argv = list(argv)
    config.env = list(env.items())
    config.stdout_custom = output.writer("stdout")
    config.stderr_custom = output.writer("stderr")
    for each in preopened:
        config.preopen_dir(each.path, each.guest, each.writable)
    return config
