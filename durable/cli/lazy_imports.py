"""Start-up time: what a command on a file never uses is imported when it is first touched."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from durable.functions.resonate.deferred_module import defer


def engine() -> ModuleType:
    """The engine's module. resonate-sdk imports aiohttp for its connections over HTTP: a third of the start-up time."""
    defer("aiohttp")
    return import_module("durable.engine.engine")
