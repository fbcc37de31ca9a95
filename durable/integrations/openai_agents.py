"""OpenAI Agents SDK in durable functions: model calls, tool calls and MCP calls are steps, approvals are questions.

Needs the extra `openai-agents` (specs/integrations.md, O1-O8).
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

from agents import (
    Agent,
    ApplyPatchTool,
    ComputerTool,
    CustomTool,
    FunctionTool,
    Handoff,
    LocalShellTool,
    Model,
    ModelProvider,
    ModelResponse,
    RunConfig,
    Runner,
    RunResult,
    ShellTool,
    ToolOutputFileContent,
    ToolOutputImage,
    ToolOutputText,
    function_tool,
)
from agents.mcp import MCPServer
from agents.memory import SessionSettings
from agents.run import AgentRunner, get_default_agent_runner, set_default_agent_runner
from agents.tool_context import ToolContext
from mcp.types import CallToolResult
from mcp.types import Tool as McpTool
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from capabilities.capability import call_id
from durable.core.clock import now_ms
from durable.core.errors import BadArguments
from durable.core.limits import AGENT_SESSION_BYTES_MAX, AGENT_SESSION_KEYS_MAX
from durable.engine.engine import Engine
from durable.functions.context import Context
from durable.functions.definition import Retry
from durable.integrations.agent_steps import ApprovalOptions, StepOptions, recordable, session_code, tool_options
from durable.store.port import StoreFace

_OPTIONS = "durable_step"
"""The attribute of a tool under which its options stand."""

_RESPONSE = TypeAdapter(ModelResponse)


@dataclass(slots=True)
class _AgentRun:
    """The runs of agents of one call of `DurableRunner.run`, those of agents that are tools included."""

    ctx: Context
    model: StepOptions
    tools: StepOptions
    agents: dict[int, tuple[Agent[Any], Agent[Any]]] = field(default_factory=dict)
    """By the id of an agent: that agent, and the one with steps in its place."""


_RUN: ContextVar[_AgentRun | None] = ContextVar("durable_openai_agents_run", default=None)


async def _step(name: str, options: StepOptions, body: Callable[[], Awaitable[Any]]) -> Any:
    """Run a step of the run that is under way. Agents that its body runs are in no durable function."""
    run = _RUN.get()
    assert run is not None, "steps are made inside DurableRunner.run only"

    async def operation() -> Any:
        token = _RUN.set(None)
        try:
            return await body()
        finally:
            _RUN.reset(token)

    return await run.ctx.options(name=name, retry=options.retry, timeout=options.timeout).run(operation)


# -- models -----------------------------------------------------------------------------------------------------------


class _ModelSteps(Model):
    """A model each of whose responses is a step; `model` is looked up in the step only."""

    def __init__(self, model: Callable[[], Model]) -> None:
        self._model = model

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        run = _RUN.get()
        if run is None:
            return await self._model().get_response(*args, **kwargs)
        settings = args[2] if len(args) > 2 else kwargs.get("model_settings")
        if settings is not None and settings.retry is not None:
            raise BadArguments(
                "retries of the model settings wait for random times, which a replay would not repeat; "
                "give the runner model=StepOptions(retry=durable.Retry(…)) instead"
            )

        async def request() -> Any:
            response = await self._model().get_response(*args, **kwargs)
            dumped = _RESPONSE.dump_python(response, mode="json", by_alias=True, exclude_unset=True, warnings=False)
            return recordable(dumped)

        return _RESPONSE.validate_python(await _step("model", run.model, request))

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if _RUN.get() is not None:
            raise _unstreamed()
        return self._model().stream_response(*args, **kwargs)


class _ProviderSteps(ModelProvider):
    """A provider whose models are steps."""

    def __init__(self, provider: ModelProvider) -> None:
        self._provider = provider

    def get_model(self, model_name: str | None) -> Model:
        return _ModelSteps(lambda: self._provider.get_model(model_name))


def _unstreamed() -> BadArguments:
    return BadArguments("runs in a durable function are not streamed: a replay has no stream; use DurableRunner.run")


# -- tools ------------------------------------------------------------------------------------------------------------


def tool_step[T: FunctionTool | CustomTool](tool: T, options: Retry | StepOptions | bool) -> T:
    """The same tool with options of its own for its step: retries, a time limit, or False for a tool that is no step.

    What is no step runs in the durable function itself: it may use its `ctx`, and does no I/O. BadArguments.
    """
    found = copy.copy(tool)
    setattr(found, _OPTIONS, StepOptions() if options is True else tool_options(options, StepOptions(), tool.name))
    return found


class _ToolSteps:
    """The function of a tool, each call a step."""

    def __init__(self, name: str, invoke: Callable[[Any, str], Awaitable[Any]], options: StepOptions | None) -> None:
        self._name = name
        self._invoke = invoke
        self._options = options

    def __getattr__(self, attribute: str) -> Any:
        """The attributes of the function, by which the SDK reads arguments."""
        return getattr(self._invoke, attribute)

    def __agents_bind_function_tool__(self, tool: FunctionTool) -> _ToolSteps:
        """The same for a copy of the tool, as the SDK asks for it."""
        bind = getattr(self._invoke, "__agents_bind_function_tool__", None)
        return self if bind is None else _ToolSteps(self._name, bind(tool), self._options)

    async def __call__(self, context: Any, arguments: str) -> Any:
        run = _RUN.get()
        if run is None:
            return await self._invoke(context, arguments)

        async def call() -> Any:
            return _tool_result(await self._invoke(context, arguments))

        return await _step(self._name, self._options or run.tools, call)


def _tool_result(value: Any) -> Any:
    """A tool's result as JSON; what is none becomes the text that the model would be given."""
    if isinstance(value, list | tuple):
        return [_tool_result(each) for each in value]
    if isinstance(value, ToolOutputText | ToolOutputImage | ToolOutputFileContent):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, BaseModel):
        return str(value)
    try:
        return recordable(value)
    except (TypeError, ValueError):
        return recordable(str(value))


