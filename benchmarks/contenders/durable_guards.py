"""Ours: the same loop under the guards of time, of time and fuel, and under none; and what the ticker uses alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wasmtime import Engine, Func, Instance, Module, Store

from benchmarks.contenders.scripts import timed
from benchmarks.turns import Ready, Turn, serve
from capabilities.sandbox.limits import COMPONENT, TICK_MS
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Runtime, _config, wat

ROUNDS = 40_000_000
LOOP = wat("""
(module (func (export "run") (param $n i32) (result i32) (local $x i32)
  (loop $l
    (local.set $x (i32.xor (i32.mul (local.get $x) (i32.const 31)) (local.get $n)))
    (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (local.get $x)))
""")


def guarded(*, metered: bool) -> Any:
    """The loop, called as any module."""
    runtime = Runtime(metered=metered)
    limits = COMPONENT.but(fuel=10**12 if metered else None, timeout_ms=60_000)
    return partial(CoreCall(runtime, runtime.module(LOOP), limits, wasi=None).call, "run")


def unguarded() -> Any:
    """The loop in wasmtime as we configure it, but for the guards."""
    config = _config(metered=False)
    config.epoch_interruption = False
    engine = Engine(config)
    store = Store(engine)
    found = Instance(store, Module(engine, LOOP), []).exports(store)["run"]
    assert isinstance(found, Func)
    return partial(found, store)


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    runtime = Runtime()

    async def idle(size: int, *, ticking: bool) -> list[float]:
        samples = []
        for _ in range(size):
            with runtime.running() if ticking else nullcontext():
                started = time.process_time()
                await asyncio.sleep(1)
                samples.append(time.process_time() - started)
        return samples

    turns: dict[str, Turn] = {
        "time": timed(partial(guarded(metered=False), ROUNDS), clock=time.process_time),
        "fuel": timed(partial(guarded(metered=True), ROUNDS), clock=time.process_time),
        "none": timed(partial(unguarded(), ROUNDS), clock=time.process_time),
        "ticking": partial(idle, ticking=True),
        "resting": partial(idle, ticking=False),
    }
    yield Ready(f"wasmtime {version('wasmtime')}, a tick every {TICK_MS} ms", turns)
    runtime.close()


if __name__ == "__main__":
    serve(setup)
