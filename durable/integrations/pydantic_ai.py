"""Pydantic AI in durable functions: model calls, tool calls and MCP calls are steps, approvals are questions.

Built on Pydantic AI's public durability SDK. Needs the extra `pydantic-ai` (specs/integrations.md, P1-P7).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability, ProcessHistory
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    ExternalEventError,
    ExternalEventWaiter,
    JournalCallableOperationBackend,
    RoleBasedOperationConfig,
    conversation_id_from_run_id,
    external_event_scope,
    record_durable_unit,
    replay_scope,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryPromptPart,
    SystemPromptPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.messages import TextPart as ModelText
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext, ToolDenied
from pydantic_ai.toolsets import FunctionToolset

from durable.agents.context_window import ContextWindow
from durable.agents.conversation import AgentMessage, CallPart, MessagePart, ReturnPart, TextPart
from durable.core.errors import BadArguments, ExecutionError
from durable.core.limits import PROMPT_CHARS_MAX
from durable.functions.context import Context
from durable.functions.definition import Retry
from durable.integrations.agent_steps import (
    ApprovalOptions,
    StepOptions,
    question_of,
    recordable,
    session_code,
    tool_options,
)

STEP = "durable"
"""The key of a tool's metadata under which its Retry stands, or False for a tool that is no step."""


@dataclass(slots=True)
class _AgentRun:
    """A run of agents in one durable function."""

    ctx: Context
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


_RUN: ContextVar[_AgentRun | None] = ContextVar("durable_pydantic_ai_run", default=None)


class _Steps(JournalCallableOperationBackend[StepOptions]):
    """Each durable operation of Pydantic AI is one step."""

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,  # noqa: ARG002
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],  # noqa: ARG002
        config: StepOptions,
    ) -> object:
        """Run the body, or give what it was recorded with."""
        run, ran = _RUN.get(), False
        assert run is not None, "operations are steps inside run_agent only"

        async def operation() -> object:
            nonlocal ran
            ran = True
            token = _RUN.set(None)  # agents that a tool runs are part of its step
            try:
                return recordable(await body())
            finally:
                _RUN.reset(token)

        options = run.ctx.options(name=name, retry=config.retry, timeout=config.timeout)
        value = await options.run(operation)
        record_durable_unit(executed=ran)
        return value


class DurableExecution(BaseDurabilityCapability[Any]):
    """Makes an agent durable: give it to the agent, and run the agent with `run_agent` in a durable function.

    model, tools: how often model calls and tool calls are tried again; a tool's metadata `{"durable": Retry(...)}` says
    otherwise, and `{"durable": False}` makes it no step. The agent needs a name, which stands in the record. Outside of
    `run_agent` the agent runs as if this were not there.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="durable-exec",
        durable_unit_noun="step",
        durable_container_noun="durable function",
        codec=JSON_CODEC,
        unsupported_runtime_toolset_kinds=frozenset({"mcp", "dynamic"}),
        wrapped_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        journal_discovery=True,
        sequential_tools_in_durable_context=False,
        tool_config_key=STEP,
    )

    def __init__(
        self,
        *,
        model: StepOptions | None = None,
        tools: StepOptions | None = None,
        models: Mapping[str, Any] | None = None,
        event_stream_handler: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(models=models, event_stream_handler=event_stream_handler, name=name)
        self._model = model or StepOptions(Retry(max_retries=2, delay=1.0))
        self._tools = tools or StepOptions()

    @property
    def in_durable_context(self) -> bool:
        return _RUN.get() is not None

    def get_default_run_id(self) -> str | None:
        run = _RUN.get()
        return None if run is None else f"{run.ctx.id}:{next(run.numbers)}"

    def get_default_conversation_id(self, run_id: str) -> str | None:
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:  # noqa: ARG002
        run = _RUN.get()
        if run is None:
            return None

        def now() -> str:
            return datetime.now(UTC).isoformat()

        return datetime.fromisoformat(await run.ctx.options(name=f"{self.name}__run_start").run(now))

    def get_durable_operation_backend(self) -> DurableOperationBackend[StepOptions]:
        def of_tool(_: DurableOperationId, tool: Any, __: str) -> StepOptions | Literal[False]:
            metadata = (tool.tool_def.metadata or {}) if tool is not None else {}
            return tool_options(metadata.get(STEP, self._tools), self._tools, tool.tool_def.name if tool else "")

        config = RoleBasedOperationConfig[StepOptions](
            model=self._model, event=self._tools, capability=self._tools, tool=self._tools, resolve_tool=of_tool
        )
        return _Steps(agent_name=self.name, default_model_id=self.default_model_id, config=config)


class _Waiter(ExternalEventWaiter):
    """Waits of a run, such as RequestInput's, are questions: the token is the question's id."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def wait(self, name: str, *, ask: Callable[[str], Awaitable[Any]], timeout: timedelta | None) -> Any:
        """The answer: `ask`'s own, or the question's, given by `engine.answer(token, …)` or `durable answer`."""
        question = self._ctx.ask(name, schema={}, timeout=timeout, on_timeout="fail" if timeout is not None else None)
        token = question.promise_id

        async def handed() -> list[Any]:
            answer = await ask(token)
            return [] if answer is None else [answer]

        answered = await self._ctx.options(name=f"{name}.ask").run(handed)
        if answered:
            return answered[0]
        try:
            return await question
        except (TimeoutError, ExecutionError) as error:
            raise ExternalEventError(str(error)) from None


