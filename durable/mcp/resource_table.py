"""The resources: executions and the variables of sessions, by address."""

from __future__ import annotations

import json
import re
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from durable.core.errors import DurableError
from durable.core.limits import MCP_ITEMS_MAX, MCP_WAIT_S
from durable.mcp import code_tools
from durable.mcp.clients import current_scope
from durable.mcp.elicitation import ToolCall
from durable.mcp.execution_report import execution_result
from durable.mcp.tool_arguments import OneSession
from durable.mcp.tool_host import ToolHost

_EXECUTION = re.compile(r"durable://execution/([A-Za-z0-9_@.-]{1,400})\Z")
_VARIABLES = re.compile(r"durable://session/([A-Za-z0-9_-]{1,90})/variables\Z")

TEMPLATES = [
    types.ResourceTemplate(
        uri_template="durable://execution/{id}",
        name="execution",
        description="How an execution stands: its value, what it printed, its error, the questions that it waits for.",
        mime_type="application/json",
    ),
    types.ResourceTemplate(
        uri_template="durable://session/{name}/variables",
        name="variables",
        description="The variables of a session.",
        mime_type="application/json",
    ),
]


class ResourceTable:
    """Reads what the addresses name."""

    def __init__(self, host: ToolHost) -> None:
        self._host = host

    async def templates(
        self, _: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The forms of address."""
        return types.ListResourceTemplatesResult(resource_templates=self._templates())

    def _templates(self) -> list[types.ResourceTemplate]:
        return TEMPLATES[:1] if self._host.options.read_only else TEMPLATES

    async def listing(
        self, _: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The newest executions, and the sessions."""
        scope, reads = current_scope(), self._host.engine.store.reads
        found = [
            types.Resource(uri=f"durable://execution/{row.id}", name=row.id, mime_type="application/json")
            for row in await reads.list_executions(limit=MCP_ITEMS_MAX)
            if scope.has(row.id)
        ]
        if not self._host.options.read_only:
            sessions = [row for row in await reads.sessions() if not row.closed and not row.run and scope.has(row.name)]
            found += [
                types.Resource(
                    uri=f"durable://session/{scope.shown(row.name)}/variables",
                    name=f"variables of {scope.shown(row.name)}",
                    mime_type="application/json",
                )
                for row in sessions[-MCP_ITEMS_MAX:]
            ]
        return types.ListResourcesResult(resources=found)

    async def read(
        self, context: ServerRequestContext[Any, Any], params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """One of them. What is not there, or another client's, is an error of the protocol."""
        uri = str(params.uri)
        try:
            found = await self._found(context, uri)
        except DurableError as error:
            raise MCPError(types.INVALID_PARAMS, f"Resource not found: {error}"[:2_000], {"uri": uri[:500]}) from None
        text = json.dumps(found.structured_content, ensure_ascii=False, indent=1)
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=params.uri, text=text, mime_type="application/json")]
        )

    async def _found(self, context: ServerRequestContext[Any, Any], uri: str) -> types.CallToolResult:
        host, scope = self._host, current_scope()
        if (match := _EXECUTION.match(uri)) is not None:
            row = await host.row(scope, match[1])
            return await execution_result(host, scope, await host.standing(row.id, 0))
        if (match := _VARIABLES.match(uri)) is not None and not host.options.read_only:
            params = types.CallToolRequestParams(name="session_variables")
            call = ToolCall(host, scope, context, params)
            return await code_tools.session_variables(call, OneSession(session=match[1], wait_s=MCP_WAIT_S))
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri[:500]})
