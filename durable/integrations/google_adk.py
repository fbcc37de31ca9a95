"""Google's Agent Development Kit on durable sessions: code of an agent keeps its variables, across crashes.

Needs the extra `google-adk` (specs/integrations.md, A1-A4).
"""

from __future__ import annotations

import base64
import hashlib
import re
from os import PathLike
from typing import Any

from google.adk.agents.invocation_context import InvocationContext
from google.adk.code_executors import BaseCodeExecutor
from google.adk.code_executors.code_execution_utils import CodeExecutionInput, CodeExecutionResult, File
from pydantic import ConfigDict, PrivateAttr

from durable.core import ids
from durable.core.errors import ExecutionError
from durable.engine.engine import Engine
from durable.integrations.agent_steps import failure_text
from durable.integrations.blocking_session import BlockingSession
from durable.records.displays import Display

_WRITE_FILES = """
def _write():
    import base64, os
    for name, content in _files:
        if not os.path.exists(name):
            with open(name, "wb") as file:
                file.write(base64.b64decode(content))

_write()
del _write, _files
"""

_PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}


class DurableCodeExecutor(BaseCodeExecutor):
    """Runs the code of an `LlmAgent(code_executor=…)` in durable sessions, one for each session of ADK.

    place: an open engine, or a store that one is opened on in a thread until `close`. session: the beginning of the
    sessions' names. options: those of `engine.session`; isolated unless `profile="open"`. timeout_seconds, stateful
    and error_retry_attempts are ADK's own fields.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    stateful: bool = True
    _sessions: BlockingSession = PrivateAttr()
    _session: str = PrivateAttr()

    def __init__(
        self,
        place: Engine | str | PathLike[str],
        session: str = "adk",
        *,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        ids.check_session_name(session)
        self._session = session
        self._sessions = BlockingSession(place, **{"profile": "isolated", **(options or {})})

    def execute_code(
        self, invocation_context: InvocationContext, code_execution_input: CodeExecutionInput
    ) -> CodeExecutionResult:
        """Run code; what it shows as a picture is an output file. ADK calls this in a thread."""
        session = self._name(code_execution_input.execution_id or invocation_context.session.id)
        timeout = self.timeout_seconds
        try:
            self._send_files(session, code_execution_input.input_files)
            result = self._sessions.execute(session, code_execution_input.code, timeout=timeout)
        except ExecutionError as error:
            return CodeExecutionResult(stderr=failure_text(error), exit_code=1)
        value = f"{result.repr}\n" if result.repr and result.repr != "None" else ""
        failed = "" if result.error is None else failure_text(result.error)
        return CodeExecutionResult(
            stdout=result.stdout + (value if not failed else ""),
            stderr=f"{result.stderr}{failed}" if failed else "",  # ADK takes any stderr for a failure
            output_files=_pictures(result.displays),
            exit_code=1 if failed else 0,
        )

    def _name(self, execution_id: str) -> str:
        """The session's name: ADK's ids may be any text."""
        name = f"{self._session}-{execution_id}"
        if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
            return name
        return f"{self._session}-{hashlib.sha256(execution_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"

    def _send_files(self, session: str, files: list[File]) -> None:
        """Write the input files into the session's directory, those that it does not have yet."""
        if files:
            sent = [[each.name.replace("\\", "/").rpartition("/")[2], _base64(each.content)] for each in files]
            self._sessions.execute(session, _WRITE_FILES, _files=sent).unwrap()

    def close(self) -> None:
        """Close the engine that was opened here. The sessions stay."""
        self._sessions.close()


def _base64(content: str | bytes) -> str:
    """As base64, which text is already; what is no base64 is taken as it is."""
    text = content if isinstance(content, str) else content.decode("latin-1")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except ValueError:
        return base64.b64encode(content if isinstance(content, bytes) else content.encode()).decode()


def _pictures(displays: tuple[Display, ...]) -> list[File]:
    found: list[File] = []
    for display in displays:
        for kind, ending in _PICTURES.items():
            if isinstance(data := display.data.get(kind), str):
                found.append(File(f"picture_{len(found) + 1}.{ending}", data, kind))
    return found


__all__ = ["DurableCodeExecutor"]