@contextmanager
def _running(ctx: Context) -> Iterator[None]:
    token = _RUN.set(_AgentRun(ctx))
    try:
        with external_event_scope(_Waiter(ctx)), replay_scope():
            yield
    finally:
        _RUN.reset(token)


async def run_agent[T](
    ctx: Context, agent: Agent[Any, T], prompt: str | Sequence[Any] | None = None, **options: Any
) -> AgentRunResult[T]:
    """Run an agent in a durable function: no model call and no tool call that was recorded is made again.

    options: those of `agent.run`. BadArguments when the agent has no DurableExecution.
    """
    if not any(isinstance(each, DurableExecution) for each in _capabilities(agent)):
        raise BadArguments(f"agent {agent.name!r} is not durable: Agent(…, capabilities=[DurableExecution()])")
    with _running(ctx):
        return await agent.run(prompt, **options)


def _capabilities(agent: Agent[Any, Any]) -> list[AbstractCapability[Any]]:
    found: list[AbstractCapability[Any]] = []
    agent.root_capability.apply(found.append)
    return found


@dataclass
class AskPeople(AbstractCapability[Any]):
    """Tools that want approval ask a person, once each, in the inbox; tools whose result comes from outside ask for it.

    to, timeout: as of `ctx.approve`; when it passes the call is denied.
    """

    to: str | Sequence[str] = ()
    timeout: timedelta | None = None

    async def handle_deferred_tool_calls(
        self,
        ctx: RunContext[Any],  # noqa: ARG002
        *,
        requests: DeferredToolRequests,
    ) -> DeferredToolResults | None:
        """Ask, where the agent runs durably; elsewhere leave it to others."""
        run = _RUN.get()
        if run is None:
            return None
        people = ApprovalOptions(self.to, self.timeout)
        approvals: dict[str, Any] = {}
        for call in requests.approvals:
            why = await people.denial(run.ctx, call.tool_name, call.args_as_json_str(), call.args_as_dict())
            approvals[call.tool_call_id] = True if why is None else ToolDenied(why)
        calls: dict[str, Any] = {}
        for call in requests.calls:
            question = f"The result of {question_of(call.tool_name, call.args_as_json_str())}"[:PROMPT_CHARS_MAX]
            calls[call.tool_call_id] = await run.ctx.ask(question, schema={}, **people.options())
        return requests.build_results(approvals=approvals, calls=calls)


def run_code_toolset(session: str = "agent", *, name: str = "run_code") -> FunctionToolset[Any]:
    """A tool `run_code(code)` that runs Python in a durable session: variables stay, also after a crash.

    The session is made with what it may do before: `engine.session(session, profile="isolated")`.
    """
    toolset: FunctionToolset[Any] = FunctionToolset(id=f"durable_{session}")

    async def run_code(run_context: RunContext[Any], code: str) -> dict[str, Any]:
        """Run Python code. Variables, imports and functions stay for the next call; the last expression is the value.

        Args:
            code: The code to run; top-level await works.
        """
        run = _RUN.get()
        if run is None:
            raise BadArguments("run_code works in run_agent only: the session's execution belongs to the function")
        return await session_code(run.ctx, code, session, name, run_context.tool_call_id or "")

    toolset.add_function(run_code, takes_ctx=True, name=name, metadata={STEP: False})
    return toolset


