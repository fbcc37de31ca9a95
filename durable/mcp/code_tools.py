"""The tools that run code in sessions, and those on sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import mcp_types as types

from capabilities.sandbox.errors import CapabilityDenied, CpuLimitExceeded, SandboxError
from durable.core.agent_tool import agent_tool
from durable.core.errors import BadArguments, Busy, DurableError, ExecutionError
from durable.core.limits import MCP_ITEMS_MAX, MCP_OUTPUT_CHARS_MAX
from durable.engine.views import session_view
from durable.mcp import tool_arguments, tool_results
from durable.mcp.elicitation import ToolCall
from durable.mcp.execution_report import bounded_value, clipped, plain_result, told
from durable.sessions.language import language_of

_CONTEXT = ("task", "input", "env", "metadata")


async def run_code(call: ToolCall, args: tool_arguments.RunCode) -> str:
    """Run code in a session; the execution's id."""
    session = await call.host.session(call.scope, args.session, args.language)
    with agent_tool("run_code"):
        return (await session.submit(args.code, id=args.id)).id


async def session_list(call: ToolCall, _: tool_arguments.NoArguments) -> types.CallToolResult:
    """The sessions that this client may name."""
    served, entries = await call.host.served(), []
    for row in await call.host.engine.store.reads.sessions():
        if row.closed or row.run or not call.scope.has(row.name):
            continue
        view = session_view(row, served)
        entries.append(
            tool_results.SessionEntry(
                session=call.scope.shown(row.name) or "",
                state=view.state,
                executions=view.executions,
                language=language_of(row.options),
                profile=str(row.options.get("profile") or "open"),
                created_at=view.created_at,
            )
        )
    return plain_result(tool_results.SessionList(sessions=entries[-MCP_ITEMS_MAX:]))


async def session_variables(call: ToolCall, args: tool_arguments.OneSession) -> types.CallToolResult:
    """The variables of a session, by name."""
    session = await call.host.existing(call.scope, args.session)
    async with _within(args.wait_s, args.session):
        found = await session.variables()
    entries = [
        tool_results.VariableEntry(name=each.name, type=each.type, repr=clipped(each.repr, 300), size=each.size)
        for each in found[:MCP_ITEMS_MAX]
    ]
    listed = tool_results.VariableList(session=args.session, variables=entries, truncated=len(found) > len(entries))
    words = "\n".join(f"{each.name}: {each.type} = {each.repr}" for each in entries) or "[no variables]"
    return plain_result(listed, words)


async def checkpoint(call: ToolCall, args: tool_arguments.MakeCheckpoint) -> types.CallToolResult:
    """Save the session's variables."""
    session = await call.host.existing(call.scope, args.session)
    async with _within(args.wait_s, args.session):
        number = await session.checkpoint(args.label)
    return plain_result(tool_results.CheckpointReport(session=args.session, checkpoint=number, label=args.label))


async def restore(call: ToolCall, args: tool_arguments.RestoreCheckpoint) -> types.CallToolResult:
    """Bring back the variables of a checkpoint."""
    session = await call.host.existing(call.scope, args.session)
    async with _within(args.wait_s, args.session):
        report = await session.restore(args.checkpoint, clear_existing=args.clear_existing)
    return plain_result(
        tool_results.RestoreResult(
            session=args.session,
            restored=list(report.restored),
            rebuilt=[f"{name}: {how}" for name, how in report.rebuilt],
            lost=[f"{each.name}: {each.reason}" for each in report.lost],
        )
    )


async def fork(call: ToolCall, args: tool_arguments.ForkSession) -> types.CallToolResult:
    """A new session with the variables of another."""
    session = await call.host.existing(call.scope, args.session)
    async with _within(args.wait_s, args.session):
        await session.fork(call.scope.session(args.name), checkpoint=args.checkpoint)
    return plain_result(tool_results.ForkReport(session=args.name, of=args.session))


@asynccontextmanager
async def _within(wait_s: float, session: str) -> AsyncIterator[None]:
    """Code that waits for the session's turn waits so long, and is not done later. Busy."""
    try:
        async with asyncio.timeout(wait_s) as scope:
            yield
    except TimeoutError:
        if not scope.expired():
            raise
        raise Busy(
            f"session {session!r} was busy for {wait_s:g} s; wait for what runs there, or interrupt it"
        ) from None


async def execute_agent_code(call: ToolCall, args: tool_arguments.AgentCode) -> types.CallToolResult:
    """Run code once, alone, in a sandbox."""
    sandbox = call.host.engine.sandbox
    unknown = set(args.context) - set(_CONTEXT)
    if unknown:
        raise BadArguments(f"context has {', '.join(_CONTEXT)}, not {', '.join(sorted(unknown))[:200]}")
    try:
        async with _within(args.wait_s, "sandbox"):
            ran = await sandbox.run(args.code, language=args.language, inputs=args.context)
    except (SandboxError, ExecutionError) as error:
        return plain_result(_failed(error), is_error=True)
    value, cut = bounded_value(ran.value)
    stdout, stderr = clipped(ran.stdout, MCP_OUTPUT_CHARS_MAX), clipped(ran.stderr, MCP_OUTPUT_CHARS_MAX // 3)
    report = tool_results.AgentCodeReport(
        status="success",
        output=value,
        stdout=stdout,
        stderr=stderr,
        execution_time_ms=round(ran.elapsed_ms, 3),
        backend=ran.backend,
        truncated=cut or stdout != ran.stdout or stderr != ran.stderr,
    )
    return plain_result(report)


def _failed(error: DurableError) -> tool_results.AgentCodeReport:
    stdout, stderr = error.printed
    report = tool_results.AgentCodeReport(
        status="error",
        stdout=clipped(stdout, MCP_OUTPUT_CHARS_MAX),
        stderr=clipped(stderr, MCP_OUTPUT_CHARS_MAX // 3),
        message=clipped(str(error), 4_000),
        error_type=error.code,
    )
    if isinstance(error, CpuLimitExceeded):
        report.status, report.execution_time_ms = "timeout", float(error.elapsed_ms or 0)
    elif isinstance(error, CapabilityDenied):
        report.status = "security_violation"
    elif isinstance(error, ExecutionError):
        found = told(error)
        report.error_type, report.message = found.type, found.traceback or found.message
    return report
