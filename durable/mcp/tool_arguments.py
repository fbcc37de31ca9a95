"""The arguments of the tools: typed, bounded, and nothing beside them. Their JSON Schemas are what clients see."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from durable.core.limits import (
    ID_CHARS_MAX,
    MCP_CODE_CHARS_MAX,
    MCP_OUTPUT_CHARS_MAX,
    MCP_SANDBOX_CODE_CHARS_MAX,
    MCP_WAIT_S,
    MCP_WAIT_S_MAX,
    WHY_CHARS_MAX,
)

type Wait = Annotated[
    float,
    Field(
        ge=0,
        le=MCP_WAIT_S_MAX,
        description="Seconds to wait for the end; then a handle is returned, and `wait` goes on waiting.",
    ),
]
type ExecutionName = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX, description="An execution's id.")]
type SessionName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{1,90}$", description="A session's name: letters, digits, '_' or '-'.")
]
type PromptName = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX, description="A question's id.")]
type CheckpointName = Annotated[
    Annotated[str, Field(min_length=1, max_length=200)] | Annotated[int, Field(ge=1)],
    Field(description="A checkpoint, by its label or its number."),
]


class ToolArguments(BaseModel):
    """Base: what is not named is refused, and nothing is converted.

    Clients that fill in every argument send null for those that they leave out: it counts as left out.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        optional = {name for name, info in cls.model_fields.items() if not info.is_required()}
        return {name: value for name, value in given.items() if value is not None or name not in optional}


def _from_text(value: Any) -> Any:
    """An object or a list that a model has written as JSON text, which some do."""
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, dict | list) else value
    return value


class NoArguments(ToolArguments):
    """Nothing."""


class RunCode(ToolArguments):
    code: Annotated[str, Field(max_length=MCP_CODE_CHARS_MAX, description="The code to run.")]
    session: SessionName = "main"
    language: Annotated[
        Literal["python", "javascript"] | None, Field(description="Of a session that is made by this call.")
    ] = None
    id: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_-]{0,99}[A-Za-z_-][A-Za-z0-9_-]{0,9}$",
            description="A name for this run: the same call again attaches to it and never runs it twice.",
        ),
    ] = None
    wait_s: Wait = MCP_WAIT_S


class WaitFor(ToolArguments):
    execution: ExecutionName
    wait_s: Wait = MCP_WAIT_S


class ReadOutput(ToolArguments):
    execution: ExecutionName
    offset: Annotated[
        int, Field(ge=0, description="The character to begin at; `next_offset` of the answer goes on.")
    ] = 0
    limit: Annotated[int, Field(ge=1, le=MCP_OUTPUT_CHARS_MAX)] = MCP_OUTPUT_CHARS_MAX


class OneExecution(ToolArguments):
    execution: ExecutionName


class OneExecutionId(ToolArguments):
    execution_id: ExecutionName


class MaybeExecutionId(ToolArguments):
    execution_id: ExecutionName | None = None


class CancelExecution(ToolArguments):
    execution: ExecutionName
    reason: Annotated[str, Field(max_length=1_000)] = ""


class OneSession(ToolArguments):
    session: SessionName = "main"
    wait_s: Wait = MCP_WAIT_S


class MakeCheckpoint(ToolArguments):
    session: SessionName = "main"
    label: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    wait_s: Wait = MCP_WAIT_S


class RestoreCheckpoint(ToolArguments):
    checkpoint: CheckpointName
    session: SessionName = "main"
    clear_existing: Annotated[bool, Field(description="Remove the variables that are there first.")] = False
    wait_s: Wait = MCP_WAIT_S


class ForkSession(ToolArguments):
    name: SessionName
    session: SessionName = "main"
    checkpoint: CheckpointName | None = None
    wait_s: Wait = MCP_WAIT_S


class StartFunction(ToolArguments):
    function: Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX, description="One of the functions offered.")]
    args: Annotated[
        list[Any] | dict[str, Any],
        BeforeValidator(_from_text),
        Field(description="Its arguments: a list in order, or an object by name."),
    ] = Field(default_factory=list)
    id: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9_-]{1,90}$", description="The same id again attaches to the run that there is."),
    ] = None
    wait_s: Wait = MCP_WAIT_S


class GiveAnswer(ToolArguments):
    prompt: PromptName
    value: Annotated[Any, Field(description="The answer, as the question's schema wants it.")] = None
    decline: Annotated[bool, Field(description="Decline to answer.")] = False
    why: Annotated[str, Field(max_length=WHY_CHARS_MAX)] = ""


class AgentCode(ToolArguments):
    code: Annotated[str, Field(max_length=MCP_SANDBOX_CODE_CHARS_MAX, description="The code to run, once, alone.")]
    context: Annotated[
        dict[str, Any],
        BeforeValidator(_from_text),
        Field(description="What the code gets: task, input, env, metadata, each a global variable of that name."),
    ] = Field(default_factory=dict)
    language: Literal["auto", "python", "javascript", "wasm"] = "auto"
    wait_s: Wait = MCP_WAIT_S
