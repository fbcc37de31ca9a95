"""QuickJS as native code in the process, by the PyPI package `quickjs`: not metered, not confined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from quickjs import Context

from benchmarks.contenders import scripts
from benchmarks.turns import Ready, serve


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    context = Context()
    context.add_callable("nothing", lambda: None)
    turns = {name: scripts.timed(partial(context.eval, code)) for name, code in scripts.CPU.items()}
    turns |= {
        "instance": scripts.timed(Context),
        "evaluation": scripts.timed(partial(context.eval, "1+1")),
        "calls": scripts.timed(partial(context.eval, scripts.CALLING), scripts.CALLS),
    }
    yield Ready(f"quickjs {version('quickjs')}", turns)


if __name__ == "__main__":
    serve(setup)
