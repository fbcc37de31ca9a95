"""A Pydantic AI agent that survives anything: with a scripted model, so that it runs without a network.

Kill it wherever you like and run it again: no model call and no tool call that was recorded is made again.
"""

from __future__ import annotations

import asyncio
import os

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import durable
from durable.integrations.pydantic_ai import DurableExecution, run_agent, run_code_toolset


def scripted(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """What a model would say: code first, then a tool, then the answer."""
    turn = sum(isinstance(each, ModelResponse) for each in messages)
    if turn == 0:
        return ModelResponse([ToolCallPart("run_code", {"code": "prices = [3, 4, 5]\nsum(prices)"})])
    if turn == 1:
        return ModelResponse([ToolCallPart("weather", {"city": "Turin"})])
    returned = [part for each in messages if isinstance(each, ModelRequest) for part in each.parts]
    found = [part.model_response_str() for part in returned if isinstance(part, ToolReturnPart)]
    return ModelResponse([TextPart(f"code said {found[0]}, the weather is {found[1]}")])


agent = Agent(
    FunctionModel(scripted),  # in earnest: "openai:gpt-4o"
    name="assistant",
    capabilities=[DurableExecution()],
    toolsets=[run_code_toolset("assistant")],
)


@agent.tool_plain
def weather(city: str) -> str:
    return f"sunny in {city}"


@durable.function
async def assist(ctx: durable.Context, question: str) -> str:
    return (await run_agent(ctx, agent, question)).output


async def main() -> None:
    async with durable.open(os.environ.get("DURABLE_STORE", ":memory:")) as engine:
        print(await (await engine.start(assist, "How much, and how is it there?", id="question-1")).result())


if __name__ == "__main__":
    asyncio.run(main())