_LOCAL = (ComputerTool, ShellTool, LocalShellTool, ApplyPatchTool)


def _with_tool_steps(agent: str, tool: Any) -> Any:
    """A tool whose calls are steps; agents that are tools have steps of their own, and what is hosted has none here."""
    if isinstance(tool, _LOCAL) and _runs_here(tool):
        raise BadArguments(
            f"{type(tool).__name__} of agent {agent!r} runs here, and not as a function, so that no step can be made "
            "of it; offer a function tool that does the same"
        )
    if not isinstance(tool, FunctionTool | CustomTool):
        return tool
    options = getattr(tool, _OPTIONS, None)
    invoke: Any = tool.on_invoke_tool
    if options is False or getattr(tool, "_is_agent_tool", False) or isinstance(invoke, _ToolSteps):
        return tool
    found = copy.copy(tool)
    found.on_invoke_tool = cast(Any, _ToolSteps(tool.name, found.on_invoke_tool, options))
    return found


def _runs_here(tool: Any) -> bool:
    return not isinstance(tool, ShellTool) or tool.executor is not None


def _with_mcp_steps(server: MCPServer) -> MCPServer:
    """A server whose list of tools and whose calls are steps. Who made it connects it and closes it."""
    found = copy.copy(server)

    async def list_tools(*args: Any, **kwargs: Any) -> list[McpTool]:
        if _RUN.get() is None:
            return await server.list_tools(*args, **kwargs)

        async def listed() -> Any:
            return [each.model_dump(mode="json", by_alias=True) for each in await server.list_tools(*args, **kwargs)]

        step = await _step(f"{server.name}.list_tools"[:200], StepOptions(), listed)
        return [McpTool.model_validate(each) for each in step]

    async def call_tool(tool_name: str, *args: Any, **kwargs: Any) -> CallToolResult:
        run = _RUN.get()
        if run is None:
            return await server.call_tool(tool_name, *args, **kwargs)

        async def call() -> Any:
            return (await server.call_tool(tool_name, *args, **kwargs)).model_dump(mode="json", by_alias=True)

        return CallToolResult.model_validate(await _step(tool_name, run.tools, call))

    vars(found).update(list_tools=list_tools, call_tool=call_tool, _durable=True)
    return found


# -- agents -----------------------------------------------------------------------------------------------------------


def _with_steps(run: _AgentRun, agent: Agent[Any]) -> Agent[Any]:
    """The agent with steps, the same one each time; agents may hand off to each other in circles."""
    if id(agent) in run.agents:
        return run.agents[id(agent)][1]
    found = copy.copy(agent)
    run.agents[id(agent)] = (agent, found)
    run.agents[id(found)] = (found, found)
    if isinstance(agent.model, Model) and not isinstance(agent.model, _ModelSteps):
        found.model = _ModelSteps(_given(agent.model))
    found.tools = [_with_tool_steps(agent.name, tool) for tool in agent.tools]
    found.mcp_servers = [each if vars(each).get("_durable") else _with_mcp_steps(each) for each in agent.mcp_servers]
    found.handoffs = [
        _with_steps(run, each) if isinstance(each, Agent) else _with_handoff_steps(run, each) for each in agent.handoffs
    ]
    return found


