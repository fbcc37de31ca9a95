"""Our Jupyter kernel through jupyter_client, as benchmarks.contenders.ipykernel_session does it: the same client."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.contenders import ipykernel_session
from benchmarks.contenders.ipykernel_session import Kernel, printed, quick, start
from benchmarks.turns import Ready, serve


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    for name in ("data", "runtime"):
        os.environ[f"JUPYTER_{name.upper()}_DIR"] = str(directory / name)
    os.environ["DURABLE_STORE"] = str(directory / "state.db")
    install = [sys.executable, "-m", "durable.cli", "jupyter", "install", "--user"]
    await asyncio.to_thread(subprocess.run, install, check=True, capture_output=True)
    ipykernel_session.KERNEL = "durable"
    kernel = await asyncio.to_thread(Kernel)
    try:
        yield Ready(
            "durable-exec's kernel",
            {
                "quick": lambda size: asyncio.to_thread(quick, kernel, size),
                "printed": lambda size: asyncio.to_thread(printed, kernel, size),
                "start": lambda size: asyncio.to_thread(start, size),
            },
        )
    finally:
        await asyncio.to_thread(kernel.close)


if __name__ == "__main__":
    serve(setup)
