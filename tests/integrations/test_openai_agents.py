"""Agents of the OpenAI Agents SDK in durable functions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    ApplyPatchTool,
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    Model,
    ModelResponse,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    SQLiteSession,
    ToolOutputImage,
    Usage,
    function_tool,
    handoff,
)
from agents.mcp import MCPServer
from agents.memory import SessionSettings
from agents.retry import ModelRetrySettings
from agents.testing import ScriptedModel, assistant_message, function_call
from mcp.types import CallToolResult, TextContent
from mcp.types import Tool as McpTool
from openai import AsyncOpenAI

import durable
from durable.integrations.openai_agents import DurableRunner, DurableSession, StepOptions, tool_step
from tests.integrations import kills
from tests.integrations.chat_server import chat_server
from tests.integrations.openai_agents_job import returned
from tests.waiting import first_prompt, until

JOB = "tests.integrations.openai_agents_job"
EXPECTED = [["3", "7", '{"value": "21"}', "paid 7", "bonjour", '{"assistant": "closer"}', "10"], 16, 16]
QUIET = RunConfig(tracing_disabled=True)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as found:
        yield found


async def ran(engine: durable.Engine, agent: Agent[Any], text: Any = "go", *, id: str = "run", **options: Any) -> Any:
    """What an agent says at the end, in a durable function."""

    @durable.function(name=id)
    async def job(ctx: durable.Context) -> Any:
        return (await DurableRunner.run(ctx, agent, text, run_config=QUIET, **options)).final_output

    return await (await engine.start(job, id=id)).result()


async def steps(engine: durable.Engine, execution: str = "run") -> list[str]:
    """The names of what a run recorded."""
    return [row.tags["durable:name"] for row in await engine.store.reads.children(execution)]


def calls(name: str, arguments: dict[str, Any] | None = None, call_id: str = "c1") -> list[Any]:
    return [function_call(name, arguments or {}, call_id=call_id)]


def said(text: str = "done") -> list[Any]:
    return [assistant_message(text)]


def answers_of(model: ScriptedModel) -> list[Any]:
    """The results of tools that the model was sent last."""
    return returned(model.calls[-1].input)


def test_nothing_recorded_is_called_again_wherever_the_process_dies() -> None:
    """All points: `python -m tests.integrations.kills tests.integrations.openai_agents_job`."""
    assert kills.survived(JOB, 52) == EXPECTED


def paying(*more: Any) -> tuple[Agent[None], ScriptedModel]:
    @function_tool(needs_approval=True)
    async def pay(amount: int) -> str:
        return f"paid {amount}"

    calls_of_both = [*calls("pay", {"amount": 7}), *calls("pay", {"amount": 9}, "c2")]
    model = ScriptedModel([calls_of_both, said()])
    return Agent("payer", model=model, tools=[pay, *more]), model


async def test_approvals_are_asked_at_once_of_whom_they_are_for_and_denials_are_told(engine: durable.Engine) -> None:
    agent, model = paying()
    running = asyncio.create_task(ran(engine, agent, to="ana"))

    async def both() -> list[durable.OpenPrompt]:
        found = await engine.prompts()
        return found if len(found) == 2 else []

    prompts = {each.question: each for each in await until(engine, both)}
    assert {each.prompt.to for each in prompts.values()} == {("ana",)}
    await engine.answer(prompts['pay({"amount":7})'].id, {"approve": False, "why": "too much"}, by="ana")
    await engine.answer(prompts['pay({"amount":9})'].id, True, by="ana")
    assert await running == "done"
    denied, paid = answers_of(model)
    assert "too much" in denied
    assert paid == "paid 9"


async def test_an_approval_of_an_agent_that_is_a_tool_is_asked_once(engine: durable.Engine) -> None:
    inner, model = paying()
    outer = ScriptedModel([calls("helper", {"input": "pay"}), said("all paid")])
    running = asyncio.create_task(ran(engine, Agent("outer", model=outer, tools=[inner.as_tool("helper", "Pays.")])))

    async def both() -> list[durable.OpenPrompt]:
        found = await engine.prompts()
        return found if len(found) == 2 else []

    for prompt in await until(engine, both):
        await engine.answer(prompt.id, True, by="ana")
    assert await running == "all paid"
    assert answers_of(model) == ["paid 7", "paid 9"]
    assert (await steps(engine)).count("input") == 2
    assert (await steps(engine)).count("model") == 4


@dataclass
class Place:
    city: str


@pytest.mark.parametrize(
    "value",
    [
        "text",
        12,
        None,
        [1, "a"],
        {"a": (1, 2)},
        Place("Turin"),
        {1, 2},
        ToolOutputImage(image_url="data:image/png;base64,AAAA", detail="low"),
        [ToolOutputImage(file_id="f1"), ToolOutputImage(file_id="f2")],
        "\ud800 half a character",
    ],
    ids=str,
)
async def test_results_of_tools_reach_the_model_as_they_do_without_us(engine: durable.Engine, value: Any) -> None:
    @function_tool
    def give() -> Any:
        return value

    models = [ScriptedModel([calls("give"), said()]) for _ in range(2)]
    plain, ours = (Agent("giver", model=model, tools=[give]) for model in models)
    await Runner.run(plain, "go", run_config=QUIET)
    await ran(engine, ours)
    expected, found = (answers_of(model)[0] for model in models)
    if isinstance(value, str) and not value.isascii():
        assert "half a character" in found  # a half of a pair is not in JSON
    elif isinstance(value, dict):
        assert found == "{'a': [1, 2]}"  # JSON has no tuples
    else:
        assert found == expected


async def test_a_failing_tool_is_told_to_the_model_or_fails_the_run_as_the_tool_says(engine: durable.Engine) -> None:
    tries: list[str] = []

    @function_tool(failure_error_function=None)
    async def flaky() -> str:
        tries.append(durable.call_id())
        if len(tries) < 3:
            raise OSError("not yet")
        return "there"

    @function_tool
    async def broken() -> str:
        raise ValueError("no such city")

    model = ScriptedModel([calls("flaky"), calls("broken", call_id="c2"), said()])
    again = tool_step(flaky, durable.Retry(max_retries=3, delay=0.01))
    assert await ran(engine, Agent("a", model=model, tools=[again, broken])) == "done"
    assert len(tries) == 3
    assert len(set(tries)) == 1, "each attempt has the same key"
    assert "there" in answers_of(model)[0]
    assert "An error occurred" in answers_of(model)[1]
    tries.clear()
    model = ScriptedModel([calls("flaky"), said()])
    with pytest.raises(durable.ExecutionError, match="not yet"):
        await ran(engine, Agent("b", model=model, tools=[flaky]), id="other")


async def test_a_model_that_fails_is_asked_again_as_often_as_was_said(engine: durable.Engine) -> None:
    class Flaky(Model):
        tries = 0

        async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
            self.tries += 1
            if self.tries < 3:
                raise OSError("no model today")
            return ModelResponse(said("at last"), Usage(requests=1, input_tokens=3), "r1")

        def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    model = Flaky()
    retry = StepOptions(durable.Retry(max_retries=2, delay=0.01))
    assert await ran(engine, Agent("a", model=model), model=retry) == "at last"
    with pytest.raises(durable.ExecutionError, match="no model today"):
        await ran(engine, Agent("a", model=Flaky()), id="other", model=StepOptions())


async def test_agents_run_inside_of_steps_and_of_guardrails(engine: durable.Engine) -> None:
    """In a tool they are part of its step; a guardrail is no step, so they have steps of their own."""
    inner = ScriptedModel([said("inner says")])

    @function_tool
    async def delegate() -> str:
        return str((await Runner.run(Agent("inner", model=inner), "x", run_config=QUIET)).final_output)

    judge = ScriptedModel([said("fine"), said("bad")])

    async def check(context: Any, agent: Any, text: Any) -> GuardrailFunctionOutput:
        verdict = (await Runner.run(Agent("judge", model=judge), "x", run_config=QUIET)).final_output
        return GuardrailFunctionOutput(verdict, verdict == "bad")

    model = ScriptedModel([calls("delegate"), said()])
    guarded = Agent("a", model=model, tools=[delegate], input_guardrails=[InputGuardrail(check)])
    assert await ran(engine, guarded) == "done"
    assert answers_of(model) == ["inner says"]
    assert sorted(await steps(engine)) == ["delegate", "model", "model", "model"]

    @durable.function(name="tripped")
    async def tripped(ctx: durable.Context) -> str:
        again = guarded.clone(model=ScriptedModel([said()]))
        try:
            await DurableRunner.run(ctx, again, "x", run_config=QUIET)
        except InputGuardrailTripwireTriggered as error:
            return str(error.guardrail_result.output.output_info)
        return "passed"

    assert await (await engine.start(tripped, id="tripped")).result() == "bad"


class Weather(MCPServer):
    """A server in this process that counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(require_approval={"always": {"tool_names": ["storm"]}})
        self.asked: list[str] = []

    async def connect(self) -> None:
        pass

    async def cleanup(self) -> None:
        pass

    @property
    def name(self) -> str:
        return "weather"

    async def list_tools(self, run_context: Any = None, agent: Any = None) -> list[McpTool]:
        self.asked.append("list")
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        return [McpTool(name=name, inputSchema=schema) for name in ("forecast", "storm")]

    async def call_tool(self, tool_name: str, arguments: Any, meta: Any = None) -> CallToolResult:
        self.asked.append(f"{tool_name} {arguments['city']}")
        return CallToolResult(content=[TextContent(type="text", text=f"sunny in {arguments['city']}")])

    async def list_prompts(self) -> Any:
        raise NotImplementedError

    async def get_prompt(self, name: str, arguments: Any = None) -> Any:
        raise NotImplementedError


