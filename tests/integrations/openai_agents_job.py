"""An agent of the OpenAI Agents SDK with a run of 12 calls, killed where `tests.commit_kills` says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Usage, function_tool
from agents.testing import assistant_message, function_call

import durable
from durable.integrations.openai_agents import DurableRunner, DurableSession, run_code_tool
from tests import commit_kills

TURNS = 6
CONFIG = RunConfig(tracing_disabled=True)


def returned(items: Any) -> list[str]:
    """The results of tools among items."""
    return [each["output"] for each in items if each.get("type") == "function_call_output"]


class Scripted(Model):
    """Tools, two at once, code, an approval, a handoff, an agent that is a tool, then what came of them."""

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:
        if system_instructions == "You translate.":
            commit_kills.note("model of the translator")
            return ModelResponse([assistant_message("bonjour")], Usage(), None)
        turn = len({each.get("id") for each in input if each.get("type") == "function_call"})
        commit_kills.note(f"model {turn}")
        script: dict[int, list[Any]] = {
            0: [
                function_call("add", {"a": 1, "b": 2}, call_id="c1", item_id="t0"),
                function_call("add", {"a": 3, "b": 4}, call_id="c2", item_id="t0"),
            ],
            1: [function_call("run_code", {"code": "x = 20\nx + 1"}, call_id="c3", item_id="t1")],
            2: [function_call("pay", {"amount": 7}, call_id="c4", item_id="t2")],
            3: [function_call("translate", {"input": "hello"}, call_id="c5", item_id="t3")],
            4: [function_call("transfer_to_closer", {}, call_id="c6", item_id="t4")],
            5: [function_call("add", {"a": 5, "b": 5}, call_id="c7", item_id="t5")],
        }
        return ModelResponse(script.get(turn) or [assistant_message(json.dumps(returned(input)))], Usage(), None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


@function_tool
def add(a: int, b: int) -> int:
    commit_kills.note(f"tool {durable.call_id()}")
    return a + b


@function_tool(needs_approval=True)
async def pay(amount: int) -> str:
    commit_kills.note(f"tool {durable.call_id()}")
    return f"paid {amount}"


translator = Agent("translator", instructions="You translate.", model=Scripted())
closer = Agent("closer", model=Scripted(), tools=[add])
tester = Agent(
    "tester",
    model=Scripted(),
    tools=[add, pay, run_code_tool("desk"), translator.as_tool("translate", "Translates.")],
    handoffs=[closer],
)
closer.handoffs.append(tester)


@durable.function(name="job")
async def job(ctx: durable.Context, task: str) -> Any:
    session = DurableSession("talk", ctx)
    result = await DurableRunner.run(ctx, tester, task, session=session, run_config=CONFIG)
    items = await session.get_items()
    assert result.last_agent.name == "closer"
    return [json.loads(result.final_output), len(items), len({json.dumps(each) for each in items})]


async def main() -> None:
    commit_kills.arm()
    async with durable.open(Path(os.environ[commit_kills.FOLDER]) / "work.db", durability="process") as engine:

        async def approve(prompt: durable.OpenPrompt) -> None:
            commit_kills.note(f"asked {prompt.id}")
            await engine.answer(prompt.id, True, by="ana")

        engine.on_prompt(approve)
        print(json.dumps(await (await engine.start(job, "go", id="run")).result()))


if __name__ == "__main__":
    asyncio.run(main())
