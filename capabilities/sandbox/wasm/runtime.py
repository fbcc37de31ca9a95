"""The WebAssembly engine of this process: compiled code, the ticker, and the threads that call (specs/sandbox.md)."""

from __future__ import annotations

import atexit
import hashlib
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Self

import wasmtime
from wasmtime import Config, Engine, Module, WasmtimeError, wat2wasm
from wasmtime import _ffi as ffi
from wasmtime.component import Component

from capabilities.sandbox.errors import ComponentParseFailed, ComponentValidationFailed, EngineInitialization
from capabilities.sandbox.limits import ASYNC_STACK_BYTES, STACK_BYTES, TICK_MS
from capabilities.sandbox.wasm.compile_process import SMALL_BYTES, check_names, check_size, compiled
from capabilities.sandbox.wasm.compiled_cache import Artefacts
from capabilities.sandbox.wasm.deadline import ASK_TICKS_MAX, cancel_all
from capabilities.sandbox.wasm.threads import SandboxThreads

MAGIC = b"\0asm"
_CORE, _COMPONENT = b"\x01\0\0\0", b"\x0d\0\x01\0"
SPARING_BYTES, GUARD_BYTES = 16 * 1024 * 1024, 64 * 1024
"""Bytes of address space for a memory that is sparing with it, then again as it grows, and behind it."""
IDLE_TICKS_MAX = 20
"""Ticks that the ticker goes on for without a call."""
EXIT_S = 2.0
"""Seconds that the end of the process waits for calls, which are cancelled then."""
AT_HAND_BYTES = 64 * 1024
"""Bytes to be hashed in an event loop."""
MODULES_MAX = 100
"""Compiled modules kept in memory (A19)."""
MODULES_BYTES_MAX = 512 * 1024 * 1024
"""Bytes of their compiled code, at most; one is always kept."""


def is_component(data: bytes) -> bool:
    """Whether these bytes begin as a component does, not as a core module."""
    return data[:8] == MAGIC + _COMPONENT


@dataclass(frozen=True, slots=True)
class Compilations:
    """The compilations of one runtime (W2). hits: from memory or disk. total_ms: of compiling alone."""

    compiled: int = 0
    hits: int = 0
    misses: int = 0
    total_ms: float = 0.0

    @property
    def average_ms(self) -> float:
        """Milliseconds of one on average; 0 before the first."""
        return self.total_ms / self.compiled if self.compiled else 0.0


