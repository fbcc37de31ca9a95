"""Pydantic AI agents in durable functions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.capabilities import RequestInput
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

import durable
from durable.agents import ContextWindow, ScriptedSummarizer
from durable.integrations.pydantic_ai import AskPeople, DurableExecution, bounded_history, run_agent
from tests.integrations import kills
from tests.waiting import first_prompt

JOB = "tests.integrations.pydantic_ai_job"
EXPECTED = ["3", "7", '{"value":"21"}', "paid 7", "6", "8", "10"]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as found:
        yield found


def test_nothing_is_called_twice_wherever_the_process_dies() -> None:
    """All points: `python -m tests.integrations.kills tests.integrations.pydantic_ai_job`."""
    assert kills.survived(JOB, 9, 21) == EXPECTED


def paying(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    returned = [part for each in messages if isinstance(each, ModelRequest) for part in each.parts]
    found = [part.model_response_str() for part in returned if isinstance(part, ToolReturnPart)]
    return ModelResponse([TextPart(found[0])] if found else [ToolCallPart("pay", {"amount": 7}, "c1")])


async def pay(amount: int) -> str:
    return f"paid {amount}"


def paying_agent(name: str, *capabilities: Any) -> Agent[None, str]:
    agent = Agent(FunctionModel(paying), name=name, capabilities=[DurableExecution(), *capabilities])
    agent.tool_plain(pay, requires_approval=True)
    return agent


async def test_a_denied_call_is_told_to_the_model(engine: durable.Engine) -> None:
    agent = paying_agent("denied", AskPeople(to="ana"))

    @durable.function(name="denied")
    async def job(ctx: durable.Context) -> str:
        return (await run_agent(ctx, agent, "pay")).output

    execution = await engine.start(job, id="run")
    prompt = await first_prompt(engine)
    assert (prompt.question, prompt.prompt.to) == ('pay({"amount":7})', ("ana",))
    await engine.answer(prompt.id, {"approve": False, "why": "too much"}, by="ana")
    assert "too much" in await execution.result()


async def test_request_input_waits_for_the_answer_to_its_token(engine: durable.Engine) -> None:
    tokens: list[str] = []

    async def ask(_: RunContext[None], requests: DeferredToolRequests, token: str) -> DeferredToolResults | None:
        assert requests.approvals[0].tool_name == "pay"
        tokens.append(token)
        return None

    agent = paying_agent("requested", RequestInput(ask, timeout=timedelta(days=2)))

    @durable.function(name="requested")
    async def job(ctx: durable.Context) -> str:
        return (await run_agent(ctx, agent, "pay")).output

    execution = await engine.start(job, id="run")
    prompt = await first_prompt(engine)
    await engine.answer(prompt.id, {"approvals": {"c1": True}})
    assert await execution.result() == "paid 7"
    assert tokens == [prompt.id]
    names = [row.tags["durable:name"] for row in await engine.store.reads.children("run")]
    call = "requested__function_toolset__<agent>.call_tool:pay"
    model = "requested__model.request"
    assert names == [model, "deferred_tool_calls.ask", call, model, "input"], "they stand in records: they stay"


async def test_a_long_history_stays_below_the_window(engine: durable.Engine) -> None:
    sizes: list[int] = []

    def reading(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        sizes.append(sum(len(str(each)) for each in messages))
        if len(sizes) > 30:
            return ModelResponse([TextPart("read")])
        return ModelResponse([ToolCallPart("read", {"page": len(sizes)}, f"c{len(sizes)}")])

    summarizer = ScriptedSummarizer()
    window = ContextWindow(window=4_000, summarizer=summarizer)
    agent = Agent(FunctionModel(reading), name="reader", capabilities=[DurableExecution(), bounded_history(window)])

    @agent.tool_plain
    def read(page: int) -> str:
        return f"page {page}: " + "lorem " * 200

    @durable.function(name="reader")
    async def job(ctx: durable.Context) -> str:
        return (await run_agent(ctx, agent, "read all")).output

    assert await (await engine.start(job, id="run")).result() == "read"
    assert len(sizes) == 31
    assert max(sizes[15:]) < 2.5 * max(sizes[:8])


async def test_a_model_that_fails_fails_the_function_and_outside_of_it_nothing_changes(engine: durable.Engine) -> None:
    def failing(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        raise OSError("no model today")

    agent = Agent(FunctionModel(failing), name="failing", capabilities=[DurableExecution()])

    @durable.function(name="failing")
    async def job(ctx: durable.Context) -> str:
        return (await run_agent(ctx, agent, "x")).output

    with pytest.raises(durable.ExecutionError, match="no model today"):
        await (await engine.start(job, id="run")).result()
    plain = paying_agent("plain")
    plain_output = await plain.run("pay", output_type=[str, DeferredToolRequests])
    assert isinstance(plain_output.output, DeferredToolRequests)

    @durable.function(name="without")
    async def without(ctx: durable.Context) -> str:
        return (await run_agent(ctx, Agent(FunctionModel(paying), name="no"), "x")).output

    with pytest.raises(durable.ExecutionError, match="is not durable"):
        await (await engine.start(without, id="other")).result()


async def test_an_agent_that_a_tool_runs_is_part_of_its_step(engine: durable.Engine) -> None:
    inner = Agent(
        FunctionModel(lambda *_: ModelResponse([TextPart("half \ud800")])),
        name="inner",
        capabilities=[DurableExecution()],
    )
    seen: list[str] = []

    def outer_model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        returned = [part for each in messages if isinstance(each, ModelRequest) for part in each.parts]
        seen[:] = [part.model_response_str() for part in returned if isinstance(part, ToolReturnPart)]
        return ModelResponse([TextPart("done")] if seen else [ToolCallPart("ask", {}, "c1")])

    agent = Agent(FunctionModel(outer_model), name="outer", capabilities=[DurableExecution()])

    @agent.tool_plain
    async def ask() -> dict[str, Any]:
        return {"said": (await inner.run("x")).output, "odd": float("nan")}

    @durable.function(name="outer")
    async def job(ctx: durable.Context) -> str:
        return (await run_agent(ctx, agent, "go")).output

    assert await (await engine.start(job, id="run")).result() == "done"
    assert json.loads(seen[0]) == {"said": "half ?", "odd": None}
    assert len(await engine.store.reads.children("run")) == 3
