"""QuickJS as native code in the process, not metered, not confined: Bellard's by the package `quickjs`, or, from the
directory that is named, quickjs-ng (its package has the same module).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

if sys.argv[1:]:
    sys.path.insert(0, sys.argv[1])

from quickjs import Context

from benchmarks.contenders import scripts
from benchmarks.turns import Ready, serve


def trivial() -> None:
    """One script of its own."""
    assert Context().eval("1 + 1") == 2


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    context = Context()
    context.add_callable("nothing", lambda: None)

    async def hundred(size: int) -> list[float]:
        samples = []
        for _ in range(size):
            started = time.perf_counter()
            await asyncio.gather(*(asyncio.to_thread(trivial) for _ in range(100)))
            samples.append(time.perf_counter() - started)
        return samples

    turns = scripts.computing(context.eval) | {
        "instance": scripts.timed(Context),
        "evaluation": scripts.timed(partial(context.eval, "1+1")),
        "calls": scripts.timed(partial(context.eval, scripts.CALLING), scripts.CALLS),
        "hundred": hundred,
    }
    name = "quickjs-ng" if sys.argv[1:] else "quickjs"
    yield Ready(f"{name} {version(name)}, native", turns)


if __name__ == "__main__":
    serve(setup)