async def test_calls_of_mcp_servers_are_steps_and_approvals_of_theirs_questions(engine: durable.Engine) -> None:
    server = Weather()
    both = [*calls("forecast", {"city": "Turin"}), *calls("storm", {"city": "Rome"}, "c2")]
    model = ScriptedModel([both, said()])
    running = asyncio.create_task(ran(engine, Agent("a", model=model, mcp_servers=[server])))
    prompt = await first_prompt(engine)
    assert prompt.question == 'storm({"city":"Rome"})'
    await engine.answer(prompt.id, True, by="ana")
    assert await running == "done"
    assert [each for each in server.asked if each != "list"] == ["forecast Turin", "storm Rome"]
    assert len([each for each in await steps(engine) if each == "weather.list_tools"]) == server.asked.count("list")
    assert ["sunny in Turin" in str(each) for each in answers_of(model)] == [True, False]


async def test_agents_hand_off_in_circles_and_the_hooks_of_handoffs_run(engine: durable.Engine) -> None:
    handed: list[str] = []
    first = Agent("first", model=ScriptedModel([calls("transfer_to_second"), said("home again")]))
    second = Agent("second", model=ScriptedModel([calls("transfer_to_first", call_id="c2")]))
    first.handoffs = [second]
    second.handoffs = [handoff(first, on_handoff=lambda _: handed.append("back"))]
    assert await ran(engine, first) == "home again"
    assert handed == ["back"]
    assert await steps(engine) == ["model", "model", "model"]
    assert first.handoffs == [second], "agents that are given are not changed"


