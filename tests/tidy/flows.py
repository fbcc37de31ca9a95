"""How many files a flow passes in the engine, and how many calls go from file to file: `python -m tests.tidy.flows`.

Each flow runs twice before it is counted, so that imports and what is made once are left out. The worker's process is
not looked into.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType

import durable
from tests.tidy.sources import PACKAGES, ROOT

TOOL = sys.monitoring.PROFILER_ID
_OURS = tuple(f"{ROOT / package}/" for package in PACKAGES)


@dataclass
class Flow:
    """What was seen: files of ours with a function that began, and beginnings whose caller is in another file."""

    files: set[str] = field(default_factory=set)
    calls: int = 0

    def began(self, code: CodeType, _offset: int) -> object:
        """A function begins, in whatever thread."""
        if not code.co_filename.startswith(_OURS):
            return sys.monitoring.DISABLE
        self.files.add(code.co_filename)
        caller = sys._getframe(1).f_back
        if caller is not None and caller.f_code.co_filename != code.co_filename:
            self.calls += caller.f_code.co_filename.startswith(_OURS)
        return None


@contextmanager
def watched() -> Iterator[Flow]:
    """Watch every thread of this process."""
    flow, event = Flow(), sys.monitoring.events.PY_START
    sys.monitoring.use_tool_id(TOOL, "flows")
    sys.monitoring.register_callback(TOOL, event, flow.began)
    sys.monitoring.restart_events()
    sys.monitoring.set_events(TOOL, event)
    try:
        yield flow
    finally:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.free_tool_id(TOOL)


def add(n: int) -> int:
    return n + 1


@durable.function
async def one_step(ctx: durable.Context) -> int:
    return await ctx.run(add, 1)


@durable.function
async def asks(ctx: durable.Context) -> str:
    answer: str = await ctx.ask("Which?")
    return answer


async def measure() -> dict[str, Flow]:
    """Each flow once, on a store of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        async with durable.open(Path(directory) / "work.db") as engine:
            session = await engine.session("desk", grants=["now"])

            async def answered() -> None:
                execution = await engine.start(asks)
                while (change := engine.changed()) and not (prompts := await engine.prompts()):
                    await change
                await engine.answer(prompts[0].id, "this")
                await execution.result()

            async def checkpoint() -> None:
                await session.execute("n = [1]", journal=False)
                await session.checkpoint()

            async def function() -> None:
                await (await engine.start(one_step)).result()

            flows: dict[str, Callable[[], Awaitable[object]]] = {
                "a cell 1+1": lambda: session.execute("1+1"),
                "a cell that calls now()": lambda: session.execute("now()"),
                "a checkpoint on demand": checkpoint,
                "a function with a step": function,
                "a function with a question, answered": answered,
            }
            for name, flow in flows.items():
                for _ in range(2):
                    await flow()
                with watched() as found[name]:
                    await flow()
    return found


if __name__ == "__main__":
    for name, flow in asyncio.run(measure()).items():
        print(f"{name}: {len(flow.files)} files, {flow.calls} calls from file to file")
