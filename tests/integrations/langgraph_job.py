"""A graph of four nodes, two of them side by side, with a question, killed where `tests.commit_kills` says."""

from __future__ import annotations

import asyncio
import json
import operator
import os
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

import durable
from durable.integrations.langgraph import durable_graph
from tests import commit_kills


class State(TypedDict):
    done: Annotated[list[str], operator.add]


def node(name: str) -> Any:
    async def run(_: State) -> dict[str, list[str]]:
        commit_kills.note(f"tool {name}")
        return {"done": [name]}

    return run


async def publish(state: State) -> dict[str, list[str]]:
    answer = interrupt({"question": f"Publish {len(state['done'])}?"})
    return {"done": [f"publish {answer}"]}


builder = StateGraph(State)
for name in ("plan", "left", "right", "join"):
    builder.add_node(name, node(name))
builder.add_node("publish", publish)
builder.add_edge(START, "plan")
builder.add_edge("plan", "left")
builder.add_edge("plan", "right")
builder.add_edge(["left", "right"], "join")
builder.add_edge("join", "publish")
builder.add_edge("publish", END)

job = durable_graph(lambda saver: builder.compile(checkpointer=saver), name="graph-job")


async def main() -> None:
    commit_kills.arm()
    async with durable.open(Path(os.environ[commit_kills.FOLDER]) / "work.db", durability="process") as engine:

        async def answer(prompt: durable.OpenPrompt) -> None:
            commit_kills.note(f"asked {prompt.id}")
            await engine.answer(prompt.id, "yes")

        engine.on_prompt(answer)
        found = await (await engine.start(job, {"done": []}, id="run")).result()
        print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
