"""An execution as the result of a tool: structured, in words, with its pictures, and bounded."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types
from pydantic import BaseModel

from durable.core.errors import DurableError, ExecutionError
from durable.core.limits import MCP_IMAGE_CHARS_MAX, MCP_IMAGES_MAX, MCP_OUTPUT_CHARS_MAX
from durable.executions.states import PROMISE_OF
from durable.functions.failures import rebuild
from durable.mcp.clients import ClientScope
from durable.mcp.tool_host import ToolHost, ToolStanding
from durable.mcp.tool_results import CodeError, ExecutionReport
from durable.records.displays import Display
from durable.records.result import Result

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


async def execution_result(host: ToolHost, scope: ClientScope, standing: ToolStanding) -> types.CallToolResult:
    """The result of a tool that ran or waited for an execution; `isError` where its code failed."""
    row = standing.row
    report = ExecutionReport(
        execution=row.id, session=scope.shown(row.session), state=row.state, done=standing.ended, note=standing.halt
    )
    displays: tuple[Display, ...] = ()
    if standing.ended and row.session is not None:
        result = await host.session_of(row).result(row.id)
        displays = result.displays
        _tell_cell(report, result)
    elif standing.ended:
        _tell_function(report, row.state, row.value)
    report.questions = [host.question(each) for each in standing.prompts]
    texts, images = _texts(displays), _images(displays)
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=in_words(report, texts))]
    return types.CallToolResult(
        content=[*content, *images],
        structured_content=report.model_dump(mode="json"),
        is_error=standing.ended and report.error is not None,
    )


def plain_result(report: BaseModel, words: str = "", *, is_error: bool = False) -> types.CallToolResult:
    """A structured result, in words too: clients that know no structured results read those."""
    found = report.model_dump(mode="json")
    text = words or json.dumps(found, ensure_ascii=False, indent=1)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=found, is_error=is_error
    )


ERROR_META = "io.github.durable-exec/error"
"""Where a refused call says its code, for programs; the text has it too, for models."""


def refused(error: DurableError | None, code: str = "", message: str = "") -> types.CallToolResult:
    """A call that was not done, and why."""
    code, message = (error.code, str(error)) if error is not None else (code, message)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=f"{code}: {clipped(message, MCP_OUTPUT_CHARS_MAX)}")],
        is_error=True,
        _meta={ERROR_META: {"code": code, "message": clipped(message, 2_000)}},
    )


def clipped(text: str, chars: int) -> str:
    """A text cut in the middle where it is longer."""
    if len(text) <= chars:
        return text
    head, tail = chars * 2 // 3, chars - chars * 2 // 3
    return f"{text[:head]}\n… {len(text) - head - tail} characters left out …\n{text[-tail:]}"


def bounded_value(value: Any) -> tuple[Any, bool]:
    """A value that is small enough to be sent, and whether it is not."""
    return (None, True) if len(json.dumps(value, ensure_ascii=False)) > MCP_OUTPUT_CHARS_MAX else (value, False)


def _tell_cell(report: ExecutionReport, result: Result) -> None:
    report.value, cut = bounded_value(result.value)
    stdout, stderr = clipped(result.stdout, MCP_OUTPUT_CHARS_MAX), clipped(result.stderr, MCP_OUTPUT_CHARS_MAX // 3)
    report.truncated = cut or result.dropped > 0 or stdout != result.stdout or stderr != result.stderr
    report.stdout, report.stderr, report.repr = stdout, stderr, result.repr
    report.seconds = round(result.execution_time, 3)
    if result.error is not None:
        report.error = told(result.error)
    if result.not_saved:
        report.note = f"what it left could not be saved: {result.not_saved}"


def _tell_function(report: ExecutionReport, state: str, value: Any) -> None:
    if state in PROMISE_OF:
        report.error = told(rebuild(PROMISE_OF[state], value, report.execution))
        return
    report.value, report.truncated = bounded_value(value)
    report.repr = clipped(json.dumps(value, ensure_ascii=False), 1_000)


def told(error: ExecutionError) -> CodeError:
    """The error of user code, as its author would see it."""
    return CodeError(
        type=error.exception_type or type(error).__name__,
        message=clipped(error.exception_message or str(error), 4_000),
        traceback=clipped(error.traceback, 8_000),
    )


def in_words(report: ExecutionReport, displays: list[str]) -> str:
    """The report for a model: what was printed, the value, the error, what waits, what to do next."""
    parts = [report.stdout, *displays]
    if report.stderr:
        parts.append(f"[stderr]\n{report.stderr}")
    if report.error is not None:
        parts.append(report.error.traceback or f"{report.error.type}: {report.error.message}")
    elif report.repr:
        parts.append(report.repr)
    parts += [_question_in_words(each.model_dump()) for each in report.questions]
    if report.truncated:
        parts.append(f"[text was left out; output(execution={report.execution!r}) reads all of it]")
    if report.note:
        parts.append(f"[{report.note}]")
    if not report.done:
        parts.append(f"[{report.execution} is {report.state}; {_next(report)}]")
    return clipped("\n".join(part.rstrip("\n") for part in parts if part), 2 * MCP_OUTPUT_CHARS_MAX) or "[no output]"


def _next(report: ExecutionReport) -> str:
    if report.state == "interrupted":
        return f"resume(execution={report.execution!r}) goes on with it"
    return f"call wait(execution={report.execution!r})" + (" once it is answered" if report.questions else "")


def _question_in_words(question: dict[str, Any]) -> str:
    lines = [f"[a question waits: {question['prompt']}]", question["question"]]
    if question["context"]:
        lines.append(clipped(question["context"], 2_000))
    if question["choices"]:
        lines.append("choices: " + clipped(", ".join(map(str, question["choices"])), 2_000))
    if question["for_people"]:
        lines.append(f"[only a person can answer it: `{question['command']}`]")
    else:
        where = f", or a person at {question['link']}" if question["link"] else ""
        lines.append(f"[answer(prompt={question['prompt']!r}, value=…) answers it{where}]")
    return "\n".join(lines)


def _texts(displays: tuple[Display, ...]) -> list[str]:
    return [clipped(display.text, 4_000) for display in displays if display.text and not _image(display)]


def _images(displays: tuple[Display, ...]) -> list[types.ContentBlock]:
    found = [image for image in map(_image, displays) if image is not None]
    return list(found[:MCP_IMAGES_MAX])


def _image(display: Display) -> types.ImageContent | None:
    for kind in _IMAGES:
        data = display.data.get(kind)
        if isinstance(data, str) and len(data) <= MCP_IMAGE_CHARS_MAX:
            return types.ImageContent(type="image", data=data.replace("\n", ""), mime_type=kind)
    return None
