"""The tools that are offered: name, what it is for, arguments, result, and when it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mcp_types as types
from pydantic import BaseModel, TypeAdapter

from durable.mcp import code_tools, execution_tools, prompt_tools, tool_arguments, tool_results
from durable.mcp.elicitation import ToolCall
from durable.mcp.tool_host import ToolHost


@dataclass(frozen=True)
class Tool:
    """One tool. `run` gives the result, or the id of an execution whose end is then waited for."""

    name: str
    description: str
    arguments: type[tool_arguments.ToolArguments]
    result: type[BaseModel]
    run: Callable[[ToolCall, Any], Awaitable[types.CallToolResult | str]]
    reads: bool = False
    """Whether it changes nothing."""
    destroys: bool = False
    repeatable: bool = False
    """Whether a second call with the same arguments does nothing more."""

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        return TypeAdapter(self.arguments).json_schema()

    @cached_property
    def listed(self) -> types.Tool:
        """The tool as clients see it."""
        return types.Tool(
            name=self.name,
            description=self.description,
            input_schema=self.schema,
            output_schema=TypeAdapter(self.result).json_schema(mode="serialization"),
            annotations=types.ToolAnnotations(
                read_only_hint=self.reads,
                destructive_hint=self.destroys,
                idempotent_hint=self.reads or self.repeatable,
                open_world_hint=False,
            ),
        )


_HANDLE = (
    "Returns within wait_s. What has not ended by then goes on: call `wait` with its execution id. "
    "If it asks a question, the result says which."
)

RUN_CODE = Tool(
    "run_code",
    "Run code in a durable session: variables, imports and functions stay for the next call, and survive crashes and "
    f"restarts. Top-level await works; the last expression is the value. {_HANDLE}",
    tool_arguments.RunCode,
    tool_results.ExecutionReport,
    code_tools.run_code,
)

TOOLS = (
    RUN_CODE,
    Tool(
        "wait",
        f"Wait for an execution. {_HANDLE}",
        tool_arguments.WaitFor,
        tool_results.ExecutionReport,
        execution_tools.wait,
        reads=True,
    ),
    Tool(
        "output",
        "Read what an execution printed, from an offset on, also while it runs.",
        tool_arguments.ReadOutput,
        tool_results.OutputReport,
        execution_tools.output,
        reads=True,
    ),
    Tool(
        "interrupt",
        "Stop an execution so that `resume` goes on with it where it was.",
        tool_arguments.OneExecution,
        tool_results.Acknowledged,
        execution_tools.interrupt,
        repeatable=True,
    ),
    Tool(
        "resume",
        "Go on with an execution that was interrupted; what it has done is not done again.",
        tool_arguments.OneExecution,
        tool_results.Acknowledged,
        execution_tools.resume,
        repeatable=True,
    ),
    Tool(
        "cancel",
        "End an execution for good.",
        tool_arguments.CancelExecution,
        tool_results.Acknowledged,
        execution_tools.cancel,
        destroys=True,
        repeatable=True,
    ),
    Tool(
        "status",
        "How an execution stands.",
        tool_arguments.OneExecution,
        tool_results.ExecutionStatus,
        execution_tools.status,
        reads=True,
    ),
    Tool(
        "session_list",
        "The sessions that there are.",
        tool_arguments.NoArguments,
        tool_results.SessionList,
        code_tools.session_list,
        reads=True,
    ),
    Tool(
        "session_variables",
        "The variables of a session: names, types, short values. Waits until no code runs there.",
        tool_arguments.OneSession,
        tool_results.VariableList,
        code_tools.session_variables,
        repeatable=True,
    ),
    Tool(
        "checkpoint",
        "Save a session's variables under a number and a label, to come back to with `restore` or `fork`.",
        tool_arguments.MakeCheckpoint,
        tool_results.CheckpointReport,
        code_tools.checkpoint,
    ),
    Tool(
        "restore",
        "Bring back the variables of a checkpoint. Variables that it does not have stay, unless clear_existing.",
        tool_arguments.RestoreCheckpoint,
        tool_results.RestoreResult,
        code_tools.restore,
        destroys=True,
    ),
    Tool(
        "fork",
        "Make a new session that begins with the variables of another, or of one of its checkpoints.",
        tool_arguments.ForkSession,
        tool_results.ForkReport,
        code_tools.fork,
    ),
    Tool(
        "inbox",
        "The questions that wait for an answer.",
        tool_arguments.NoArguments,
        tool_results.QuestionList,
        prompt_tools.inbox,
        reads=True,
    ),
    Tool(
        "answer",
        "Answer a question. Approvals, secrets and questions to named persons are left to people.",
        tool_arguments.GiveAnswer,
        tool_results.Answered,
        prompt_tools.answer,
    ),
    Tool(
        "engine_status",
        "How an execution stands; without one, how the engine does: what runs, and how its tools were used.",
        tool_arguments.MaybeExecutionId,
        tool_results.EngineStatus,
        execution_tools.engine_status,
        reads=True,
    ),
    Tool(
        "engine_interrupt",
        "The same as `interrupt`.",
        tool_arguments.OneExecutionId,
        tool_results.Acknowledged,
        execution_tools.engine_interrupt,
        repeatable=True,
    ),
    Tool(
        "engine_resume",
        "The same as `resume`.",
        tool_arguments.OneExecutionId,
        tool_results.Acknowledged,
        execution_tools.engine_resume,
        repeatable=True,
    ),
)

EXECUTE_AGENT_CODE = Tool(
    "execute_agent_code",
    "Run code once, alone, in a sandbox without network, files or memory of other calls; `run_code` keeps variables.",
    tool_arguments.AgentCode,
    tool_results.AgentCodeReport,
    code_tools.execute_agent_code,
)


def start_tool(functions: tuple[str, ...]) -> Tool:
    """The tool that starts these functions."""
    return Tool(
        "start",
        f"Start a durable function. There are: {', '.join(functions)}. {_HANDLE}",
        tool_arguments.StartFunction,
        tool_results.ExecutionReport,
        execution_tools.start,
    )


async def offered_tools(host: ToolHost) -> dict[str, Tool]:
    """The tools of a server, by name: those whose backend is there, and only reading ones where that was asked for."""
    health = await host.engine.sandbox.health()
    options = host.options
    tools = [tool for tool in TOOLS if tool is not RUN_CODE or options.profile == "open" or not health["python"]]
    functions = tuple(sorted(options.functions))
    if functions:
        tools.append(start_tool(functions))
    if any(missing == "" for missing in health.values()):
        tools.append(EXECUTE_AGENT_CODE)
    return {tool.name: tool for tool in tools if tool.reads or not options.read_only}
