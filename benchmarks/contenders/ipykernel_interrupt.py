"""ipykernel: from `interrupt_kernel` to the error on iopub, with its busy and idle."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.contenders.interrupted import CODE, p99
from benchmarks.contenders.ipykernel_session import Kernel
from benchmarks.turns import Ready, serve

SETTLED_S = 0.01


def interrupted(kernel: Kernel, code: str, size: int) -> list[float]:
    return [p99([kernel.interrupted(code, SETTLED_S) for _ in range(size)])]


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    os.environ["IPYTHONDIR"] = str(directory / "ipython")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(directory / "runtime")
    kernel = await asyncio.to_thread(Kernel)

    async def turn(code: str, size: int) -> list[float]:
        return await asyncio.to_thread(interrupted, kernel, code, size)

    try:
        about = f"ipykernel {version('ipykernel')}, jupyter_client {version('jupyter-client')}"
        yield Ready(about, {name: partial(turn, code) for name, code in CODE.items()})
    finally:
        await asyncio.to_thread(kernel.close)


if __name__ == "__main__":
    serve(setup)
