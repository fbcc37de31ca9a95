"""The parts that integrations of agent frameworks share: options of steps, approvals of calls, code in sessions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from durable.core.agent_tool import agent_tool
from durable.core.errors import BadArguments, Denied, ExecutionError, ExecutionTimedOut
from durable.core.limits import PROMPT_CHARS_MAX
from durable.functions.context import Context
from durable.functions.definition import Retry


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The options of a step: its retries, and its time limit in seconds or as timedelta."""

    retry: Retry | None = None
    timeout: float | timedelta | None = None


@dataclass(frozen=True, slots=True)
class ApprovalOptions:
    """The people who approve calls of tools, all of the inbox by default, and how long they may take, for ever by
    default. When the time is over, a call is denied."""

    to: str | Sequence[str] = ()
    timeout: timedelta | None = None

    def options(self) -> dict[str, Any]:
        """As `ctx.ask` and `ctx.approve` take them."""
        found: dict[str, Any] = {} if self.timeout is None else {"timeout": self.timeout}
        if self.to:
            found["to"] = [self.to] if isinstance(self.to, str) else list(self.to)
        return found

    async def denial(self, ctx: Context, tool: str, arguments: str, details: Any) -> str | None:
        """Ask whether a tool may be called with arguments, JSON as text; None when it may, else why not."""
        try:
            await ctx.approve(question_of(tool, arguments), details=details, **self.options())
        except (Denied, TimeoutError) as error:
            return str(error)
        return None


def question_of(tool: str, arguments: str) -> str:
    """The question whether a tool may be called."""
    return f"{tool}({arguments})"[:PROMPT_CHARS_MAX]


def recordable(value: Any) -> Any:
    """A value as JSON, with `?` for halves of surrogate pairs, and "NaN" and the like as text. TypeError for others."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(to_jsonable_python(value, inf_nan_mode="strings"), ensure_ascii=False)
    return json.loads(text.encode("utf-8", "replace"))


def failure_text(error: ExecutionError) -> str:
    """The failure of code as a model is told it: its traceback, and that it was stopped where it was."""
    if error.traceback and not isinstance(error, ExecutionTimedOut):
        return error.traceback
    return f"{error}\n{error.traceback}".strip()


async def session_code(ctx: Context, code: str, session: str, tool: str, call: str) -> dict[str, Any]:
    """Run code in a session: what it printed, its value and its error, each where there is one. call: its id."""
    with agent_tool(tool, call):
        running = ctx.execute(code, session=session, check=False)
    result = await running
    found: dict[str, Any] = {"stdout": result.stdout, "stderr": result.stderr, "value": result.repr}
    if result.error is not None:
        found["error"] = failure_text(result.error)
    return {key: value for key, value in found.items() if value}


def tool_options(given: Any, usual: StepOptions, tool: str) -> StepOptions | Literal[False]:
    """The options of a tool's step by what it says itself: a Retry, StepOptions, or False for no step. BadArguments."""
    if given is False or isinstance(given, StepOptions):
        return given
    if isinstance(given, Retry):
        return replace(usual, retry=given)
    raise BadArguments(f"the options of the tool {tool!r} are a Retry, StepOptions or False, not {given!r}")
