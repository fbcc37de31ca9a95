"""A LangGraph graph that goes on by itself after a crash, with an interrupt that a person answers in the inbox."""

from __future__ import annotations

import asyncio
import os
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

import durable
from durable.integrations.langgraph import durable_graph


class Draft(TypedDict, total=False):
    topic: str
    text: str
    published: bool


def write(state: Draft) -> dict[str, Any]:
    return {"text": f"Everything about {state['topic']}."}  # in earnest: a model writes it


def publish(state: Draft) -> dict[str, Any]:
    return {"published": interrupt({"question": "Publish?", "text": state["text"]}) is True}


builder = StateGraph(Draft)
builder.add_node("write", write)
builder.add_node("publish", publish)
builder.add_edge(START, "write")
builder.add_edge("write", "publish")
builder.add_edge("publish", END)

review = durable_graph(lambda saver: builder.compile(checkpointer=saver), name="review")


async def main() -> None:
    async with durable.open(os.environ.get("DURABLE_STORE", ":memory:")) as engine:

        async def answer(prompt: durable.OpenPrompt) -> None:  # in earnest: `durable answer`, a page, a chat
            print(f"{prompt.question} ({prompt.id})")
            await engine.answer(prompt.id, True, by="ana")

        engine.on_prompt(answer)
        print(await (await engine.start(review, {"topic": "lathes"}, id="review-1")).result())


if __name__ == "__main__":
    asyncio.run(main())
