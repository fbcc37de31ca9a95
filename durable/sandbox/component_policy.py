"""The policy of one component in this engine, its rates, and what capabilities keep for it."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, NamedTuple

from capabilities.call import CapabilityCall
from capabilities.permissions.policy import PolicyDecision
from capabilities.permissions.rate import WAIT_S_MAX, CallRates
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.errors import ResourceLimitExceeded
from capabilities.sandbox.quotas import Together
from durable.core.clock import now_ms
from durable.core.events import PermissionsBypassed
from durable.sessions.ownership.session_confinement import directory_of
from durable.sessions.services import House


class Owner(NamedTuple):
    """The owner of storage and files: a component, by its manifest; a script, by the identity given; or one run."""

    kind: Literal["component", "script", "execution"]
    name: str


class ComponentPermits:
    """The permits of one component, shared by its executions in this engine: rates hold for all together (A74)."""

    def __init__(self, house: House, manifest: ComponentManifest, owner: Owner | None = None) -> None:
        owner = owner or Owner("component", manifest.id)
        self.house = house
        self.component = manifest.id
        self.who = f"{owner.kind}/{owner.name}"
        """Whom the audit names; no session has a name with a slash, so its storage is its own (A73)."""
        self.policy = manifest.policy()
        self._directory = directory_of(house.store, "any").parents[1] / f"{owner.kind}s" / owner.name
        quotas = self.policy.manifest.quotas
        self._rates = CallRates(quotas.calls_per_s, quotas.network_bytes_per_s, self.policy.manifest.rates)
        self._state: dict[str, Any] = {}
        self.together = Together(manifest.quotas)
        if self.policy.development:
            house.observer(PermissionsBypassed(self.who))

    def call(self, capability: str, method: str, arguments: dict[str, Any], execution: str, key: str) -> CapabilityCall:
        """The call as its capability sees it."""
        assert self.house.lent is not None
        return CapabilityCall(
            capability=capability,
            method=method,
            arguments=arguments,
            session=self.who,
            execution=execution,
            key=key,
            policy=self.policy,
            directory=self._directory,
            host=self.house.lent,
            now_ms=now_ms,
            decided=self.house.audit.decided,
            pace=self._rates.pace,
            state=self._state,
        )

    async def delay(self, asked: CapabilityCall) -> None:
        """Wait until its rates allow the call. ResourceLimitExceeded when that is too long."""
        wait_s, per_s = self._rates.take(asked.capability)
        if wait_s <= 0:
            return
        self.house.audit.decided(asked, PolicyDecision("ask", "more calls than its rate allows: delayed"))
        if wait_s > WAIT_S_MAX:
            raise ResourceLimitExceeded("calls per second", per_s, None)
        await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """End what capabilities keep for it."""
        for capability in self.house.capabilities.used():
            await capability.forget(self._state)
