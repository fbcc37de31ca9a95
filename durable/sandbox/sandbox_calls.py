"""Host calls of foreign code, recorded as `exec:<id>:<capability>:<n>`: the engine's side of the sandbox's port.

A killed execution runs again from its beginning, in another instance, and comes by the same calls: each gets its
recorded answer, and the fuel that was used by then says whether it is the same run (specs/sandbox.md, R1-R5).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import Future
from functools import partial
from typing import Any

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.policy import PolicyDecision
from capabilities.sandbox.errors import CapabilityDenied, ResourceLimitExceeded
from capabilities.sandbox.host_calls import CallFailed, HostCall
from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import (
    BadArguments,
    Conflict,
    Denied,
    DurableError,
    EngineFailed,
    NonDeterminism,
    NotEncodable,
    StoreError,
)
from durable.functions.failures import document, read_document
from durable.records.values import digest, pack, to_json, unpack
from durable.sandbox.component_policy import ComponentPermits
from durable.sessions.calls.call_settlement import failed_by, failed_with, succeeded
from durable.sessions.calls.journaled_calls import call_tags

FUEL_TAG = "durable:fuel"
CODE_TAG = "durable:code"
CALLS_MAX = 100_000
"""Host calls of one execution; each is kept for ever."""
RECORDED_BYTES_MAX = 256 * 1024 * 1024
"""Of their arguments, as they are kept: a loop of calls does not fill the store."""


class SandboxCalls:
    """The host calls of one execution; make one for each run of it. Its `port` goes to the sandbox.

    meter: what fuel is counted by (the code's hash, wasmtime's version, our configuration). Fuel is compared only
    with what the same meter counted: another wasmtime counts otherwise, and the arguments still have to fit.
    code: what the execution id belongs to (R7); "" where another version may go on.
    """

    def __init__(self, permits: ComponentPermits, execution_id: str, meter: str = "", code: str = "") -> None:
        self._permits = permits
        self.execution = execution_id
        self._meter = meter
        self._code = code
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._loop = asyncio.get_running_loop()
        self.replayed = 0
        """Calls that were answered from the record."""

    def port(self, call: HostCall) -> Future[Any]:
        """Begin a host call, from the thread that runs the code."""
        return asyncio.run_coroutine_threadsafe(self.answer(call), self._loop)

    async def answer(self, call: HostCall) -> Any:
        """The answer, recorded before it is given. CapabilityDenied, NonDeterminism, Conflict, CallFailed,
        EngineFailed.
        """
        try:
            return await self._answered(call)
        except CallFailed:
            raise
        except Exception as error:
            if isinstance(error, DurableError) and not isinstance(error, StoreError):
                raise
            raise EngineFailed(f"answer {call.capability} of {self.execution}", error) from error

    async def _answered(self, call: HostCall) -> Any:
        capability = self._capability(call)
        try:
            arguments = capability.bind(call.method, [], call.arguments)
            param = {"args": [], "kwargs": call.arguments, **({"method": call.method} if call.method else {})}
            to_json(param, f"what {call.capability} is given")
            asked = self._permits.call(call.capability, call.method, arguments, self.execution, "")
            capability.touches(asked)
        except Denied as denied:  # a path that leads out, another scheme: no matter of rules
            self._permits.house.audit.decided(asked, PolicyDecision("denied", str(denied)))
            raise self._denial(call, None, str(denied)) from None
        except (BadArguments, NotEncodable, ValueError, TypeError, OSError, RecursionError) as unfit:
            raise CallFailed(type(unfit).__name__, str(unfit)) from None
        promise = await self._recorded(call, capability, asked, param)
        if promise["state"] == "pending":
            under_way = self._permits.house.performing
            promise = await asyncio.shield(under_way.join(promise["id"], partial(self._perform, capability, asked)))
        else:
            self.replayed += 1
        return self._told(call, promise)

    def _bounded(self, packed: str | None) -> None:
        """Refuse calls or arguments over the limits; counted alike when it is replayed."""
        self._bytes += len(packed or "")
        calls = self._counts.total()
        if calls > CALLS_MAX:
            raise ResourceLimitExceeded("host calls", CALLS_MAX, calls)
        if self._bytes > RECORDED_BYTES_MAX:
            raise ResourceLimitExceeded("arguments of host calls", RECORDED_BYTES_MAX, self._bytes)

    def _capability(self, call: HostCall) -> Capability:
        found = self._permits.house.capabilities.get(call.capability)
        if found is None:
            raise self._denial(call, None, "there is no such capability")
        if not found.performs and found.name != "sleep":
            raise self._denial(call, None, "what waits for people is not asked from a sandbox: it runs to its end")
        return found

    def _denial(self, call: HostCall, decision: PolicyDecision | None, reason: str) -> CapabilityDenied:
        resource = decision.resource.name if decision is not None and decision.resource is not None else ""
        what = f"{call.capability}.{call.method}" if call.method else call.capability
        return CapabilityDenied(self._permits.component, what, resource, reason)

    # -- recording ----------------------------------------------------------------------------------------------

    async def _recorded(
        self, call: HostCall, capability: Capability, asked: CapabilityCall, param: dict[str, Any]
    ) -> dict[str, Any]:
        """The call's promise: the recorded one, which keeps the decision that it was recorded with, or a new one."""
        self._counts[call.capability] += 1
        promise_id = ids.call_promise(self.execution, call.capability, self._counts[call.capability])
        asked.key = promise_id
        decision = capability.allow(asked, self._permits.policy)
        if decision.verdict == "ask":  # nobody is asked while foreign code runs
            decision = decision._replace(verdict="denied")
        if decision.resource is None and (touched := capability.touches(asked)):
            decision = decision._replace(resource=touched[0])
        made = digest(call.capability, param)
        tags = call_tags(promise_id, ids.execution_promise(self.execution), call.capability, made)
        tags["durable:decision"] = f"{decision.verdict}: {decision.reason}"[:500]
        tags["durable:component"] = self._permits.component
        if self._code:
            tags[CODE_TAG] = self._code
        if call.fuel is not None and self._meter:
            tags[FUEL_TAG] = f"{self._meter}:{call.fuel}"
        packed = pack(param)
        self._bounded(packed)
        record = {"id": promise_id, "timeoutAt": TIME_MAX_MS, "param": {"data": packed}, "tags": tags}
        promise = await self._request("promise.create", record)
        self._compare(promise_id, promise["tags"], tags)
        if promise["state"] == "pending" and promise["tags"]["durable:decision"].startswith("denied"):
            denial = self._denial(call, decision, decision.reason)
            found = {**document(denial, self.execution), "action": denial.action, "resource": denial.resource}
            self._permits.house.audit.decided(asked, decision)
            promise = await self._request("promise.settle", {"id": promise_id, **failed_with(found)})
        return promise

    def _compare(self, promise_id: str, recorded: dict[str, str], made: dict[str, str]) -> None:
        """Check that this is the call recorded in this place, by what is asked and by what it took to come here."""
        if self._code and recorded.get(CODE_TAG, self._code) != self._code:
            raise Conflict(
                f"execution {self.execution!r} has calls of other code recorded; give this code an id of its own"
            )
        if recorded.get("durable:digest") != made["durable:digest"]:
            raise NonDeterminism(promise_id, "the same call with other arguments", f"{made['durable:name']} with these")
        before, now = recorded.get(FUEL_TAG, ""), made.get(FUEL_TAG, "")
        if before.partition(":")[0] == now.partition(":")[0] and before != now:
            was, used = before.partition(":")[2], now.partition(":")[2]
            raise NonDeterminism(promise_id, f"this call after {was} units of fuel", f"it after {used}")

    # -- performing ---------------------------------------------------------------------------------------------

    async def _perform(self, capability: Capability, asked: CapabilityCall) -> dict[str, Any]:
        await self._permits.delay(asked)
        try:
            value = to_json(await self._effect(capability, asked), f"the result of {capability.name}")
        except Exception as raised:
            return await self._request("promise.settle", {"id": asked.key, **failed_by(raised, self.execution)})
        return await self._request("promise.settle", {"id": asked.key, **succeeded(capability, value)})

    async def _effect(self, capability: Capability, asked: CapabilityCall) -> Any:
        """Perform it; what it gives."""
        house = self._permits.house
        house.audit.decided(asked, capability.allow(asked, self._permits.policy))
        if capability.name == "sleep":
            await asyncio.sleep(asked.arguments["seconds"])
            return None
        return await capability.perform(asked, house.threads.run)

    async def _request(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await self._permits.house.store.request(kind, data)).data["promise"]
        return found

    def _told(self, call: HostCall, promise: dict[str, Any]) -> Any:
        value = unpack((promise.get("value") or {}).get("data"))
        if promise["state"] == "resolved":
            return value
        found = read_document(value)
        kind, text = str(found.get("exception_type") or ""), str(found.get("exception_message") or "")
        if kind == "durable.CapabilityDenied":
            reason = promise["tags"].get("durable:decision", "").partition(": ")[2] or text
            raise CapabilityDenied(
                self._permits.component, str(found.get("action")), str(found.get("resource")), reason
            )
        if kind == "durable.Denied":
            raise self._denial(call, None, text)
        raise CallFailed(kind or promise["state"], text)
