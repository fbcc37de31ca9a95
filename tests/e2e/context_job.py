"""An agent that works for some turns with a bounded context, killed where `tests.commit_kills` says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import durable
from durable.agents import CallPart, ContextChain, ContextWindow, SummaryRequest, assistant, system, tool, user
from tests import commit_kills

TURNS = 24
WINDOW = 2_000


class NotedSummarizer:
    """Says outside that it was asked."""

    async def summarize(self, request: SummaryRequest) -> str:
        commit_kills.note(f"summary {request.digest()}")
        return f"{len(request.messages)} messages, " + "word " * 50


@durable.function(name="agent")
async def agent(ctx: durable.Context) -> list[int]:
    window = ContextWindow(window=WINDOW, summarizer=NotedSummarizer())
    messages, sizes = [system("You are careful."), user("Read all of it.")], []
    for turn in range(TURNS):
        call = CallPart(f"c{turn}", "read", json.dumps({"n": turn}))
        text = read(turn)
        messages += [assistant(f"I read {turn}. " + "because " * 60, call), tool(call, text), user(f"go on {turn}")]
        messages = await window.fit_in(ctx, messages)
        sizes.append(window.tokens(messages))
    return sizes


def read(n: int) -> str:
    return f"page {n}: " + "lorem ipsum " * 40


async def main() -> None:
    commit_kills.arm()
    async with durable.open(Path(os.environ[commit_kills.FOLDER]) / "work.db", durability="process") as engine:
        sizes = await (await engine.start(agent, id="run")).result()
        chain = ContextChain(engine.store, "run")
        stages = await chain.stages()
        texts = [len(await chain.messages(stage)) for stage in stages]
        print(json.dumps({"sizes": sizes, "levels": [stage.level for stage in stages], "messages": texts}))


if __name__ == "__main__":
    asyncio.run(main())
