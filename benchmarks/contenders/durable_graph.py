"""Ours: the same graph with `DurableSaver`, and as a durable function; on a SQLite file, or with `--postgres`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import durable
from benchmarks.contenders.database_server import database
from benchmarks.contenders.graph_program import TEXT, arguments, builder, timed
from benchmarks.turns import Ready, serve
from durable.integrations.langgraph import DurableSaver, durable_graph

go_on = durable_graph(lambda saver: builder().compile(checkpointer=saver), name="timed")


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    with database() as url:
        async with durable.open(url or directory / "state.db") as engine:
            graph, runs = builder().compile(checkpointer=DurableSaver(engine)), count()

            async def function() -> Any:
                state = {"number": 0, "text": TEXT}
                return await (await engine.start(go_on, state, id=f"run-{next(runs)}")).result()

            yield Ready(
                f"durable-exec {version('durable-exec')}, langgraph {version('langgraph')}",
                {
                    "nodes": lambda size: timed(size, lambda: graph.ainvoke(**arguments())),
                    "function": lambda size: timed(size, function),
                },
            )


if __name__ == "__main__":
    serve(setup)
