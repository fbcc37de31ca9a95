"""The tools on executions: started, waited for, read, stopped, continued; and how the engine stands."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import mcp_types as types

from durable.core.errors import BadArguments, NotFound
from durable.core.limits import MCP_GRACE_S
from durable.engine.views import execution_view, needed_by
from durable.mcp import tool_arguments, tool_results
from durable.mcp.elicitation import ToolCall
from durable.mcp.execution_report import clipped, plain_result
from durable.records.displays import shown
from durable.store.output_reader import PAGE
from durable.store.rows import ExecutionRow, OutputRow


async def start(call: ToolCall, args: tool_arguments.StartFunction) -> str:
    """Start a durable function; the execution's id."""
    functions = call.host.options.functions
    function = functions.get(args.function)
    if function is None:
        raise NotFound("function", args.function, f"there are: {', '.join(sorted(functions))}")
    given, named = (args.args, {}) if isinstance(args.args, list) else ([], args.args)
    if any(name in ("id", "timeout") for name in named):
        raise BadArguments("arguments named id or timeout are given in order, as a list")
    execution_id = None if args.id is None else f"{call.scope.prefix}{args.id}"
    if execution_id is None and call.scope.prefix:
        from durable.core.ids import mint_execution_id

        execution_id = f"{call.scope.prefix}{mint_execution_id()}"
    return (await call.host.engine.start(function, *given, id=execution_id, **named)).id


async def wait(call: ToolCall, args: tool_arguments.WaitFor) -> str:
    """The execution to wait for."""
    return (await call.host.row(call.scope, args.execution)).id


async def output(call: ToolCall, args: tool_arguments.ReadOutput) -> types.CallToolResult:
    """A page of what an execution printed."""
    row = await call.host.row(call.scope, args.execution)
    reads = call.host.engine.store.reads
    chunks = await reads.output(row.id, args.offset, limit=PAGE)
    pieces, offset, left = [], args.offset, args.limit
    for chunk in chunks:
        piece, offset, left = _piece(chunk, offset, left)
        if piece is not None:
            pieces.append(piece)
        if left <= 0:
            break
    more = len(chunks) >= PAGE or (bool(chunks) and offset < chunks[-1].end)
    report = tool_results.OutputReport(
        execution=row.id, pieces=pieces, next_offset=offset, more=more, done=row.settled_at is not None
    )
    words = "".join(each.text for each in pieces)
    note = f"\n[more from offset {offset}]" if more else ""
    return plain_result(report, f"{words}{note}" or "[no output]")


def _piece(chunk: OutputRow, offset: int, left: int) -> tuple[tool_results.PrintedPiece | None, int, int]:
    """The shown part of a stretch that begins at `offset` or before it, where to go on, and how much room is left."""
    if chunk.stream not in ("stdout", "stderr", "display"):
        return None, chunk.end, left
    if chunk.dropped:
        return (
            tool_results.PrintedPiece(stream="stdout", text=f"[{chunk.dropped} characters were not kept]\n"),
            chunk.end,
            left,
        )
    if chunk.stream == "display" or len(chunk.text) != chunk.chars:
        text = clipped(shown(chunk.stream, chunk.text), left)
        stream = "display" if chunk.stream == "display" else chunk.stream
        return tool_results.PrintedPiece(stream=stream, text=text), chunk.end, left - len(text)
    begin = max(offset - chunk.offset, 0)
    text = chunk.text[begin : begin + left]
    return tool_results.PrintedPiece(stream=chunk.stream, text=text), chunk.offset + begin + len(text), left - len(text)


async def interrupt(call: ToolCall, args: tool_arguments.OneExecution) -> types.CallToolResult:
    """Stop an execution so that `resume` goes on with it."""
    row = await call.host.row(call.scope, args.execution)
    return await _acknowledged(call, row, await call.host.engine.interrupt(row.id))


async def resume(call: ToolCall, args: tool_arguments.OneExecution) -> types.CallToolResult:
    """Go on with an execution that was interrupted."""
    row = await call.host.row(call.scope, args.execution)
    return await _acknowledged(call, row, await call.host.engine.resume(row.id))


async def cancel(call: ToolCall, args: tool_arguments.CancelExecution) -> types.CallToolResult:
    """End an execution for good. What cleans up for longer than a call may take goes on doing so."""
    row = await call.host.row(call.scope, args.execution)
    cancelling = asyncio.ensure_future(call.host.engine.cancel(row.id, args.reason))
    await asyncio.wait({cancelling}, timeout=MCP_GRACE_S)
    return await _acknowledged(call, row, cancelling.result() if cancelling.done() else True)


async def _acknowledged(call: ToolCall, row: ExecutionRow, done: bool) -> types.CallToolResult:
    state = (await call.host.row(call.scope, row.id)).state
    words = f"{row.id} is {state}" if done else f"nothing to do: {row.id} is {state}"
    return plain_result(tool_results.Acknowledged(execution=row.id, done=done, state=state), words)


async def engine_interrupt(call: ToolCall, args: tool_arguments.OneExecutionId) -> types.CallToolResult:
    """`interrupt`, under the name that other engines have for it."""
    return await interrupt(call, tool_arguments.OneExecution(execution=args.execution_id))


async def engine_resume(call: ToolCall, args: tool_arguments.OneExecutionId) -> types.CallToolResult:
    """`resume`, under the name that other engines have for it."""
    return await resume(call, tool_arguments.OneExecution(execution=args.execution_id))


async def status(call: ToolCall, args: tool_arguments.OneExecution) -> types.CallToolResult:
    """The facts of an execution."""
    return plain_result(await _status(call, args.execution))


async def _status(call: ToolCall, execution: str) -> tool_results.ExecutionStatus:
    row = await call.host.row(call.scope, execution)
    needed = (await needed_by(call.host.engine.store.reads, [row])).get(row.session or "", {})
    waits_for = await call.host.engine.blocking_prompts(row.id) or []
    view = asdict(execution_view(row, await call.host.served(), waits_for, needed=needed))
    view |= {"execution": row.id, "seconds": view["duration"], "session": call.scope.shown(row.session)}
    return tool_results.ExecutionStatus.model_validate(
        {name: view[name] for name in tool_results.ExecutionStatus.model_fields}
    )


async def engine_status(call: ToolCall, args: tool_arguments.MaybeExecutionId) -> types.CallToolResult:
    """The facts of an execution, or of the engine."""
    host = call.host
    if args.execution_id is not None:
        return plain_result(tool_results.EngineStatus(execution=await _status(call, args.execution_id)))
    reads = host.engine.store.reads
    counted = {
        state: sum(call.scope.has(row.id) for row in await reads.list_executions(state=state, limit=1_000, whole=False))
        for state in ("running", "waiting")
    }
    tools = [
        tool_results.ToolUse(
            tool=name, calls=use.calls, errors=use.errors, average_ms=round(use.total_ms / use.calls, 3)
        )
        for name, use in sorted(host.use.items())
        if use.calls
    ]
    sandboxes = {
        name: f"{found.count} runs, {found.success_rate:.0%} succeeded, {found.average_ms:.1f} ms on average"
        for name, found in host.engine.sandbox.statistics.items()
    }
    return plain_result(
        tool_results.EngineStatus(
            running=counted["running"], waiting=counted["waiting"], sandboxes=sandboxes, tools=tools
        )
    )
