"""The MCP server: what a client asks, checked, done within its time, and answered with a typed error at worst."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from durable.core.errors import DurableError
from durable.core.events import BackgroundFailed
from durable.core.limits import MCP_ANSWER_S, MCP_GRACE_S, MCP_TASK_AFTER_S, MCP_WAIT_S_MAX
from durable.engine.engine import Engine
from durable.mcp.clients import current_scope
from durable.mcp.elicitation import Elicitations, ToolCall
from durable.mcp.execution_report import execution_result, refused
from durable.mcp.resource_table import ResourceTable
from durable.mcp.task_extension import Tasks, task_of
from durable.mcp.tool_host import McpOptions, ToolHost, ToolStanding
from durable.mcp.tool_table import Tool, offered_tools

NAME = "durable-exec"

INSTRUCTIONS = """A durable code interpreter.
`run_code` runs code in a session whose variables stay, across calls, crashes and restarts.
No call takes longer than a minute: what runs longer goes on, and `wait` with its execution id goes on waiting.
Give `run_code` and `start` an `id` when the same call may be sent twice: it then runs once.
When an execution waits for a question, `inbox` shows it; `answer` answers it where that is not left to a person."""

type Outcome = types.CallToolResult | types.InputRequiredResult | dict[str, Any]


class McpHandlers:
    """Handlers of the requests of clients, over one engine."""

    def __init__(self, host: ToolHost, tools: dict[str, Tool]) -> None:
        self._host = host
        self._tools = tools
        self._elicitations = Elicitations()

    async def list_tools(
        self, _: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """The tools, in an order that stays."""
        return types.ListToolsResult(tools=[tool.listed for tool in self._tools.values()])

    def schema(self, name: str) -> dict[str, Any] | None:
        """The schema of a tool's arguments."""
        return None if (tool := self._tools.get(name)) is None else tool.schema

    async def call_tool(self, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams) -> Outcome:
        """Call a tool. What is wrong with the call, and what goes wrong in it, is its result; an unknown tool is an
        error of the protocol."""
        tool = self._tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:200]!r}")
        call = ToolCall(self._host, current_scope(), context, params)
        try:
            async with self._host.counted(tool.name) as use:
                outcome = await self._within(tool, call)
                use.errors += isinstance(outcome, types.CallToolResult) and bool(outcome.is_error)
                return outcome
        except DurableError as error:
            return refused(error)

    async def _within(self, tool: Tool, call: ToolCall) -> Outcome:
        try:
            args = tool.arguments.model_validate(call.params.arguments or {})
        except ValidationError as error:
            return refused(None, "BAD_ARGUMENTS", _faults(error))
        try:
            async with asyncio.timeout(min(getattr(args, "wait_s", 0.0), MCP_WAIT_S_MAX) + MCP_GRACE_S) as scope:
                return await self._run(tool, call, args)
        except DurableError as error:
            return refused(error)
        except TimeoutError:
            if not scope.expired():
                raise
            return refused(None, "BUSY", "the engine is too busy; what was begun goes on, and the call can be repeated")
        except MCPError:
            raise
        except Exception as error:
            self._host.engine.observe(BackgroundFailed(f"the MCP tool {tool.name}", repr(error)))
            return refused(None, "INTERNAL", "an error of the server itself; nothing recorded is lost")

    async def _run(self, tool: Tool, call: ToolCall, args: Any) -> Outcome:
        asked = call.repeated()
        if asked is not None:
            await call.take_answers(asked)
            return await self._follow(call, asked.execution, args.wait_s)
        found = await tool.run(call, args)
        return found if isinstance(found, types.CallToolResult) else await self._follow(call, found, args.wait_s)

    async def _follow(self, call: ToolCall, execution_id: str, wait_s: float) -> Outcome:
        """Wait for an execution, asking the person behind the client what it asks."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (min(wait_s, MCP_TASK_AFTER_S) if call.claims_tasks else wait_s)
        while True:
            ignored = frozenset[str]() if call.modern else self._elicitations.open()
            standing = await self._host.standing(execution_id, max(deadline - loop.time(), 0), ignored)
            if standing.prompts and not standing.ended and not call.claims_tasks:
                asking = call.input_required(standing.prompts, execution_id)
                if asking is not None:
                    return asking
                if not call.modern and self._elicitations.begin(call, standing.prompts) and loop.time() < deadline:
                    continue
            return await self._answered(call, standing)

    async def _answered(self, call: ToolCall, standing: ToolStanding) -> Outcome:
        if call.claims_tasks and not standing.ended and not standing.halt:
            return {"resultType": "task", **task_of(standing)}
        return await execution_result(self._host, call.scope, standing)

    async def close(self) -> None:
        """Take no more answers."""
        await self._elicitations.close()


def _faults(error: ValidationError) -> str:
    """The faults of arguments, without what was given: that may be long, or not ours to repeat."""
    faults = [f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}"[:300] for each in error.errors()[:10]]
    return "; ".join(faults)


@asynccontextmanager
async def mcp_server(engine: Engine, options: McpOptions | None = None) -> AsyncIterator[Server[Any]]:
    """The server over an open engine, to be run on a transport of the `mcp` package."""
    host = ToolHost(engine, options or McpOptions())
    handlers = McpHandlers(host, await offered_tools(host))
    resources = ResourceTable(host)
    server: Server[Any] = Server(
        NAME,
        version=version(NAME),
        title="durable-exec",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=handlers.schema,
        on_list_tools=handlers.list_tools,
        on_list_resources=resources.listing,
        on_list_resource_templates=resources.templates,
        on_read_resource=resources.read,
    )
    server.add_request_handler("tools/call", types.CallToolRequestParams, handlers.call_tool)
    security = RequestStateSecurity(keys=[_state_key(engine)], ttl=MCP_ANSWER_S)
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))
    Tasks(host).add_to(server)
    try:
        yield server
    finally:
        await handlers.close()


def _state_key(engine: Engine) -> bytes:
    """The key that seals what clients hold, the same after a restart."""
    return hmac.new(engine.store.key, b"durable-exec mcp request state", hashlib.sha256).digest()
