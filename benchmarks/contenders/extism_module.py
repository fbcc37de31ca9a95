"""Extism, its cache on disk off: an almost empty module compiled anew, instantiated, called."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

os.environ["EXTISM_CACHE_CONFIG"] = ""

from extism import Plugin
from extism.extism import CompiledPlugin

from benchmarks.contenders import modules
from benchmarks.contenders.scripts import timed
from benchmarks.turns import Ready, serve


def manifest(module: bytes) -> dict[str, object]:
    """A plugin of this module alone."""
    return {"wasm": [{"data": module}]}


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    compiled = CompiledPlugin(manifest(modules.EMPTY))
    ready = Plugin(compiled)
    unseen = modules.unseen()
    turns = {
        "compile": timed(lambda: Plugin(manifest(next(unseen))).call("run", b"")),
        "instance": timed(lambda: Plugin(compiled).call("run", b"")),
        "call": timed(partial(ready.call, "run", b"")),
    }
    yield Ready(f"extism {version('extism')}", turns)


if __name__ == "__main__":
    serve(setup)
