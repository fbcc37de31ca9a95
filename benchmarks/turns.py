"""A contender's side: a process that takes its turn when told to, so that contenders can be interleaved.

stdin brings lines `{"turn": name, "size": n}`; stdout answers `{"samples": [...]}` or `{"error": text}`, after a first
line `{"ready": what this is}`. Whatever the contender prints goes to stderr. The end of stdin ends it. Imports nothing
of ours or of the peers, because it runs in both environments.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAITING_S = 0.1
"""After a contender has started what waits for a signal, before it sends it: time for whatever a wait records."""

type Turn = Callable[[int], Awaitable[list[float]]]
"""Takes a size, gives back samples in the benchmark's unit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A contender that is set up. `about` says what it is: name, version, settings that matter."""

    about: str
    turns: Mapping[str, Turn]


type Setup = Callable[[Path], AbstractAsyncContextManager[Ready]]
"""Sets a contender up in a directory of its own and takes it down again."""


def serve(setup: Setup) -> None:
    """The whole life of a contender's process."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    asyncio.run(_serve(setup, lambda message: print(json.dumps(message), file=out)))


async def _serve(setup: Setup, say: Callable[[dict[str, Any]], None]) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARKS_DIR")) as directory:
        async with setup(Path(directory)) as ready:
            say({"ready": ready.about})
            while line := await lines.readline():
                asked = json.loads(line)
                try:
                    say({"samples": await ready.turns[asked["turn"]](asked["size"])})
                except Exception as error:
                    traceback.print_exc()
                    say({"error": f"{type(error).__name__}: {error}"})


async def at_concurrency(width: int, count: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Run `one(0)` … `one(count - 1)`, at most `width` of them at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
