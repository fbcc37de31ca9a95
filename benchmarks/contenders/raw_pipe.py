"""The floor: `code.InteractiveInterpreter` in a child process, length-prefixed source and repr over two pipes."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.turns import Ready, serve

CHILD = """
import code, sys
interpreter, values = code.InteractiveInterpreter(), []
sys.displayhook = values.append
reader, writer = sys.stdin.buffer, sys.stdout.buffer
while size := reader.read(4):
    source = reader.read(int.from_bytes(size)).decode()
    values.clear()
    interpreter.runsource(source)
    answer = repr(values[-1]).encode()
    writer.write(len(answer).to_bytes(4) + answer)
    writer.flush()
"""


class Interpreter:
    """The child, and one cell at a time."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1
        )

    def execute(self, source: str) -> str:
        writer, reader = self._child.stdin, self._child.stdout
        assert writer is not None
        assert reader is not None
        data = source.encode()
        writer.write(len(data).to_bytes(4) + data)
        writer.flush()
        return reader.read(int.from_bytes(reader.read(4))).decode()

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(10)


@asynccontextmanager
async def setup(_directory: Path) -> AsyncIterator[Ready]:
    interpreter = Interpreter()

    async def quick(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            value = interpreter.execute("1+1")
            samples.append(time.perf_counter() - started)
            assert value == "2"
        return samples

    async def started(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            begun = time.perf_counter()
            fresh = Interpreter()
            value = fresh.execute("1+1")
            samples.append(time.perf_counter() - begun)
            assert value == "2"
            fresh.close()
        return samples

    try:
        about = f"code.InteractiveInterpreter, Python {platform.python_version()}"
        yield Ready(about, {"quick": quick, "start": started})
    finally:
        interpreter.close()


if __name__ == "__main__":
    serve(setup)
