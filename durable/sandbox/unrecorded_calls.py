"""Host calls of an instance in memory: decided, audited, performed, and not recorded."""

from __future__ import annotations

from typing import Any

from capabilities.permissions.policy import PolicyDecision
from capabilities.sandbox.host_calls import CallFailed, HostCall
from durable.core.errors import BadArguments, Denied, NotEncodable
from durable.records.values import to_json
from durable.sandbox.sandbox_calls import SandboxCalls

NEED_RECORD = frozenset({"run_function", "spawn_session"})
"""Capabilities whose calls are found again by their records."""


class UnrecordedCalls(SandboxCalls):
    """The same port without a store. Nothing is replayed: the instance ends with its engine."""

    async def _answered(self, call: HostCall) -> Any:
        permits = self._permits
        capability = self._capability(call)
        if capability.name in NEED_RECORD:
            raise self._denial(call, None, "it needs a record, and this actor is kept in memory")
        try:
            arguments = capability.bind(call.method, [], call.arguments)
            asked = permits.call(call.capability, call.method, arguments, self.execution, "")
            capability.touches(asked)
        except Denied as denied:
            permits.house.audit.decided(asked, PolicyDecision("denied", str(denied)))
            raise self._denial(call, None, str(denied)) from None
        except (BadArguments, NotEncodable, ValueError, TypeError, OSError, RecursionError) as unfit:
            raise CallFailed(type(unfit).__name__, str(unfit)) from None
        decision = capability.allow(asked, permits.policy)
        if decision.verdict == "ask":  # nobody is asked while foreign code runs
            decision = decision._replace(verdict="denied")
        if decision.verdict == "denied":
            permits.house.audit.decided(asked, decision)
            raise self._denial(call, decision, decision.reason)
        await permits.delay(asked)
        try:
            return to_json(await self._effect(capability, asked), f"the result of {capability.name}")
        except Denied as denied:
            raise self._denial(call, None, str(denied)) from None
        except Exception as raised:
            raise CallFailed(type(raised).__name__, str(raised)) from None
