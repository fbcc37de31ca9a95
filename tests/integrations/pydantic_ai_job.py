"""A Pydantic AI agent with a run of 12 calls, killed where `tests.commit_kills` says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import durable
from durable.integrations.pydantic_ai import AskPeople, DurableExecution, run_agent, run_code_toolset
from tests import commit_kills

TURNS = 6


def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """A scripted model: tools, two at once, code, an approval, then what came of them."""
    turn = sum(isinstance(each, ModelResponse) for each in messages)
    commit_kills.note(f"model {turn}")
    if turn == 0:
        return ModelResponse([ToolCallPart("add", {"a": 1, "b": 2}, "c1"), ToolCallPart("add", {"a": 3, "b": 4}, "c2")])
    if turn == 1:
        return ModelResponse([ToolCallPart("run_code", {"code": "x = 20\nx + 1"}, "c3")])
    if turn == 2:
        return ModelResponse([ToolCallPart("pay", {"amount": 7}, "c4")])
    if turn < TURNS:
        return ModelResponse([ToolCallPart("add", {"a": turn, "b": turn}, f"c{turn + 2}")])
    returned = [
        part.model_response_str()
        for each in messages
        if isinstance(each, ModelRequest)
        for part in each.parts
        if isinstance(part, ToolReturnPart)
    ]
    return ModelResponse([TextPart(json.dumps(returned))])


agent = Agent(
    FunctionModel(model),
    name="tester",
    capabilities=[DurableExecution(), AskPeople()],
    toolsets=[run_code_toolset("desk")],
)


@agent.tool_plain
def add(a: int, b: int) -> int:
    commit_kills.note(f"tool {durable.call_id()}")
    return a + b


@agent.tool_plain(requires_approval=True)
def pay(amount: int) -> str:
    commit_kills.note(f"tool {durable.call_id()}")
    return f"paid {amount}"


@durable.function(name="job")
async def job(ctx: durable.Context, task: str) -> str:
    return (await run_agent(ctx, agent, task)).output


async def main() -> None:
    commit_kills.arm()
    async with durable.open(Path(os.environ[commit_kills.FOLDER]) / "work.db", durability="process") as engine:

        async def approve(prompt: durable.OpenPrompt) -> None:
            commit_kills.note(f"asked {prompt.id}")
            await engine.answer(prompt.id, True, by="ana")

        engine.on_prompt(approve)
        print(await (await engine.start(job, "go", id="run")).result())


if __name__ == "__main__":
    asyncio.run(main())
