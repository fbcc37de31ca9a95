"""Ours: calls of core modules and of components, metered by fuel and time; beside a component by wasmtime's package."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wasmtime import Config, Engine, Store
from wasmtime.component import Component, Func, Linker

from benchmarks.contenders import modules
from benchmarks.contenders.scripts import timed
from benchmarks.turns import Ready, Turn, serve
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.component_call import ComponentCall
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Runtime, wat

LIMITS = COMPONENT.but(timeout_ms=10_000)
RECORD: dict[str, Any] = {"name": "x" * 20, "numbers": list(range(10))}
COMPONENT_CODE = """
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "run") (param i32 i32 i32 i32) (result i32) (local.get 3))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (type $record (record (field "name" string) (field "numbers" (list u32))))
  (export $exported "record" (type $record))
  (func $run (param "given" $exported) (result u32)
    (canon lift (core func $i "run") (memory $memory) (realloc $realloc)))
  (export "run" (func $run)))
"""


class Bare:
    """A component by wasmtime's own Python package: no limits, no guards, nothing captured."""

    def __init__(self, code: bytes) -> None:
        config = Config()
        config.wasm_component_model = True
        self._engine = Engine(config)
        self._component = Component(self._engine, code)

    def instance(self) -> tuple[Func, Store]:
        """A fresh instance."""
        store = Store(self._engine)
        found = Linker(self._engine).instantiate(store, self._component).get_func(store, "run")
        assert found is not None
        return found, store


class Given:
    """The record as the package takes it: by attributes."""

    name, numbers = RECORD["name"], RECORD["numbers"]


def called(func: Func, store: Store) -> None:
    """One call, ended as the package wants it."""
    assert func(store, Given) == len(Given.numbers)
    func.post_return(store)


def core(runtime: Runtime) -> dict[str, Turn]:
    """Turns of a core module."""
    code = runtime.module(modules.EMPTY)
    unseen = modules.unseen()

    def run(data: bytes) -> Any:
        return CoreCall(runtime, runtime.module(data), LIMITS, wasi=None).call("run")

    ready = CoreCall(runtime, code, LIMITS, wasi=None)
    return {
        "compile": timed(lambda: run(next(unseen))),
        "instance": timed(lambda: CoreCall(runtime, code, LIMITS, wasi=None).call("run")),
        "call": timed(partial(ready.call, "run")),
    }


def component(runtime: Runtime) -> dict[str, Turn]:
    """Turns of a component, ours and the package's."""
    data = wat(COMPONENT_CODE)
    code = runtime.component(data)
    bare = Bare(data)
    ready = ComponentCall(runtime, code, LIMITS, wasi=None)
    assert ready.call("run", RECORD).value == len(RECORD["numbers"])
    func, store = bare.instance()
    return {
        "component-instance": timed(lambda: ComponentCall(runtime, code, LIMITS, wasi=None).call("run", RECORD)),
        "component-call": timed(partial(ready.call, "run", RECORD)),
        "bare-instance": timed(lambda: called(*bare.instance())),
        "bare-call": timed(partial(called, func, store)),
    }


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    runtime = Runtime()
    yield Ready(f"wasmtime {version('wasmtime')}", core(runtime) | component(runtime))
    runtime.close()


if __name__ == "__main__":
    serve(setup)
