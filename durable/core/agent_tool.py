"""The tool that an agent has called, which the cells that it runs are marked with (specs/telemetry.md, T8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TOOL = "durable:tool"
"""The tag of a cell that has the name of the tool."""

TOOL_CALL = "durable:tool-call"
"""The tag that has the id that the model gave the call, where it is known."""

_CHARS_MAX = 200
"""Of a name and of an id: they come from outside, and stand in the record."""

_CURRENT: ContextVar[tuple[str, str]] = ContextVar("durable_agent_tool", default=("", ""))


@contextmanager
def agent_tool(name: str, call: str = "") -> Iterator[None]:
    """Mark the cells that are begun inside as run by a tool of an agent. call: the model's id of the call."""
    token = _CURRENT.set((name[:_CHARS_MAX], call[:_CHARS_MAX]))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def tool_tags() -> dict[str, str]:
    """The tags of a cell that is begun here."""
    name, call = _CURRENT.get()
    return {key: value for key, value in ((TOOL, name), (TOOL_CALL, call)) if value}
