"""The policy of one component in this engine, its rates, and what capabilities keep for it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal, NamedTuple

from capabilities.call import CapabilityCall
from capabilities.permissions.policy import PolicyDecision
from capabilities.permissions.rate import Bucket
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.errors import ResourceLimitExceeded
from capabilities.sandbox.quotas import Together
from durable.core.clock import now_ms
from durable.core.events import PermissionsBypassed
from durable.sessions.ownership.confinement import directory_of
from durable.sessions.services import House

WAIT_S_MAX = 60.0
"""A call that its rate would delay longer than this is refused."""


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
        quotas, now = self.policy.manifest.quotas, time.monotonic()
        self._calls = Bucket(quotas.calls_per_s, now)
        self._network = Bucket(quotas.network_bytes_per_s, now)
        self._rates = {name: Bucket(rate, now) for name, rate in self.policy.manifest.rates.items()}
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
            pace=self._pace,
            state=self._state,
        )

    async def delay(self, asked: CapabilityCall) -> None:
        """Wait until its rates allow the call. ResourceLimitExceeded when that is too long."""
        now = time.monotonic()
        wait, per_s = self._calls.take(1, now), self._calls.per_s
        own = self._rates.get(asked.capability)
        if own is not None and (longer := own.take(1, now)) > wait:
            wait, per_s = longer, own.per_s
        if wait <= 0:
            return
        self.house.audit.decided(asked, PolicyDecision("ask", "more calls than its rate allows: delayed"))
        if wait > WAIT_S_MAX:
            raise ResourceLimitExceeded("calls per second", per_s, None)
        await asyncio.sleep(wait)

    async def close(self) -> None:
        """End what capabilities keep for it."""
        for capability in self.house.capabilities.used():
            await capability.forget(self._state)

    async def _pace(self, size: int) -> None:
        wait = self._network.take(size, time.monotonic())
        if wait > 0:
            await asyncio.sleep(wait)
