"""LangGraph with its own savers: `SqliteSaver`, `AsyncSqliteSaver`, or with `--postgres` `AsyncPostgresSaver`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.contenders.database_server import database
from benchmarks.contenders.graph_program import arguments, builder, timed
from benchmarks.turns import Ready, serve


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    about = f"langgraph {version('langgraph')}"
    with database() as url:
        if url is not None:
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

            async with AsyncPostgresSaver.from_conn_string(url.partition("&schema=")[0]) as postgres:
                await postgres.setup()
                graph = builder().compile(checkpointer=postgres)
                saver = f"saver {version('langgraph-checkpoint-postgres')}"
                yield Ready(
                    f"{about}, {saver}, PostgreSQL",
                    {"nodes": lambda size: timed(size, lambda: graph.ainvoke(**arguments()))},
                )
            return
        with SqliteSaver.from_conn_string(str(directory / "sync.db")) as saver:
            async with AsyncSqliteSaver.from_conn_string(str(directory / "async.db")) as other:
                both, none = builder().compile(checkpointer=saver), builder().compile()
                asynchronous = builder().compile(checkpointer=other)
                yield Ready(
                    f"{about}, saver {version('langgraph-checkpoint-sqlite')}",
                    {
                        "nodes": lambda size: timed(size, lambda: asyncio.to_thread(both.invoke, **arguments())),
                        "async": lambda size: timed(size, lambda: asynchronous.ainvoke(**arguments())),
                        "none": lambda size: timed(size, lambda: none.ainvoke(**{**arguments(), "durability": None})),
                    },
                )


if __name__ == "__main__":
    serve(setup)
