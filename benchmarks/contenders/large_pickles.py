"""cloudpickle's `dumps` of the same large namespaces: whole each time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cloudpickle

from benchmarks import namespaces
from benchmarks.turns import Ready, Turn, serve


def turn(case: str) -> Turn:
    async def samples(size: int) -> list[float]:
        module = namespaces.fresh(case)
        found = []
        for _ in range(size):
            namespaces.change(module)
            started = time.perf_counter()
            cloudpickle.dumps({name: value for name, value in vars(module).items() if not name.startswith("__")})
            found.append(time.perf_counter() - started)
        return found

    return samples


@asynccontextmanager
async def setup(_directory: Path) -> AsyncIterator[Ready]:
    yield Ready(f"cloudpickle {cloudpickle.__version__}", {case: turn(case) for case in namespaces.SOURCES})


if __name__ == "__main__":
    serve(setup)
