"""ipykernel through jupyter_client: a cell is done when its value has come and the kernel says it is idle."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from benchmarks.turns import Ready, serve

CELL_S = 30

KERNEL = "python3"


class Kernel:
    """A started kernel and its client."""

    def __init__(self) -> None:
        self._manager = KernelManager(kernel_name=KERNEL)
        self._manager.start_kernel()
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=CELL_S)

    def execute(self, source: str) -> str:
        """The repr of the cell's value."""
        asked = self._client.execute(source)
        value = ""
        while True:
            message = self._client.get_iopub_msg(timeout=CELL_S)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "execute_result":
                value = content["data"]["text/plain"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        self._client.get_shell_msg(timeout=CELL_S)
        return value

    def interrupted(self, source: str, settled_s: float) -> float:
        """Seconds from interrupting the cell, `settled_s` after it first printed, to its idle status."""
        asked = self._client.execute(source)
        started, error = 0.0, ""
        while True:
            message = self._client.get_iopub_msg(timeout=CELL_S)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream" and not started:
                time.sleep(settled_s)
                started = time.perf_counter()
                self._manager.interrupt_kernel()
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        ended = time.perf_counter()
        assert error in ("KeyboardInterrupt", "CancelledError"), error
        self._client.get_shell_msg(timeout=CELL_S)
        return ended - started

    def printed(self, source: str) -> int:
        """How many characters the cell printed, all received when it is idle."""
        asked = self._client.execute(source)
        received = 0
        while True:
            message = self._client.get_iopub_msg(timeout=CELL_S)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream":
                received += len(content["text"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        self._client.get_shell_msg(timeout=CELL_S)
        return received

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


def quick(kernel: Kernel, size: int) -> list[float]:
    samples = []
    for _ in range(size):
        started = time.perf_counter()
        value = kernel.execute("1+1")
        samples.append(time.perf_counter() - started)
        assert value == "2"
    return samples


def printed(kernel: Kernel, size: int) -> list[float]:
    begun = time.perf_counter()
    received = kernel.printed(f"for _ in range({size} * 10_000): print('x' * 99)\n'end'")
    samples = [time.perf_counter() - begun]
    assert received == size * 1_000_000, received
    return samples


def start(size: int) -> list[float]:
    samples = []
    for _ in range(size):
        started = time.perf_counter()
        kernel = Kernel()
        value = kernel.execute("1+1")
        samples.append(time.perf_counter() - started)
        assert value == "2"
        kernel.close()
    return samples


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    os.environ["IPYTHONDIR"] = str(directory / "ipython")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(directory / "runtime")
    kernel = await asyncio.to_thread(Kernel)
    try:
        yield Ready(
            f"ipykernel {version('ipykernel')}, jupyter_client {version('jupyter-client')}",
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
