"""Extism: an instance of an almost empty module from its bytes, and one call of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from extism import Plugin

from benchmarks.turns import Ready, serve

MODULE = bytes.fromhex("0061736d010000000105016000017f0302010007070103 72756e0000 0a06010400 41000b")
"""(module (func (export "run") (result i32) i32.const 0))"""


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    async def instance(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            Plugin({"wasm": [{"data": MODULE}]}).call("run", b"")
            samples.append(time.perf_counter() - started)
        return samples

    yield Ready(f"extism {version('extism')}", {"instance": instance})


if __name__ == "__main__":
    serve(setup)