def _given(model: Model) -> Callable[[], Model]:
    return lambda: model


def _with_handoff_steps(run: _AgentRun, handoff: Handoff[Any, Any]) -> Handoff[Any, Any]:
    found, invoke = copy.copy(handoff), handoff.on_invoke_handoff

    async def on_invoke_handoff(context: Any, arguments: str) -> Any:
        agent = await invoke(context, arguments)
        return _with_steps(run, agent) if isinstance(agent, Agent) else agent

    found.on_invoke_handoff = on_invoke_handoff
    return found


class _StepRunner(AgentRunner):
    """The SDK's runner, which also runs agents that are tools, and those that guardrails ask: durably where it is."""

    def __init__(self, inner: AgentRunner) -> None:
        self._inner = inner

    async def run(self, starting_agent: Agent[Any], input: Any, **kwargs: Any) -> RunResult:
        run = _RUN.get()
        if run is not None:
            starting_agent = _with_steps(run, starting_agent)
            kwargs["run_config"] = _config(run, kwargs.get("run_config"))
        return await self._inner.run(starting_agent, input, **kwargs)

    def run_sync(self, starting_agent: Agent[Any], input: Any, **kwargs: Any) -> RunResult:
        return self._inner.run_sync(starting_agent, input, **kwargs)

    def run_streamed(self, starting_agent: Agent[Any], input: Any, **kwargs: Any) -> Any:
        if _RUN.get() is not None:
            raise _unstreamed()
        return self._inner.run_streamed(starting_agent, input, **kwargs)


def _config(run: _AgentRun, given: RunConfig | dict[str, Any] | None) -> RunConfig:
    """The configuration with models that are steps, and a trace that is the same one in each replay."""
    config = RunConfig(**given) if isinstance(given, dict) else given or RunConfig()
    model, provider = config.model, config.model_provider
    return replace(
        config,
        model=_ModelSteps(_given(model)) if isinstance(model, Model) and not isinstance(model, _ModelSteps) else model,
        model_provider=provider if isinstance(provider, _ProviderSteps) else _ProviderSteps(provider),
        trace_id=config.trace_id or f"trace_{_digest(run.ctx.id)}",
    )


@contextmanager
def _running(run: _AgentRun) -> Iterator[None]:
    if not isinstance(get_default_agent_runner(), _StepRunner):
        set_default_agent_runner(_StepRunner(get_default_agent_runner()))
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


class DurableRunner:
    """Runs agents in durable functions, in the place of `agents.Runner`."""

    @staticmethod
    async def run(
        ctx: Context,
        starting_agent: Agent[Any],
        input: Any,
        *,
        model: StepOptions | None = None,
        tools: StepOptions | None = None,
        to: str | Sequence[str] = (),
        approval_timeout: timedelta | None = None,
        **options: Any,
    ) -> RunResult:
        """Run an agent: no model call and no tool call that was recorded is made again.

        model, tools: how often these are tried again, and how long they may take; `tool_step` says otherwise for one
        tool. to, approval_timeout: who approves calls that want it, as in `ctx.approve`; past the timeout a call is
        denied. options: those of `Runner.run`. BadArguments for tools of which no step can be made.
        """
        usual = StepOptions(Retry(max_retries=2, delay=1.0))
        run = _AgentRun(ctx, model or usual, tools or StepOptions())
        people = ApprovalOptions(to, approval_timeout)
        with _running(run):
            agent = _with_steps(run, starting_agent)
            result = await Runner.run(agent, input, **options)
            while result.interruptions:
                state = result.to_state()
                asked = [people.denial(ctx, *_call_of(each)) for each in result.interruptions]
                for item, why in zip(result.interruptions, await asyncio.gather(*asked), strict=True):
                    if why is None:
                        state.approve(item)
                    else:
                        state.reject(item, rejection_message=why)
                again = {key: value for key, value in options.items() if key in _AGAIN}
                result = await Runner.run(agent, state, **again)
            return result


_AGAIN = frozenset({"hooks", "run_config", "error_handlers", "session"})
"""The options that a run which goes on after approvals takes; the rest is in its state."""


def _call_of(item: Any) -> tuple[str, str, Any]:
    """The tool of a call that wants approval, its arguments as text, and what they are."""
    text = item.arguments or "{}"
    try:
        details = json.loads(text)
    except ValueError:
        details = text
    return item.name or "a tool", text, details


