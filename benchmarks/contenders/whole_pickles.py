"""dill's `dump_module` and cloudpickle's `dumps` of the same namespace: whole, in memory, unsigned."""

from __future__ import annotations

import io
import time
import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import cloudpickle
import dill

from benchmarks import namespace
from benchmarks.turns import Ready, Turn, serve


def with_dill(module: types.ModuleType) -> None:
    dill.dump_module(io.BytesIO(), module)


def with_cloudpickle(module: types.ModuleType) -> None:
    cloudpickle.dumps({name: value for name, value in module.__dict__.items() if not name.startswith("__")})


def turn(module: types.ModuleType, save: Callable[[types.ModuleType], None]) -> Turn:
    async def samples(size: int) -> list[float]:
        found = []
        for _ in range(size):
            namespace.change(module)
            started = time.perf_counter()
            save(module)
            found.append(time.perf_counter() - started)
        return found

    return samples


@asynccontextmanager
async def setup(_directory: Path) -> AsyncIterator[Ready]:
    module = namespace.fresh()
    about = f"dill {version('dill')}, cloudpickle {version('cloudpickle')}"
    yield Ready(about, {"dill": turn(module, with_dill), "cloudpickle": turn(module, with_cloudpickle)})


if __name__ == "__main__":
    serve(setup)
