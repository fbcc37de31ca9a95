"""The tasks extension: an execution as a task, under its own id, so that tasks survive the server (specs/mcp.md, T)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from durable.core.clock import now_ms
from durable.core.errors import DurableError, InvalidAnswer
from durable.core.limits import ID_CHARS_MAX, MCP_GRACE_S, MCP_TASK_POLL_MS
from durable.engine.views import iso
from durable.mcp.clients import current_scope
from durable.mcp.elicitation import TASKS, ToolCall, record
from durable.mcp.execution_report import execution_result
from durable.mcp.tool_host import ToolHost, ToolStanding


class TaskParams(RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str = Field(max_length=ID_CHARS_MAX)


class TaskUpdateParams(TaskParams):
    """The parameters of `tasks/update`."""

    input_responses: dict[str, types.ElicitResult]


def task_of(standing: ToolStanding) -> dict[str, Any]:
    """The fields that every state of a task has."""
    row = standing.row
    return {
        "taskId": row.id,
        "status": status_of(standing),
        "createdAt": iso(row.created_at),
        "lastUpdatedAt": iso(row.settled_at or now_ms()),
        "ttlMs": None,
        "pollIntervalMs": MCP_TASK_POLL_MS,
    } | ({"statusMessage": standing.halt[:1_000]} if standing.halt else {})


def status_of(standing: ToolStanding) -> str:
    """The state of a task: code that failed has completed, with a result that says so."""
    if not standing.ended:
        return "input_required" if standing.prompts else "working"
    return "cancelled" if standing.row.state == "cancelled" else "completed"


class Tasks:
    """Answers `tasks/get`, `tasks/update` and `tasks/cancel`."""

    def __init__(self, host: ToolHost) -> None:
        self._host = host

    def add_to(self, server: Server[Any]) -> None:
        """Serve the methods, and say so."""
        server.extensions[TASKS] = {}
        for method, params, handler in (
            ("tasks/get", TaskParams, self.get),
            ("tasks/update", TaskUpdateParams, self.update),
            ("tasks/cancel", TaskParams, self.cancel),
        ):
            server.add_request_handler(method, params, _claimed(method, handler))

    async def get(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        """How the task stands, with its result or its questions."""
        standing = await self._standing(params.task_id)
        found = {"resultType": "complete", **task_of(standing)}
        match found["status"]:
            case "completed":
                result = await execution_result(self._host, current_scope(), standing)
                found["result"] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
            case "input_required":
                asking = types.CallToolRequestParams(name="tasks/get")
                call = ToolCall(self._host, current_scope(), context, asking)
                forms = {each.id: call.form(each) for each in standing.prompts}
                found["inputRequests"] = {
                    prompt: form.model_dump(by_alias=True, mode="json", exclude_none=True)
                    for prompt, form in forms.items()
                    if form is not None
                }
                if not found["inputRequests"]:  # a person answers elsewhere
                    del found["inputRequests"]
                    found |= {"status": "working", "statusMessage": "it waits for a person: see `inbox`"}
        return found

    async def update(self, _: ServerRequestContext[Any, Any], params: TaskUpdateParams) -> dict[str, Any]:
        """Take answers to its questions. Those that are answered already are passed over."""
        standing = await self._standing(params.task_id)
        for prompt in standing.prompts:
            response = params.input_responses.get(prompt.id)
            if response is None:
                continue
            try:
                await record(self._host, prompt, response)
            except InvalidAnswer as error:
                raise MCPError(types.INVALID_PARAMS, str(error)[:2_000]) from None
        return {"resultType": "complete"}

    async def cancel(self, _: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        """End it. One that has ended stays as it is."""
        standing = await self._standing(params.task_id)
        if not standing.ended:
            cancelling = asyncio.ensure_future(self._host.engine.cancel(standing.row.id, "cancelled by its client"))
            await asyncio.wait({cancelling}, timeout=MCP_GRACE_S)
            if cancelling.done():
                cancelling.result()
        return {"resultType": "complete"}

    async def _standing(self, task_id: str) -> ToolStanding:
        row = await self._host.row(current_scope(), task_id)
        return await self._host.standing(row.id, 0)


def _claimed(
    method: str, handler: Callable[[ServerRequestContext[Any, Any], Any], Awaitable[dict[str, Any]]]
) -> Callable[[ServerRequestContext[Any, Any], Any], Awaitable[dict[str, Any]]]:
    """Only for clients that claim the extension; an unknown task is an error of the parameters."""

    async def handle(context: ServerRequestContext[Any, Any], params: Any) -> dict[str, Any]:
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)
        require_client_extension(context, TASKS)
        try:
            return await handler(context, params)
        except DurableError as error:
            raise MCPError(types.INVALID_PARAMS, f"{error.code}: {error}"[:2_000]) from None

    return handle
