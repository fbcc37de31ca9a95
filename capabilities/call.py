"""One call as its capability sees it, and what the host lends to whoever performs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from capabilities.permissions.levels import Resource
from capabilities.permissions.policy import Policy, PolicyDecision
from durable.core.errors import Denied


class EngineServices(Protocol):
    """The engine's services to capabilities."""

    async def request(self, kind: str, data: Mapping[str, Any]) -> Any:
        """A request to the store; its answer's data."""

    async def start_function(self, name: str, args: list[Any], kwargs: dict[str, Any], id: str) -> str:
        """Start a durable function, or find it started under that id; its promise's id."""

    def function_id(self, name: str) -> str:
        """The whole `where::name@version` of a function that is known here; NotFound."""

    async def spawn(self, parent: str, name: str, grants: list[str] | None) -> None:
        """Make a session with at most what its parent may do, or find the one that it made."""

    async def submit(self, parent: str, name: str, code: str, inputs: dict[str, Any], nonce: str) -> str:
        """Run code in a session that this one spawned; the cell's promise id, the same for the same nonce."""

    async def send_message(self, call: CapabilityCall, target: str, message: bytes) -> None:
        """Put a message into the mailbox of the actor `class/key`, once for a call."""

    async def send_request(self, call: CapabilityCall, target: str, message: bytes, timeout_ms: int) -> str:
        """The same, with a reply for the actor that asks; the request's id. BadArguments for who is no actor."""

    async def cancel_request(self, call: CapabilityCall, request: str) -> None:
        """Let no reply come to a request of the actor that asks. NotFound."""

    async def publish(self, call: CapabilityCall, topic: str, message: bytes) -> int:
        """Send to every actor that subscribed, once for a call; how many there are."""

    async def subscribe(self, call: CapabilityCall, pattern: str, *, wanted: bool) -> None:
        """Have the actor that asks subscribe to topics, or end that."""

    def notified(self, call: CapabilityCall, message: str, title: str | None) -> None:
        """Tell people who listen to this engine."""


class CapabilityCall(msgspec.Struct):
    """A call: what is asked for, by whom, under which policy. `key` is the promise's id, an idempotency key to pass on.

    `key` is "" for code that is not journaled. `directory` is where the session's own files are.
    """

    capability: str
    method: str
    arguments: dict[str, Any]
    session: str
    execution: str
    key: str
    policy: Policy
    directory: Path
    host: EngineServices
    now_ms: Callable[[], int]
    decided: Callable[[CapabilityCall, PolicyDecision], None]
    """Puts a decision into the audit."""
    pace: Callable[[int], Awaitable[None]]
    """Waits until so many bytes of network may have been used."""
    refused: bool = False
    """Whether its refusal is in the audit already."""
    who: str = ""
    """Whom the audit and refusals name, where that is not the session."""
    state: dict[str, Any] = {}
    """Data that a capability keeps between calls of a session, for as long as this engine has the session."""

    def check(self, *resources: Resource) -> None:
        """Decide about something that came up while performing (a redirect); raises Denied, and it is audited."""
        decision = self.policy.decide(self.capability, resources, self.now_ms())
        if decision.verdict != "allowed":
            raise self.refuse(decision)

    def refuse(self, decision: PolicyDecision) -> Denied:
        """The error of a refused call, noted in the audit."""
        self.decided(self, decision._replace(verdict="denied"))
        self.refused = True
        return denied(self.who or self.session, self.capability, decision)


def denied(who: str, capability: str, decision: PolicyDecision) -> Denied:
    """The error of a refused call: who, what, on which resource, and why (A72)."""
    on = f" to {decision.resource.action} {decision.resource.name!r}" if decision.resource is not None else ""
    remedy = "" if decision.blocked else ". It can be granted with grants=[…], a manifest, or `durable session grant`"
    return Denied(f"{who!r} may not use {capability}{on}: {decision.reason}{remedy}")
