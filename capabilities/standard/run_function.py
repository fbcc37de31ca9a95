"""Starting what is durable itself: a function by its name, a session with no more rights than the one that asks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from durable.core.ids import CallId, parse_call

type SessionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]


class RunFunction(Capability):
    """Start durable functions: run_function(name, ...) waits for the result, run_function.start(name, ...) does not."""

    name = "run_function"
    also = ("start",)
    waits = frozenset({""})

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("function", "start", call.host.function_id(call.arguments["function"])),)

    async def call(self, call: CapabilityCall, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Start a durable function and wait for its result, holding nothing meanwhile. Its failure is raised here."""
        return await call.host.start_function(function, list(args), kwargs, _started(call.key))

    async def call_start(self, call: CapabilityCall, function: str, /, *args: Any, **kwargs: Any) -> str:
        """Start a durable function and return its execution id; it goes on when this code ends."""
        promise = await call.host.start_function(function, list(args), kwargs, _started(call.key))
        return promise.removeprefix("exec:")


class SpawnSession(Capability):
    """Sessions of one's own: spawn_session(name) makes one, spawn_session.execute(name, code) runs code in it."""

    name = "spawn_session"
    also = ("execute",)
    waits = frozenset({"execute"})

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("session", "spawn", call.arguments["name"]),)

    async def call(self, call: CapabilityCall, name: SessionName, *, grants: list[str] | None = None) -> str:
        """Make a session that may do at most what this one may: the same, or these `grants` alone; returns its name."""
        await call.host.spawn(call.session, name, grants)
        return name

    async def call_execute(
        self, call: CapabilityCall, name: SessionName, code: str, *, inputs: dict[str, Any] | None = None
    ) -> Any:
        """Run code in a session made here and wait: its value (plain JSON), or its failure raised."""
        return await call.host.submit(call.session, name, code, inputs or {}, call.key)


def _started(key: str) -> str:
    """The id of what a call starts: always the same, and not below the execution, whose end it outlives."""
    found = parse_call(key)
    assert isinstance(found, CallId), "only a recorded call starts something"
    return f"{found.execution.replace('.', '@@')}-{found.capability}-{found.n}"