class Runtime:
    """One engine and what is compiled for it, shared by all calls; a store belongs to one call.

    cache: a directory of compiled code, or None to compile in each process. metered: calls have fuel, which costs
    speed; without, time alone stops them. sparing: with little address space for each memory, not
    4 GiB, for a process that may not have as much.
    """

    def __init__(self, cache: Path | None = None, *, metered: bool = True, sparing: bool = False) -> None:
        self.metered = metered
        self._sparing = sparing
        try:
            self.engine = Engine(_config(metered, sparing))
        except WasmtimeError as error:
            raise EngineInitialization(str(error)) from None
        self.threads = SandboxThreads()
        self._artefacts = None if cache is None else Artefacts(cache)
        self._compiled: OrderedDict[str, tuple[Module | Component, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.compilations = Compilations()
        """How often code was compiled, and how often that was not needed."""
        self._ticker = _Ticker(self.engine)
        _living.add(self)

    def module(self, data: bytes, name: str = "", *, trusted: bool = False) -> Module:
        """A core module. ComponentValidationFailed, ComponentParseFailed, ResourceLimitExceeded.

        trusted: code of ours, which is compiled here and without limits.
        """
        found = self._load(data, name or "module", _CORE, trusted)
        assert isinstance(found, Module)
        return found

    def compiled_by(self, data: bytes) -> Module:
        """A core module of ours that another process compiled, one that is trusted. ValueError: for another runtime."""
        try:
            found = Module.deserialize(self.engine, data)
        except WasmtimeError as error:
            raise ValueError(str(error)) from None
        with self._lock:
            self._count(hits=1)
        return found

    def component(self, data: bytes, name: str = "") -> Component:
        """A component of the Component Model. The errors of `module`."""
        found = self._load(data, name or "component", _COMPONENT, False)
        assert isinstance(found, Component)
        return found

    def at_hand(self, data: bytes) -> bool:
        """Whether it is small and compiled: having it takes less than handing it to a thread."""
        if len(data) > AT_HAND_BYTES:
            return False
        with self._lock:
            return self.key(data) in self._compiled

    def running(self) -> _Ticker:
        """While it is entered, the engine's epoch moves."""
        return self._ticker

    def nudge(self) -> None:
        """Make all running code ask its guard now: for a cancel."""
        for _ in range(ASK_TICKS_MAX):
            self.engine.increment_epoch()

    def ended(self, timeout_s: float) -> None:
        """Wait until nothing runs, having been cancelled."""
        ends = time.monotonic() + timeout_s
        while self._ticker.calls and time.monotonic() < ends:
            self.nudge()
            time.sleep(TICK_MS / 1000)

    def close(self) -> None:
        """Let the threads end. Calls that run go on to their own end. Idempotent."""
        self.threads.close()
        self._ticker.close()

    def artefact(self, name: str) -> bytes | None:
        """The artefact that was kept under this name, as it was written, or None."""
        return None if self._artefacts is None else self._artefacts.load(name)

    def keep(self, name: str, artefact: bytes) -> None:
        """Keep it in this runtime's cache, if there is one."""
        if self._artefacts is not None:
            self._artefacts.keep(name, artefact)

    def _load(self, data: bytes, name: str, layer: bytes, trusted: bool) -> Module | Component:
        if data[:4] != MAGIC:
            raise ComponentValidationFailed(name, f"it begins with {data[:4]!r}, WebAssembly begins with {MAGIC!r}")
        if data[4:8] != layer:
            kind, other = ("core module", "component") if layer == _CORE else ("component", "core module")
            raise ComponentValidationFailed(name, f"it is no {kind}; perhaps a {other}")
        check_size(name, len(data))
        key = self.key(data)
        with self._lock:
            found = self._compiled.get(key)
            if found is not None:
                self._compiled.move_to_end(key)
                self._count(hits=1)
                return found[0]
        made, size = self._compile(data, name, key, layer == _COMPONENT, trusted)
        with self._lock:
            self._compiled[key] = made, size
            total = sum(each for _, each in self._compiled.values())
            while len(self._compiled) > MODULES_MAX or (total > MODULES_BYTES_MAX and len(self._compiled) > 1):
                total -= self._compiled.popitem(last=False)[1][1]
        return made

    def _compile(
        self, data: bytes, name: str, key: str, component: bool, trusted: bool
    ) -> tuple[Module | Component, int]:
        """The module or component, and the bytes of its compiled code."""
        kind = Component if component else Module
        kept = self._artefacts.load(key) if self._artefacts is not None else None
        if kept is not None:
            try:
                loaded = kind.deserialize(self.engine, kept)
                with self._lock:
                    self._count(hits=1)
                return loaded, len(kept)
            except WasmtimeError:
                pass  # of another build of wasmtime: compile it
        with self._lock:
            self._count(misses=1)
        began = time.perf_counter()
        if trusted or len(data) <= SMALL_BYTES:
            made = self.compile_here(data, name, component=component)
            check_names(name, names(self.engine, made))
            artefact = bytes(made.serialize())
        else:
            artefact = compiled(data, name, component=component, metered=self.metered)
            made = kind.deserialize(self.engine, artefact)
        with self._lock:
            self._count(compiled=1, ms=(time.perf_counter() - began) * 1000)
        self.keep(key, artefact)
        return made, len(artefact)

    def _count(self, *, compiled: int = 0, hits: int = 0, misses: int = 0, ms: float = 0.0) -> None:
        was = self.compilations
        self.compilations = Compilations(
            was.compiled + compiled, was.hits + hits, was.misses + misses, was.total_ms + ms
        )

    def compile_here(self, data: bytes, name: str, *, component: bool) -> Module | Component:
        """In this process and without limits: for what is trusted, or small, or in the process that is made for it."""
        try:
            return Component(self.engine, data) if component else Module(self.engine, data)
        except WasmtimeError as error:
            raise ComponentParseFailed(name, str(error)) from None

    def key(self, data: bytes) -> str:
        """The key of compiled code and of fuel counts: content, wasmtime's version and our configuration.

        A change of any is another artefact.
        """
        how = f"{_wasmtime()}:{_CONFIGURATION}:{self.metered}{':sparing' if self._sparing else ''}".encode()
        return hashlib.sha256(hashlib.sha256(how).digest() + data).hexdigest()


@cache
def _wasmtime() -> str:
    """The version of wasmtime: looking it up takes longer than running a small module."""
    return version("wasmtime")


def names(engine: Engine, made: Module | Component) -> int:
    """How many imports and exports it has."""
    if isinstance(made, Module):
        return len(made.imports) + len(made.exports)
    return len(made.type.imports(engine)) + len(made.type.exports(engine))


class _Ticker:
    """Moves the epoch while calls run. Its thread outlives the last of them a little: a call of microseconds cannot
    begin one of its own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._calls = 0
        self._ticking = False
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        with self._lock:
            self._calls += 1
            if not self._ticking:
                self._ticking = True
                threading.Thread(target=self._tick, name="durable-epochs", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._calls -= 1

    @property
    def calls(self) -> int:
        """The number of calls that run now."""
        return self._calls

    def close(self) -> None:
        """No thread outlives its last call from now on."""
        self._stop.set()

    def _tick(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK_MS / 1000)
            self._engine.increment_epoch()
            with self._lock:
                idle = 0 if self._calls else idle + 1
                if idle > IDLE_TICKS_MAX or (idle and self._stop.is_set()):
                    self._ticking = False
                    return


_living: weakref.WeakSet[Runtime] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """The process ends: a callback out of code that still runs then would abort it."""
    if any(runtime.running().calls for runtime in _living):
        cancel_all()
        for runtime in list(_living):
            runtime.ended(EXIT_S)


_CONFIGURATION = "3"
"""Raise it with each change of `_config`."""


def _config(metered: bool, sparing: bool = False) -> Config:
    config = Config()
    if sparing:
        config.memory_reservation = config.memory_reservation_for_growth = SPARING_BYTES
        config.memory_guard_size = GUARD_BYTES
        config.parallel_compilation = False  # its threads would each have their heap
    config.consume_fuel = metered
    config.epoch_interruption = True
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), ASYNC_STACK_BYTES)
    config.max_wasm_stack = STACK_BYTES
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_simd = False
    config.wasm_memory64 = False
    config.wasm_exceptions = False  # these and the next: young, seldom used, and nothing here gives or takes them
    config.wasm_gc = False
    config.wasm_function_references = False
    for feature in ("async", "async_stackful", "more_async_builtins"):
        getattr(ffi, f"wasmtime_config_wasm_component_model_{feature}_set")(config.ptr(), False)
    config.wasm_multi_value = True
    config.wasm_component_model = True
    config.cranelift_nan_canonicalization = True  # a replay computes the same bits
    return config


def wat(text: str) -> bytes:
    """The bytes of a module or component in the text format. ComponentParseFailed."""
    try:
        return bytes(wat2wasm(text))
    except WasmtimeError as error:
        raise ComponentParseFailed("text", str(error)) from None


__all__ = ["Component", "Module", "Runtime", "is_component", "wasmtime", "wat"]