def run_code_tool(session: str = "agent", *, name: str = "run_code") -> FunctionTool:
    """A tool that runs Python in a durable session: variables stay, also after a crash.

    The session is made with what it may do before: `engine.session(session, profile="isolated")`.
    """

    async def run_code(tool_context: ToolContext[Any], code: str) -> str:
        """Run Python code. Variables, imports and functions stay for the next call; the last expression is the value.

        Args:
            code: The code to run; top-level await works.
        """
        run = _RUN.get()
        if run is None:
            raise BadArguments("run_code works in DurableRunner.run only: its executions belong to the function")
        return json.dumps(await session_code(run.ctx, code, session, name, tool_context.tool_call_id))

    return tool_step(function_tool(run_code, name_override=name), False)


# -- conversations ----------------------------------------------------------------------------------------------------


class DurableSession:
    """A conversation that is kept in the store: the SDK's `Session`.

    place: an engine, or the `ctx` of a durable function, in which each operation is a step. name: conversations of
    other names are apart. Items are kept as they were added, so runs at the same time lose nothing of each other's.
    """

    def __init__(
        self,
        session_id: str,
        place: Engine | Context | StoreFace,
        *,
        name: str = "default",
        session_settings: SessionSettings | None = None,
    ) -> None:
        if not session_id:
            raise BadArguments("a conversation has a session_id")
        self.session_id = session_id
        self.session_settings = session_settings
        self._ctx = place if isinstance(place, Context) else None
        self._store: StoreFace = place.store if isinstance(place, Engine | Context) else place
        self._namespace = f"openai-agents/{quote(name, safe='')}"
        self._prefix = f"{quote(session_id, safe='')}:"

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """The items, oldest first; with a limit the newest so many."""
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        if limit is not None and limit <= 0:
            return []

        async def items(_: str) -> list[Any]:
            found: list[Any] = []
            for key in reversed(await self._keys()):
                found[:0] = (await self._get(key))["items"]
                if limit is not None and len(found) >= limit:
                    return found[-limit:]
            return found

        return cast(list[Any], await self._do("get_items", items))

    async def add_items(self, items: list[Any]) -> None:
        """Add items at the end."""
        added = recordable(to_jsonable_python(items))
        if not added:
            return

        async def add(operation: str) -> None:
            keys = await self._keys()
            if any(key.endswith(f":{operation}") for key in keys):
                return  # by this step, before it was killed
            last = int(keys[-1].split(":")[1]) if keys else 0
            await self._set(f"{self._prefix}{max(now_ms(), last + 1):015}:{operation}", {"items": added, "popped": {}})

        await self._do("add_items", add)

    async def pop_item(self) -> Any:
        """Remove the newest item; None where there is none."""

        async def pop(operation: str) -> Any:
            newest: tuple[str, Any] | None = None
            for key in reversed(await self._keys()):
                record = await self._get(key)
                if operation in record["popped"]:
                    return record["popped"][operation]
                if newest is None and record["items"]:
                    newest = (key, record)
            if newest is None:
                return None
            key, record = newest
            item = record["items"].pop()
            record["popped"][operation] = item
            await self._set(key, record)
            return item

        return await self._do("pop_item", pop)

    async def clear_session(self) -> None:
        """Remove all items."""

        async def clear(_: str) -> None:
            for key in await self._keys():
                await self._store.request("kv.delete", {"namespace": self._namespace, "key": key})

        await self._do("clear_session", clear)

    async def _do(self, name: str, body: Callable[[str], Awaitable[Any]]) -> Any:
        """Do an operation, as a step where there is a durable function, under an id that stays when it is killed."""
        run = _RUN.get()
        ctx = self._ctx if run is None else run.ctx
        if ctx is None:
            return await body(uuid4().hex)

        async def session() -> Any:
            return await body(_digest(call_id()))

        return await ctx.options(name=f"session.{name}").run(session)

    async def _keys(self) -> list[str]:
        data = {"namespace": self._namespace, "prefix": self._prefix, "limit": AGENT_SESSION_KEYS_MAX}
        keys: list[str] = (await self._store.request("kv.list", data)).data["keys"]
        if len(keys) == AGENT_SESSION_KEYS_MAX:
            raise BadArguments(f"conversation {self.session_id!r} was added to {len(keys)} times; begin another one")
        return keys

    async def _get(self, key: str) -> Any:
        found = (await self._store.request("kv.get", {"namespace": self._namespace, "key": key})).data
        return json.loads(found["value"]) if found["found"] else {"items": [], "popped": {}}

    async def _set(self, key: str, value: Any) -> None:
        data = {
            "namespace": self._namespace,
            "key": key,
            "value": json.dumps(value),
            "quota": AGENT_SESSION_BYTES_MAX,
        }
        await self._store.request("kv.set", data)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


__all__ = ["DurableRunner", "DurableSession", "StepOptions", "run_code_tool", "tool_step"]
