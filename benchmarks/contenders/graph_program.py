"""The graph that both sides run: one node again and again, with a state of a number and a text of 1,000 characters."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

NODES = 20
TEXT = "x" * 1_000
_RUNS = count()


class State(TypedDict):
    number: int
    text: str


def node(state: State) -> dict[str, Any]:
    """One node, which does nothing else."""
    return {"number": state["number"] + 1}


def builder() -> StateGraph[State]:
    """The graph, without a saver."""
    found = StateGraph(State)
    found.add_node("node", node)
    found.add_edge(START, "node")
    found.add_conditional_edges("node", lambda state: END if state["number"] >= NODES else "node", ["node", END])
    return found


def arguments() -> dict[str, Any]:
    """The arguments of a run in a thread of its own, with every checkpoint written before the next node."""
    config = {"configurable": {"thread_id": f"t{next(_RUNS)}"}, "recursion_limit": NODES + 5}
    return {"input": {"number": 0, "text": TEXT}, "config": config, "durability": "sync"}


async def timed(size: int, run: Callable[[], Any]) -> list[float]:
    """The time of a node, in so many runs."""
    samples = []
    for _ in range(size):
        started = time.perf_counter()
        state = await run()
        samples.append((time.perf_counter() - started) / NODES)
        assert state["number"] == NODES, state
    return samples
