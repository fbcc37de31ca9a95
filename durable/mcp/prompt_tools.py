"""The tools on questions: which wait, and answering those that an agent may answer."""

from __future__ import annotations

import mcp_types as types

from durable.core.errors import NotAsked
from durable.core.limits import MCP_ITEMS_MAX
from durable.mcp import tool_arguments, tool_results
from durable.mcp.elicitation import VIA, ToolCall
from durable.mcp.execution_report import plain_result


async def inbox(call: ToolCall, _: tool_arguments.NoArguments) -> types.CallToolResult:
    """The questions that wait, oldest first."""
    found = [each for each in await call.host.engine.prompts() if call.scope.has(each.execution)]
    questions = [call.host.question(each) for each in found[:MCP_ITEMS_MAX]]
    words = "\n".join(f"{each.prompt}: {each.question}" for each in questions) or "[no questions wait]"
    return plain_result(tool_results.QuestionList(questions=questions, truncated=len(found) > len(questions)), words)


async def answer(call: ToolCall, args: tool_arguments.GiveAnswer) -> types.CallToolResult:
    """Answer a question. NotAsked for those that only a person may answer."""
    prompt = await call.host.open_prompt(call.scope, args.prompt)
    if prompt is not None and call.host.for_people(prompt):
        who = ", ".join(prompt.prompt.to) or "a person"
        raise NotAsked(args.prompt, "an agent", [who])
    settled = await call.host.engine.answer(
        args.prompt, args.value, decline=args.decline, why=args.why, by=call.scope.name or None, via=VIA
    )
    words = "recorded" if settled else "recorded; others have to answer too"
    return plain_result(tool_results.Answered(prompt=args.prompt, settled=settled), words)
