"""A live session's permissions: the policy that holds now, rates, and what capabilities keep for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import Call
from capabilities.call import CapabilityCall
from capabilities.permissions.policy import Policy, PolicyChange, PolicyDecision
from capabilities.permissions.rate import WAIT_S_MAX, CallRates
from durable.core.clock import now_ms
from durable.core.errors import Denied, NotEncodable
from durable.core.events import PermissionsBypassed
from durable.sessions.output.backpressure import Backpressure
from durable.sessions.ownership.session_confinement import directory_of
from durable.sessions.permissions import EVERYWHERE, manifest_of
from durable.sessions.services import House
from durable.store.changes import StoreChange
from durable.store.operations.sessions import RUN


class Permits:
    """The permissions and rates of one session. `policy` is read anew when somebody may have changed it."""

    def __init__(self, house: House, session: str, options: dict[str, Any]) -> None:
        self.session = session
        run = options.get(RUN)
        self.who = session if run is None else f"execution/{run}"
        """Whom the audit names."""
        self.house = house
        self.state: dict[str, Any] = {}
        self._options = options
        self._policy = self._made(PolicyChange())
        self._stale = True
        self._directory = directory_of(house.store, session)
        self._rates = CallRates(*self._rates_now())
        self._delayed = 0
        self._given: list[str] = []  # the functions that the worker has
        self._unwatch: Callable[[], None] = house.store.watch(self._on_change)
        if self._policy.development:
            self.house.observer(PermissionsBypassed(self.who))

    def _made(self, change: PolicyChange) -> Policy:
        return Policy(manifest_of(self._options), self._options.get("grants") or (), change)

    def _on_change(self, change: StoreChange) -> None:
        # A server may be of a version that tells of sessions alone.
        changed = change.policies if self.house.store.local is not None else change.policies | change.sessions
        if change.foreign or self.session in changed or EVERYWHERE in changed:
            self._stale = True

    async def current(self, *, again: bool = False) -> Policy:
        """The policy as the store has it now; the one at hand when nothing can have changed it."""
        if self._stale or again:
            self._stale = False
            found = (await self.house.store.request("policy.get", {"name": self.session})).data
            if found["version"] != self._policy.version:
                own, everywhere = found["own"]["document"], found["everywhere"]["document"]
                known, self._policy = self._policy, self._made(PolicyChange(found["version"], own, everywhere))
                if self._policy.development and not known.development:
                    self.house.observer(PermissionsBypassed(self.who))
                self._rates.change(*self._rates_now())
        return self._policy

    def _rates_now(self) -> tuple[float, float, Mapping[str, float]]:
        manifest = self._policy.manifest
        return manifest.quotas.calls_per_s, manifest.quotas.network_bytes_per_s, manifest.rates

    async def names(self, called: Collection[str] = ()) -> list[str]:
        """The capabilities that become functions of the code: what may be had now, and what it called before."""
        policy = await self.current()
        known = self.house.capabilities.names()
        permitted = policy.permitted(known, now_ms())
        return [name for name in known if name in called or name in permitted] if called else list(permitted)

    async def functions(self, called: Collection[str] = ()) -> list[str | dict[str, Any]]:
        """The capabilities of `names` as a new worker is told them; a replay has to come by the recorded calls."""
        self._given = await self.names(called)
        described = map(self.house.capabilities.described, self._given)
        return [each for each in described if each is not None]

    async def new_functions(self, called: Collection[str] = ()) -> list[str | dict[str, Any]] | None:
        """The same, when they are others than the worker has; else None."""
        return None if self._given == await self.names(called) else await self.functions(called)

    async def delay(self, call: Call, worker: WorkerSession | None, reading: Backpressure) -> PolicyDecision | None:
        """Wait until the rate allows it; meanwhile the worker is not read. A refusal when that is too long."""
        wait_s = self._rates.take(call.capability).seconds
        if wait_s <= 0:
            return None
        if wait_s > WAIT_S_MAX:
            return PolicyDecision("denied", f"more calls than its rate allows for {WAIT_S_MAX:g} s")
        reason = "more calls than its rate allows: delayed"
        self.house.audit.note(self.who, call.execution_id, call.capability, "", "limited", reason, self._policy.version)
        self._delayed += 1
        reading.pause(worker, "rate")
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._delayed -= 1
            if not self._delayed:
                reading.resume(worker, "rate")
        return None

    def call(self, asked: Call, method: str, arguments: dict[str, Any], policy: Policy, key: str) -> CapabilityCall:
        """The call as its capability sees it."""
        assert self.house.lent is not None
        return CapabilityCall(
            capability=asked.capability,
            method=method,
            arguments=arguments,
            session=self.session,
            execution=asked.execution_id,
            key=key,
            policy=policy,
            directory=self._directory,
            host=self.house.lent,
            now_ms=now_ms,
            decided=self.house.audit.decided,
            pace=self._rates.pace,
            who=self.who,
            state=self.state,
        )

    def unfit(self, call: Call, error: Exception) -> None:
        """Note a call that leads where nobody may go, was denied, or cannot be recorded; whatever its arguments look
        like, one of what is not granted."""
        granted = self._policy.may_have(call.capability, now_ms())
        if isinstance(error, Denied | NotEncodable) or not granted:
            who = (self.who, call.execution_id, call.capability, "")
            self.house.audit.note(*who, "denied", str(error), self._policy.version)

    def failed(self, asked: CapabilityCall, error: Exception) -> None:
        """Note a call that was refused while it was performed: at a link, a redirect, by the database."""
        if isinstance(error, PermissionError) and not asked.refused:
            self.house.audit.decided(asked, PolicyDecision("denied", str(error)))

    async def close(self) -> None:
        """The session is not run here any more: end what capabilities keep for it."""
        self._unwatch()
        self._unwatch = _unwatched
        for capability in self.house.capabilities.used():
            await capability.forget(self.state)


def _unwatched() -> None:
    """Do nothing for a session that is closed twice."""
