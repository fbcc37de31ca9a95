"""The capabilities that every engine has: where each one lives. They are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capabilities.capability import Capability

STANDARD = {
    "input": ("capability", "Input"),
    "ask": ("standard.prompts", "Ask"),
    "choose": ("standard.prompts", "Choose"),
    "approve": ("standard.prompts", "Approve"),
    "review": ("standard.prompts", "ReviewDocument"),
    "now": ("standard.clock_and_chance", "Now"),
    "sleep": ("standard.clock_and_chance", "Sleep"),
    "random": ("standard.clock_and_chance", "Random"),
    "uuid": ("standard.clock_and_chance", "Uuid"),
    "read_file": ("standard.files", "ReadFile"),
    "write_file": ("standard.files", "WriteFile"),
    "delete_file": ("standard.files", "DeleteFile"),
    "list_files": ("standard.files", "ListFiles"),
    "env": ("standard.environment", "Environment"),
    "fetch": ("standard.fetch", "Fetch"),
    "query": ("standard.query", "Query"),
    "notify": ("standard.notify", "Notify"),
    "websocket": ("standard.websocket", "WebSocket"),
    "kv": ("standard.kv", "KeyValues"),
    "run_function": ("standard.run_function", "RunFunction"),
    "spawn_session": ("standard.run_function", "SpawnSession"),
    "process": ("standard.process", "Process"),
    "messaging": ("standard.messaging", "Messaging"),
}
"""Module and class by name."""


def load(name: str) -> Capability:
    """Make the standard capability of that name."""
    module, cls = STANDARD[name]
    found: Capability = getattr(import_module(f"capabilities.{module}"), cls)()
    assert found.name == name
    return found