async def test_what_cannot_be_made_a_step_is_refused_with_what_to_do(engine: durable.Engine) -> None:
    class Editor:
        create_file = update_file = delete_file = None

    refused = {
        "no step can be made": Agent("a", model=ScriptedModel([said()]), tools=[ApplyPatchTool(editor=Editor())]),  # type: ignore[arg-type]
        "StepOptions": Agent(
            "b",
            model=ScriptedModel([said()]),
            model_settings=ModelSettings(retry=ModelRetrySettings(max_retries=2)),
        ),
    }
    for number, (why, agent) in enumerate(refused.items()):
        with pytest.raises(durable.ExecutionError, match=why):
            await ran(engine, agent, id=f"r{number}")

    @durable.function(name="streamed")
    async def streamed(ctx: durable.Context) -> str:
        class Hooked(Agent):  # type: ignore[type-arg]
            async def get_system_prompt(self, run_context: Any) -> str | None:
                Runner.run_streamed(Agent("x", model=ScriptedModel([said()])), "x")
                return None

        return str((await DurableRunner.run(ctx, Hooked("c", model=ScriptedModel([said()])), "x")).final_output)

    with pytest.raises(durable.ExecutionError, match="not streamed"):
        await (await engine.start(streamed, id="streamed")).result()
    with pytest.raises(durable.BadArguments, match="Retry, StepOptions or False"):
        tool_step(function_tool(lambda: "x", name_override="x"), "often")  # type: ignore[arg-type]