def bounded_history(window: ContextWindow) -> ProcessHistory[Any]:
    """A capability that keeps an agent's history below a model's window (`durable.agents`).

    In `run_agent` a summary is a step, and `durable context ID` shows the stages.
    """

    async def process(messages: list[ModelMessage]) -> list[ModelMessage]:
        pieces = _Pieces(messages)
        run = _RUN.get()
        fitted = await (window.fit(pieces.told) if run is None else window.fit_in(run.ctx, pieces.told))
        return messages if fitted == pieces.told else pieces.back(fitted)

    return ProcessHistory(process)


class _Pieces:
    """A history in parts, each told as a message of `durable.agents`, and the way back."""

    def __init__(self, messages: Sequence[ModelMessage]) -> None:
        self.told: list[AgentMessage] = []
        self._origin: dict[str, tuple[ModelMessage, Any]] = {}
        self._parts: dict[str, Any] = {}
        for message in messages:
            if isinstance(message, ModelResponse):
                self._add(_told_response(message), message, None)
                self._parts |= {part.tool_call_id: part for part in message.parts if isinstance(part, ToolCallPart)}
                continue
            for part in message.parts:
                self._add(_told_part(part), message, part)
                if isinstance(part, ToolReturnPart | RetryPromptPart) and part.tool_name is not None:
                    self._parts[f"return {part.tool_call_id}"] = part

    def _add(self, told: AgentMessage, message: ModelMessage, part: Any) -> None:
        self.told.append(told)
        self._origin[_key(told)] = (message, part)

    def back(self, fitted: Sequence[AgentMessage]) -> list[ModelMessage]:
        """The history of what is left; parts that were not changed are the parts that they were."""
        found: list[ModelMessage] = []
        open_parts: list[Any] = []
        origin: ModelRequest | None = None

        def close() -> None:
            nonlocal origin
            if open_parts:
                found.append(
                    ModelRequest(list(open_parts)) if origin is None else replace(origin, parts=list(open_parts))
                )
            open_parts.clear()
            origin = None

        for message in fitted:
            original, part = self._origin.get(_key(message), (None, None))
            if message.role == "assistant":
                close()
                found.append(original if isinstance(original, ModelResponse) else self._response(message))
                continue
            open_parts += [part] if part is not None else self._request_parts(message)
            origin = original if isinstance(original, ModelRequest) else origin
        close()
        return found

    def _response(self, message: AgentMessage) -> ModelResponse:
        parts: list[Any] = []
        for part in message.parts:
            if isinstance(part, CallPart):
                parts.append(replace(self._parts[part.id], args=part.arguments))
            else:
                parts.append(ModelText(part.text))
        return ModelResponse(parts)

    def _request_parts(self, message: AgentMessage) -> list[Any]:
        parts: list[Any] = []
        for part in message.parts:
            if isinstance(part, ReturnPart):
                parts.append(replace(self._parts[f"return {part.id}"], content=part.text))
            elif isinstance(part, TextPart):
                made = SystemPromptPart if message.role == "system" else UserPromptPart
                parts.append(made(part.text))
        return parts


def _key(message: AgentMessage) -> str:
    return message.with_parts(message.parts).encode()


def _told_response(response: ModelResponse) -> AgentMessage:
    parts: list[MessagePart] = []
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            parts.append(CallPart(part.tool_call_id, part.tool_name, part.args_as_json_str()))
        elif isinstance(text := getattr(part, "content", None), str):
            parts.append(TextPart(text))
    usage = response.usage
    tokens = usage.input_tokens + usage.output_tokens
    return AgentMessage("assistant", tuple(parts), tokens=tokens or None)


def _told_part(part: Any) -> AgentMessage:
    if isinstance(part, SystemPromptPart):
        return AgentMessage("system", (TextPart(part.content),))
    if isinstance(part, ToolReturnPart):
        return AgentMessage("tool", (ReturnPart(part.tool_call_id, part.tool_name, part.model_response_str()),))
    if isinstance(part, RetryPromptPart) and part.tool_name is not None:
        return AgentMessage("tool", (ReturnPart(part.tool_call_id, part.tool_name, part.model_response()),))
    content = getattr(part, "content", "")
    text = content if isinstance(content, str) else json.dumps(content, default=str)
    return AgentMessage("user", (TextPart(text),))


__all__ = ["AskPeople", "DurableExecution", "StepOptions", "bounded_history", "run_agent", "run_code_toolset"]
