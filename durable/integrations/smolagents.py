"""smolagents on a durable session: the code of a CodeAgent keeps its variables, across crashes and restarts.

Needs the extra `smolagents` (specs/integrations.md, S1-S5).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from os import PathLike
from typing import Any

from pydantic_core import to_jsonable_python
from smolagents import Tool
from smolagents.local_python_executor import CodeOutput
from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import RemotePythonExecutor
from smolagents.serialization import SafeSerializer

from capabilities.capability import FunctionCapability, capability
from durable.core.errors import BadArguments, ExecutionError
from durable.engine.engine import Engine
from durable.integrations.agent_steps import failure_text
from durable.integrations.blocking_session import BlockingSession, told
from durable.records.result import Result

_FINAL_ANSWER = """
_final_answer_tool = final_answer

def final_answer(*args, **kwargs):
    global _final_answer
    try:
        return _final_answer_tool(*args, **kwargs)
    except BaseException as error:
        _final_answer = getattr(error, "value", None)
        raise
"""
"""Keeps the answer, which smolagents' own tool raises, in a variable: the text of an error may be cut."""


class DurablePythonExecutor(RemotePythonExecutor):
    """Runs the code of a `CodeAgent(executor=…)` in a durable session.

    place: a store, which an engine is opened on in a thread until `cleanup`, or an open engine, whose agents then run
    in other threads. session: its name; agents that share it share its variables. timeout: seconds that code may take.
    options: those of `engine.session`; isolated unless `profile="open"`.

    Tools are sent to the session as source, like those of smolagents' remote executors. Those that the session was
    granted as capabilities stay here: see `tool_capability`.
    """

    def __init__(
        self,
        place: Engine | str | PathLike[str],
        session: str = "agent",
        *,
        timeout: float | timedelta | None = None,
        **options: Any,
    ) -> None:
        super().__init__([], AgentLogger(LogLevel.ERROR))
        self._session = session
        self._timeout = timeout
        self._sessions = BlockingSession(place, **{"profile": "isolated", **options})
        self.state: dict[str, Any] = {"_print_outputs": ""}
        """What code printed, where smolagents looks for it when code failed."""

    def send_tools(self, tools: dict[str, Tool]) -> None:
        """Define the tools in the session. BadArguments for agents, which have no source."""
        granted = {grant.partition(":")[0] for grant in self._sessions.grants(self._session)}
        sent = {name: tool for name, tool in tools.items() if name not in granted}
        agents = [name for name, tool in sent.items() if not isinstance(tool, Tool)]
        if agents:
            raise BadArguments(
                f"{', '.join(agents)}: managed agents cannot be sent to a session; make a capability of a function "
                "that runs the agent, and grant it"
            )
        if sent:
            super().send_tools(sent)
        if "final_answer" in sent:
            self._run(_FINAL_ANSWER)

    def _patch_final_answer_with_exception(self, final_answer_tool: Any) -> None:
        """Once for each tool: smolagents sends the tools at the beginning of each run."""
        if not hasattr(final_answer_tool, "_forward"):
            super()._patch_final_answer_with_exception(final_answer_tool)

    def install_packages(self, additional_imports: list[str]) -> list[str]:
        """Nothing: the session has the packages that this process has."""
        return additional_imports

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Set variables. SerializationError for what is neither JSON nor one of smolagents' safe types."""
        if variables:
            code = f"{SafeSerializer.get_deserializer_code(False)}\nglobals().update(_deserialize(_sent))\ndel _sent"
            self._run(code, _sent=SafeSerializer.dumps(variables))

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        """Run code. ExecutionError, with the traceback as its text, when it failed."""
        result = self._sessions.execute(self._session, code, timeout=self._timeout)
        self.state["_print_outputs"] = logs = told(result)
        error = result.error
        if error is not None and error.exception_type.rpartition(".")[2] == self.FINAL_ANSWER_EXCEPTION:
            answer = self._run("_final_answer").value
            return CodeOutput(output=self._deserialize_final_answer(answer), logs=logs, is_final_answer=True)
        if error is not None:
            raise ExecutionError(failure_text(error), execution_id=error.execution_id)
        output = result.value if result.value is not None else result.repr or None
        return CodeOutput(output=output, logs=logs, is_final_answer=False)

    def _run(self, code: str, **inputs: Any) -> Result:
        result = self._sessions.execute(self._session, code, timeout=self._timeout, **inputs)
        result.unwrap()
        return result

    def cleanup(self) -> None:
        """Close the engine that was opened here. The session stays."""
        self._sessions.close()


def tool_capability(tool: Tool) -> FunctionCapability:
    """A tool as a capability: it runs here, and each call is recorded, so that resumed code does not make it again.

    Give it to `durable.open(capabilities=[…])`, and its name to the executor: `grants=["search"]`.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return to_jsonable_python(tool(*args, **kwargs), fallback=str)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None if given.get("nullable") else inspect.Parameter.empty,
            annotation=Any,
        )
        for name, given in tool.inputs.items()
    ]
    named: Any = call
    named.__signature__ = inspect.Signature(parameters, return_annotation=Any)
    named.__doc__, named.__name__ = tool.description, tool.name
    made: Callable[..., Any] = named
    return capability(made, name=tool.name)


__all__ = ["DurablePythonExecutor", "tool_capability"]
