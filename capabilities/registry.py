"""The capabilities that every engine has: where each one lives. They are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capabilities.capability import Capability

STANDARD = {
    "input": ("capability", "Input"),
    "ask": ("prompts", "Ask"),
    "choose": ("prompts", "Choose"),
    "approve": ("prompts", "Approve"),
    "review": ("prompts", "ReviewDocument"),
    "now": ("clock_and_chance", "Now"),
    "sleep": ("clock_and_chance", "Sleep"),
    "random": ("clock_and_chance", "Random"),
    "uuid": ("clock_and_chance", "Uuid"),
    "read_file": ("files", "ReadFile"),
    "write_file": ("files", "WriteFile"),
    "delete_file": ("files", "DeleteFile"),
    "list_files": ("files", "ListFiles"),
    "env": ("environment", "Environment"),
    "fetch": ("fetch", "Fetch"),
    "query": ("query", "Query"),
    "notify": ("notify", "Notify"),
    "websocket": ("websocket", "WebSocket"),
    "kv": ("kv", "KeyValues"),
    "run_function": ("run_function", "RunFunction"),
    "spawn_session": ("run_function", "SpawnSession"),
    "process": ("process", "Process"),
}
"""Module and class by name."""


def load(name: str) -> Capability:
    """Make the standard capability of that name."""
    module, cls = STANDARD[name]
    found: Capability = getattr(import_module(f"capabilities.standard.{module}"), cls)()
    assert found.name == name
    return found
