"""Ours: scripts in QuickJS as WebAssembly, metered by time, or with `fuel` by instructions as well.

`unguarded` is compiled without epochs, which no script of a user's ever is: to know what they cost.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from wasmtime import Engine

from benchmarks.contenders import scripts
from benchmarks.turns import Ready, Turn, serve
from capabilities.sandbox.javascript import snapshot
from capabilities.sandbox.javascript.run import run
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import warm
from capabilities.sandbox.limits import JAVASCRIPT
from capabilities.sandbox.wasm.runtime import Runtime, _config

FUEL = 10**12


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    metered = "fuel" in sys.argv
    runtime = Runtime(directory / "compiled", metered=metered)
    if "unguarded" in sys.argv:
        config = _config(metered)
        config.epoch_interruption = False
        runtime.engine = Engine(config)
    image = warm(runtime)
    limits = JAVASCRIPT.but(fuel=FUEL) if metered else JAVASCRIPT
    make = partial(VM, image, limits, functions={"nothing": lambda: None})
    ready = make()
    full = make()
    full.execute(scripts.OBJECTS)
    state = snapshot.take(full)

    async def hundred(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            await asyncio.gather(*(run(make(), "1 + 1") for _ in range(100)))
            samples.append(time.perf_counter() - started)
        return samples

    turns: dict[str, Turn] = scripts.computing(ready.execute) | {
        "instance": scripts.timed(make),
        "evaluation": scripts.timed(partial(ready.execute, "1+1")),
        "calls": scripts.timed(partial(ready.execute, scripts.CALLING), scripts.CALLS),
        "snapshot": scripts.timed(partial(snapshot.take, full)),
        "restore": scripts.timed(lambda: snapshot.restore(make(), state)),
        "hundred": hundred,
    }
    yield Ready(f"durable-exec {version('durable-exec')}, wasmtime {version('wasmtime')}", turns)
    runtime.close()


if __name__ == "__main__":
    serve(setup)
