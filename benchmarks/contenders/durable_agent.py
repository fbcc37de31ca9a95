"""Ours: the same agent in a durable function, on a SQLite file; and without anything that records it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from pydantic_ai import Agent

import durable
from benchmarks.contenders.agent_program import MODEL, timed
from benchmarks.turns import Ready, serve
from durable.integrations.pydantic_ai import DurableExecution, run_agent

agent = Agent(MODEL, name="timed", capabilities=[DurableExecution()])
plain = Agent(MODEL, name="plain")


@agent.tool_plain
@plain.tool_plain
async def add(number: int) -> int:
    return number + 1


@durable.function
async def job(ctx: durable.Context) -> str:
    return str((await run_agent(ctx, agent, "go")).output)


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    async with durable.open(directory / "state.db") as engine:

        async def run() -> str:
            return await (await engine.start(job)).result()

        async def unrecorded() -> str:
            return str((await plain.run("go")).output)

        yield Ready(
            f"durable-exec {version('durable-exec')}, pydantic-ai {version('pydantic-ai-slim')}",
            {"steps": lambda size: timed(size, run), "none": lambda size: timed(size, unrecorded)},
        )


if __name__ == "__main__":
    serve(setup)