async def test_outside_of_durable_functions_the_sdk_is_as_it_was(engine: durable.Engine) -> None:
    agent, _ = paying()
    await ran(engine, Agent("a", model=ScriptedModel([said()])))
    result = await Runner.run(agent, "pay", run_config=QUIET)
    assert len(result.interruptions) == 2
    streamed = Runner.run_streamed(Agent("b", model=ScriptedModel([said("by stream")])), "x", run_config=QUIET)
    async for _event in streamed.stream_events():
        pass
    assert streamed.final_output == "by stream"
    assert await engine.prompts() == []


async def test_a_model_over_http_is_asked_once_a_turn(engine: durable.Engine) -> None:
    bodies: list[Any] = []

    def answer(body: dict[str, Any]) -> dict[str, Any] | int:
        bodies.append(body)
        if len(bodies) == 1:
            return 503
        if any(each["role"] == "tool" for each in body["messages"]):
            return {"content": "It is sunny."}
        call = {"name": "weather", "arguments": '{"city": "Turin"}'}
        return {"tool_calls": [{"id": "c1", "type": "function", "function": call}]}

    @function_tool
    def weather(city: str) -> str:
        return f"sunny in {city}"

    with chat_server(answer) as url:
        client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        agent = Agent("a", model=OpenAIChatCompletionsModel("m", client), tools=[weather])
        retry = StepOptions(durable.Retry(max_retries=2, delay=0.01))
        assert await ran(engine, agent, model=retry) == "It is sunny."
        await client.close()
    assert len(bodies) == 3
    assert bodies[-1]["messages"][-1]["content"] == "sunny in Turin"


async def test_a_conversation_is_kept_as_the_sdks_own_keeps_it(place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        theirs, ours = SQLiteSession("42"), DurableSession("42", engine)
        items: list[Any] = [{"role": "user", "content": f"number {number} – ü"} for number in range(7)]
        for session in (theirs, ours, DurableSession("43", engine), DurableSession("42", engine, name="other")):
            await session.add_items(items[:3])
            await session.add_items([])
            await session.add_items(items[3:])
        for limit in (None, 1, 4, 100):
            assert await ours.get_items(limit) == await theirs.get_items(limit)
        for _ in range(5):
            assert await ours.pop_item() == await theirs.pop_item()
        assert await ours.get_items() == await theirs.get_items() == items[:2]
        bounded = DurableSession("42", engine, session_settings=SessionSettings(limit=1))
        assert await bounded.get_items() == items[1:2]
        await ours.clear_session()
        assert await ours.pop_item() is None
        assert len(await DurableSession("43", engine).get_items()) == 7
        theirs.close()
        with pytest.raises(durable.BadArguments):
            DurableSession("", engine)


async def test_a_conversation_goes_on_in_the_next_function_and_loses_nothing_beside_others(
    engine: durable.Engine,
) -> None:
    model = ScriptedModel([said("hello"), said("again")])
    agent = Agent("a", model=model)
    assert await ran(engine, agent, "one", id="first", session=DurableSession("talk", engine)) == "hello"
    assert await ran(engine, agent, "two", id="second", session=DurableSession("talk", engine)) == "again"
    assert [each["role"] for each in model.calls[-1].input] == ["user", "assistant", "user"]
    names = await steps(engine, "second")
    assert set(names) == {"session.get_items", "session.add_items", "model"}

    agent, _ = paying()
    running = asyncio.create_task(ran(engine, agent, "pay", id="third", session=DurableSession("paid", engine)))

    async def both() -> list[durable.OpenPrompt]:
        found = await engine.prompts()
        return found if len(found) == 2 else []

    for prompt in await until(engine, both):
        await engine.answer(prompt.id, True, by="ana")
    assert await running == "done"
    kept = await DurableSession("paid", engine).get_items()
    called = [each["call_id"] for each in kept if each.get("type") == "function_call"]
    assert sorted(called) == sorted(each["call_id"] for each in kept if each.get("type") == "function_call_output")
    assert sorted(called) == ["c1", "c2"]

    session = DurableSession("crowd", engine)
    batches = [[{"role": "user", "content": f"{number} {part}"} for part in "ab"] for number in range(20)]
    await asyncio.gather(*(session.add_items(batch) for batch in batches))
    found = [each["content"] for each in await session.get_items()]
    assert len(found) == 40
    assert all(found.index(f"{number} b") == found.index(f"{number} a") + 1 for number in range(20))
    assert json.dumps(found)
