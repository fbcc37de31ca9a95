"""The WebAssembly engine of this process: compiled code, the ticker, and the threads that call (specs/sandbox.md)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Self

import wasmtime
from wasmtime import Config, Engine, Module, WasmtimeError, wat2wasm
from wasmtime.component import Component

from capabilities.sandbox.artefacts import Artefacts
from capabilities.sandbox.errors import ComponentParseFailed, ComponentValidationFailed, EngineInitialization
from capabilities.sandbox.guard import ASK_TICKS_MAX
from capabilities.sandbox.limits import STACK_BYTES, TICK_MS
from capabilities.sandbox.threads import SandboxThreads

MAGIC = b"\0asm"
_CORE, _COMPONENT = b"\x01\0\0\0", b"\x0d\0\x01\0"
SPARING_BYTES, GUARD_BYTES = 16 * 1024 * 1024, 64 * 1024
"""Of address space for a memory that is sparing with it, then again as it grows, and behind it."""
IDLE_TICKS_MAX = 20
"""That the ticker goes on for without a call."""
MODULES_MAX = 100
"""Compiled modules kept in memory (A19)."""


def is_component(data: bytes) -> bool:
    """Whether these bytes begin as a component does, not as a core module."""
    return data[:8] == MAGIC + _COMPONENT


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
        self._compiled: OrderedDict[str, Module | Component] = OrderedDict()
        self._lock = threading.Lock()
        self._ticker = _Ticker(self.engine)

    def module(self, data: bytes, name: str = "") -> Module:
        """A core module. ComponentValidationFailed, ComponentParseFailed."""
        found = self._load(data, name or "module", _CORE)
        assert isinstance(found, Module)
        return found

    def component(self, data: bytes, name: str = "") -> Component:
        """A component of the Component Model. ComponentValidationFailed, ComponentParseFailed."""
        found = self._load(data, name or "component", _COMPONENT)
        assert isinstance(found, Component)
        return found

    def running(self) -> _Ticker:
        """While it is entered, the engine's epoch moves."""
        return self._ticker

    def nudge(self) -> None:
        """Make all running code ask its guard now: for a cancel."""
        for _ in range(ASK_TICKS_MAX):
            self.engine.increment_epoch()

    def close(self) -> None:
        """Let the threads end. Calls that run go on to their own end. Idempotent."""
        self.threads.close()
        self._ticker.close()

    def artefact(self, name: str) -> bytes | None:
        """What was kept under this name, as it was written, or None."""
        return None if self._artefacts is None else self._artefacts.load(name)

    def keep(self, name: str, artefact: bytes) -> None:
        """Keep it in this runtime's cache, if there is one."""
        if self._artefacts is not None:
            self._artefacts.keep(name, artefact)

    def _load(self, data: bytes, name: str, layer: bytes) -> Module | Component:
        if data[:4] != MAGIC:
            raise ComponentValidationFailed(name, f"it begins with {data[:4]!r}, WebAssembly begins with {MAGIC!r}")
        if data[4:8] != layer:
            kind, other = ("core module", "component") if layer == _CORE else ("component", "core module")
            raise ComponentValidationFailed(name, f"it is no {kind}; perhaps a {other}")
        key = self.key(data)
        with self._lock:
            found = self._compiled.get(key)
            if found is not None:
                self._compiled.move_to_end(key)
                return found
        found = self._compile(data, name, key, Module if layer == _CORE else Component)
        with self._lock:
            self._compiled[key] = found
            while len(self._compiled) > MODULES_MAX:
                self._compiled.popitem(last=False)
        return found

    def _compile(self, data: bytes, name: str, key: str, kind: type[Module] | type[Component]) -> Module | Component:
        kept = self._artefacts.load(key) if self._artefacts is not None else None
        if kept is not None:
            try:
                return kind.deserialize(self.engine, kept)
            except WasmtimeError:
                pass  # of another build of wasmtime: compile it
        try:
            made = kind(self.engine, data)
        except WasmtimeError as error:
            raise ComponentParseFailed(name, str(error)) from None
        if self._artefacts is not None:
            self._artefacts.keep(key, bytes(made.serialize()))
        return made

    def key(self, data: bytes) -> str:
        """What compiled code is known by, and fuel counted by: content, wasmtime's version and our configuration.

        A change of any is another artefact.
        """
        how = f"{version('wasmtime')}:{_CONFIGURATION}:{self.metered}{':sparing' if self._sparing else ''}".encode()
        return hashlib.sha256(hashlib.sha256(how).digest() + data).hexdigest()


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


_CONFIGURATION = "1"
"""Raise it with each change of `_config`."""


def _config(metered: bool, sparing: bool = False) -> Config:
    config = Config()
    if sparing:
        config.memory_reservation = config.memory_reservation_for_growth = SPARING_BYTES
        config.memory_guard_size = GUARD_BYTES
        config.parallel_compilation = False  # its threads would each have their heap
    config.consume_fuel = metered
    config.epoch_interruption = True
    config.max_wasm_stack = STACK_BYTES
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_simd = False
    config.wasm_memory64 = False
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
