"""The capabilities that every engine has: where each one lives. They are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capabilities.capability import Capability

STANDARD = {
    "input": ("capability", "Input"),
    "ask": ("people", "Ask"),
    "choose": ("people", "Choose"),
    "approve": ("people", "Approve"),
    "review": ("people", "Review"),
    "now": ("recorded", "Now"),
    "sleep": ("recorded", "Sleep"),
    "random": ("recorded", "Random"),
    "uuid": ("recorded", "Uuid"),
    "read_file": ("files", "ReadFile"),
    "write_file": ("files", "WriteFile"),
    "delete_file": ("files", "DeleteFile"),
    "list_files": ("files", "ListFiles"),
    "env": ("environment", "Environment"),
    "fetch": ("fetch", "Fetch"),
    "query": ("query", "Query"),
    "notify": ("notify", "Notify"),
    "websocket": ("websocket", "WebSocket"),
    "kv": ("keyed", "KeyValues"),
    "run_function": ("functions", "RunFunction"),
    "spawn_session": ("functions", "SpawnSession"),
    "process": ("process", "Process"),
}
"""Module and class by name."""


def load(name: str) -> Capability:
    """Make the standard capability of that name."""
    module, cls = STANDARD[name]
    found: Capability = getattr(import_module(f"capabilities.{module}"), cls)()
    assert found.name == name
    return found
