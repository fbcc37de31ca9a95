"""The language of a session's cells: recorded with the session, put into the worker's words as a cell is sent."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

from bridge.confine.limits import Limits
from durable.core.errors import BadArguments, Conflict
from durable.core.extras import wasmtime_missing
from durable.sessions.execution.cell import CellParam

type Language = Literal["python", "javascript"]


MEMORY_BYTES_MIN = 128 * 2**20
"""In which QuickJS can be compiled and begin (specs/javascript.md, E5)."""


def language_option(language: Language | None, limits: Limits | None) -> dict[str, Any]:
    """The language in a new session's record. BadArguments, SandboxUnavailable."""
    if language not in (None, "python", "javascript"):
        raise BadArguments(f"there are sessions in python and javascript, not in {language!r}")
    if language != "javascript":
        return {}
    from capabilities.sandbox.errors import SandboxUnavailable  # most sessions speak Python

    if limits is not None and limits.memory is not None and limits.memory < MEMORY_BYTES_MIN:
        raise BadArguments(f"JavaScript begins with {MEMORY_BYTES_MIN} bytes of memory; the limit is {limits.memory}")
    if find_spec("wasmtime") is None:
        raise SandboxUnavailable(wasmtime_missing())
    from capabilities.sandbox.javascript import engine_file

    if not engine_file.present():
        raise SandboxUnavailable("JavaScript's engine is not installed; `durable sandbox install` brings it")
    return {"language": language}


def language_of(options: Mapping[str, Any]) -> Language:
    """The language of a recorded session."""
    return "javascript" if options.get("language") == "javascript" else "python"


def check_language(session: str, recorded: Mapping[str, Any], language: Language | None) -> None:
    """An existing session keeps its language. Conflict where another one is asked for."""
    held = language_of(recorded)
    if language is not None and language != held:
        raise Conflict(f"session {session!r} exists in {held}; close it to make it anew in {language}")


def spoken(cell: CellParam, language: Language, execution_id: str) -> tuple[str, str]:
    """The cell's code as its worker runs it, and its file name there; "" for the worker's own choice."""
    if language == "python":
        return cell.code, ""
    from capabilities.sandbox.javascript.session_cell import text

    return text(cell.code, cell.inputs), f"<script {execution_id}>"
