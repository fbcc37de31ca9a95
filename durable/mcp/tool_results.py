"""The structured results of the tools. Their JSON Schemas are the tools' output schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class CodeError(BaseModel):
    """The error of user code: its type, its text and its traceback, cut where they are long."""

    type: str
    message: str
    traceback: str = ""


class QuestionView(BaseModel):
    """A question that waits for an answer."""

    prompt: str
    execution: str
    question: str
    context: str | None = None
    choices: list[Any] | None = None
    answer_schema: Annotated[
        dict[str, Any] | None, Field(description="The JSON Schema of the answer; none takes any text.")
    ] = None
    asked_at: str
    for_people: Annotated[bool, Field(description="Whether only a person can answer it, not the tool `answer`.")]
    link: Annotated[str | None, Field(description="Where a person can answer it in a browser.")] = None
    command: Annotated[str, Field(description="The command that answers it.")]


class ExecutionReport(BaseModel):
    """How an execution stands."""

    execution: str
    session: str | None = None
    state: str
    done: Annotated[bool, Field(description="Whether it has ended; else call `wait` with its id.")]
    value: Annotated[Any, Field(description="The value of the last expression, or a function's, where it is JSON.")] = (
        None
    )
    repr: str = ""
    stdout: str = ""
    stderr: str = ""
    truncated: Annotated[bool, Field(description="Whether text was left out; `output` reads all of it.")] = False
    error: CodeError | None = None
    seconds: float | None = None
    questions: list[QuestionView] = Field(default_factory=list)
    note: str = ""


class PrintedPiece(BaseModel):
    """A stretch of one stream."""

    stream: Literal["stdout", "stderr", "display"]
    text: str


class OutputReport(BaseModel):
    """A page of what an execution printed."""

    execution: str
    pieces: list[PrintedPiece]
    next_offset: int
    more: Annotated[bool, Field(description="Whether there is more to read now.")]
    done: Annotated[bool, Field(description="Whether the execution has ended.")]


class Acknowledged(BaseModel):
    """Whether something was done."""

    execution: str
    done: bool
    state: str


class SessionEntry(BaseModel):
    """One session."""

    session: str
    state: str
    executions: int
    language: str
    profile: str
    created_at: str


class SessionList(BaseModel):
    """The sessions that there are."""

    sessions: list[SessionEntry]


class VariableEntry(BaseModel):
    """One variable."""

    name: str
    type: str
    repr: str
    size: Annotated[int | None, Field(description="Bytes, where it is known.")] = None


class VariableList(BaseModel):
    """The variables of a session."""

    session: str
    variables: list[VariableEntry]
    truncated: bool = False


class CheckpointReport(BaseModel):
    """A checkpoint that was made."""

    session: str
    checkpoint: int
    label: str | None = None


class RestoreResult(BaseModel):
    """The outcome of a restore, name by name."""

    session: str
    restored: list[str]
    rebuilt: list[str]
    lost: Annotated[list[str], Field(description="Names that could not be brought back, each with why.")]


class ForkReport(BaseModel):
    """A session that was made of another."""

    session: str
    of: str


class ExecutionStatus(BaseModel):
    """The facts of an execution."""

    execution: str
    kind: str
    state: str
    name: str
    session: str | None = None
    created_at: str
    settled_at: str | None = None
    seconds: float
    attempts: int
    stuck: bool
    last_error: str | None = None
    note: str | None = None
    error: str | None = None
    waits_for: list[str] = Field(default_factory=list)


class ToolUse(BaseModel):
    """How often a tool was called, and how often it came to an error."""

    tool: str
    calls: int
    errors: int
    average_ms: float


class EngineStatus(BaseModel):
    """The facts of an execution, or of the engine where none was named."""

    execution: ExecutionStatus | None = None
    running: int = 0
    waiting: int = 0
    sandboxes: dict[str, str] = Field(default_factory=dict)
    tools: list[ToolUse] = Field(default_factory=list)


class QuestionList(BaseModel):
    """The questions that wait."""

    questions: list[QuestionView]
    truncated: bool = False


class Answered(BaseModel):
    """An answer that was recorded."""

    prompt: str
    settled: Annotated[bool, Field(description="False while others have to answer too.")]


class AgentCodeReport(BaseModel):
    """The outcome of code that ran once in a sandbox."""

    status: Literal["success", "error", "timeout", "security_violation"]
    output: Any = None
    stdout: str = ""
    stderr: str = ""
    execution_time_ms: float = 0.0
    backend: str = ""
    message: str = ""
    error_type: str = ""
    truncated: bool = False
