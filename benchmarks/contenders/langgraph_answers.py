"""LangGraph with its SQLite saver: a node that asks a person and is entered again. A sample is one `invoke` with the
answer: it returns at the next interrupt, with all checkpoints written.

It writes them beside the next node unless its durability is "sync" (option `sync`). Its saver leaves SQLite's
`synchronous` as it is, which the first line says: 2 is a sync for each commit, as ours does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from benchmarks.turns import Ready, serve

CYCLES = 10


class State(TypedDict):
    asked: int
    last: str


def ask(state: State) -> State:
    """One question."""
    return {"last": interrupt("more?"), "asked": state["asked"] + 1}


def further(state: State) -> str:
    """Where it goes on: ours asks as often."""
    return "ask" if state["asked"] <= CYCLES else END


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.add_conditional_edges("ask", further, ["ask", END])
    durability: Any = "sync" if "sync" in sys.argv else "async"
    with SqliteSaver.from_conn_string(str(directory / "state.db")) as saver:
        saver.setup()
        graph = builder.compile(checkpointer=saver)
        numbers = count()

        def answered() -> list[float]:
            config: Any = {"configurable": {"thread_id": f"t{next(numbers)}"}}
            graph.invoke({"asked": 0, "last": ""}, config, durability=durability)
            samples = []
            for _ in range(CYCLES):
                started = time.perf_counter()
                waits = graph.invoke(Command(resume="yes"), config, durability=durability)
                samples.append(time.perf_counter() - started)
                assert "__interrupt__" in waits, waits
            assert graph.invoke(Command(resume="enough"), config, durability=durability)["last"] == "enough"
            return samples

        async def cycles(size: int) -> list[float]:
            return [sample for _ in range(size) for sample in answered()]

        mode, synchronous = (
            saver.conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )
        about = (
            f"langgraph {version('langgraph')}, durability={durability}; saver {version('langgraph-checkpoint-sqlite')}"
        )
        yield Ready(f"{about}, journal_mode={mode}, synchronous={synchronous}", {"cycles": cycles})


if __name__ == "__main__":
    serve(setup)
