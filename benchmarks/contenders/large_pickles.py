"""cloudpickle and dill with the same large namespaces: whole each time, into a file that is synced; and the floors,
which write and read the same bytes and do nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import cloudpickle
import dill

from benchmarks import namespaces
from benchmarks.turns import Ready, Turn, serve


class Pickles:
    """One namespace, and the file that it is saved to."""

    def __init__(self, directory: Path, case: str) -> None:
        self._case = case
        self._file = directory / f"{case}.pickle"
        self._made: ModuleType | None = None

    def _module(self) -> ModuleType:
        if self._made is None:
            self._made = namespaces.fresh(self._case)
        return self._made

    def _dumped(self, library: ModuleType) -> bytes:
        values = {name: value for name, value in vars(self._module()).items() if not name.startswith("__")}
        data: bytes = library.dumps(values)
        return data

    def _write(self, data: bytes) -> None:
        with self._file.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())

    def save(self, library: ModuleType, size: int) -> list[float]:
        """Dumps, write, sync."""
        samples = []
        for _ in range(size):
            namespaces.change(self._module())
            started = time.perf_counter()
            self._write(self._dumped(library))
            samples.append(time.perf_counter() - started)
        return samples

    def restore(self, library: ModuleType, size: int) -> list[float]:
        """Read and loads, from the page cache."""
        self._write(self._dumped(library))
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            library.loads(self._file.read_bytes())
            samples.append(time.perf_counter() - started)
        return samples

    def write(self, size: int) -> list[float]:
        """The floor of saving."""
        data = self._dumped(cloudpickle)
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            self._write(data)
            samples.append(time.perf_counter() - started)
        return samples

    def read(self, size: int) -> list[float]:
        """The floor of restoring."""
        self._write(self._dumped(cloudpickle))
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            self._file.read_bytes()
            samples.append(time.perf_counter() - started)
        return samples


def turns(pickles: Pickles, case: str) -> dict[str, Turn]:
    async def write(size: int) -> list[float]:
        return pickles.write(size)

    async def read(size: int) -> list[float]:
        return pickles.read(size)

    return {f"{case} write": write, f"{case} read": read} | {
        f"{name} {case} {verb}": _turn(pickles, library, verb)
        for name, library in (("cloudpickle", cloudpickle), ("dill", dill))
        for verb in ("save", "restore")
    }


def _turn(pickles: Pickles, library: ModuleType, verb: str) -> Turn:
    async def samples(size: int) -> list[float]:
        return pickles.save(library, size) if verb == "save" else pickles.restore(library, size)

    return samples


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    found = {name: turn for case in namespaces.SOURCES for name, turn in turns(Pickles(directory, case), case).items()}
    yield Ready(f"cloudpickle {version('cloudpickle')}, dill {version('dill')}", found)


if __name__ == "__main__":
    serve(setup)
