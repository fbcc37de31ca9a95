"""The calls of one pass: matched with the record, decided, performed or put to a person, recorded, answered.

Invariants (specs/capability.md): the promise exists before an effect begins, the answer is recorded before the code
gets it, a recorded call keeps the decision that it was recorded with, and a new one is made under the policy that
allowed it or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from bridge.protocol.messages import Call, CallResult
from capabilities.call import CapabilityCall, denied
from capabilities.capability import Capabilities, Capability
from capabilities.permissions.levels import QUESTIONS
from capabilities.permissions.policy import Policy, PolicyDecision
from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.errors import BadArguments, DurableError, EngineClosed, StoreRefused
from durable.core.events import CallDecided, CallPerformed
from durable.core.limits import PROMPT_CHARS_MAX
from durable.functions.failures import document
from durable.functions.replay.matching import Made
from durable.records.values import digest, pack, to_json
from durable.sessions.calls.call_results import answered, ended, error, outcome, refused
from durable.sessions.calls.call_settlement import failed_by, succeeded
from durable.sessions.calls.session_policy import Permits
from durable.sessions.execution.cell import Pass

type Answers = Callable[[Call], Awaitable[CallResult]]
"""Answers the calls of code that runs."""

POLICY_TRIES_MAX = 20
"""How often a call is decided anew because the permissions changed in between."""


class JournaledCalls:
    """Answers the calls of the code that `found` runs."""

    def __init__(self, found: Pass, epoch: int, permits: Permits) -> None:
        self.found = found
        self.permits = permits
        self.house = permits.house
        self._session = permits.session
        self._epoch = epoch
        self._waits: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reported: frozenset[int] = frozenset()

    async def answer(self, call: Call) -> CallResult:
        """Answer one call; raises NonDeterminism and StoreRefused, which stop the pass."""
        found = self.found
        capability = _called(self.house.capabilities, call)
        if call.execution_id != found.execution_id or capability is None:
            return self._refused(call)
        try:
            said = _said(capability, call)
            policy = await self.permits.current()
            # Also a recorded call names only what may be named: what it would touch must be sound.
            capability.touches(self._asked(call, said.arguments, policy, ""))
        except (DurableError, ValueError, TypeError, OSError, RecursionError) as unfit:  # what odd arguments come to
            self.permits.unfit(call, unfit)
            return error(call.call, document(unfit, found.execution_id))
        sequence = found.journal.calls(capability.place)
        sequence.concurrent = sequence.concurrent or not call.ordered
        known = sequence.highest
        said = said._replace(digest=digest(capability.place, said.param))
        n = sequence.take(Made("call", capability.place, said.digest))
        promise_id = ids.call_promise(found.execution_id, capability.place, n)
        promise = await self._recorded(call, capability, said, promise_id, new=n > known)
        if promise["state"] != "pending":
            return await self._told(call, capability, promise)
        if not capability.performs:
            promise = await self.settled(call.call, promise_id)
            if promise["state"] == "rejected_canceled" and not found.open:
                return ended(call)  # a thread asked, its cell's end took the question back: it asks the next one
            return answered(call, promise)
        perform = partial(self._perform, call, capability, said.arguments, promise_id)
        promise = await asyncio.shield(self.house.performing.join(promise_id, perform))
        return await self._told(call, capability, promise)

    def _asked(self, call: Call, arguments: dict[str, Any], policy: Policy, key: str) -> CapabilityCall:
        return self.permits.call(call, _method(call), arguments, policy, key)

    def _refused(self, call: Call) -> CallResult:
        """Refuse a call of another execution, or of a capability that nobody knows."""
        reason = "it is of another execution" if call.execution_id != self.found.execution_id else "there is none"
        who = (self._session, self.found.execution_id, call.capability, "")
        self.house.audit.note(*who, "denied", reason)
        return refused(call, self._session)

    # -- deciding and recording ---------------------------------------------------------------------------------

    async def _recorded(
        self,
        call: Call,
        capability: Capability,
        said: CallArguments,
        promise_id: str,
        *,
        new: bool,
    ) -> dict[str, Any]:
        """The call's promise: the recorded one, or a new one under the decision that it is made with."""
        from durable.sessions.calls.permission_prompt import ask_for

        if not new:
            return await self._create(capability, said, promise_id)
        allowed_by: PolicyDecision | None = None
        for attempt in range(POLICY_TRIES_MAX):
            policy = await self.permits.current(again=attempt > 0)
            asked = self._asked(call, said.arguments, policy, promise_id)
            decision = allowed_by or capability.allow(asked, policy)
            if decision.verdict == "ask":
                allowed_by = decision = await ask_for(self, call, capability, asked, decision)
                policy = await self.permits.current(again=True)
            settle = await self._settlement(asked, capability, decision)
            promise = await self._create(capability, said, promise_id, decision, policy, settle)
            if promise:
                self.house.audit.decided(asked, decision)
                if self.house.observer.watching:
                    execution, verdict = self.found.execution_id, decision.verdict
                    told = CallDecided(execution, self._session, promise_id, capability.place, verdict)
                    self.house.observer(told)
                return promise
        raise DurableError(f"the permissions of {self._session!r} change faster than a call can be decided")

    async def _settlement(
        self, asked: CapabilityCall, capability: Capability, decision: PolicyDecision
    ) -> dict[str, Any] | None:
        """How a new call is settled as it is recorded: a refusal, or what can be had without any effect."""
        if decision.verdict == "denied":
            return failed_by(denied(self._session, capability.name, decision), self.found.execution_id)
        return await self._made(capability, asked) if capability.pure else None

    async def _create(
        self,
        capability: Capability,
        said: CallArguments,
        promise_id: str,
        decision: PolicyDecision | None = None,
        policy: Policy | None = None,
        settle: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        place = capability.place
        tags = call_tags(promise_id, self.found.promise_id, place, said.digest)
        if self.found.journal.calls(place).concurrent:
            tags["durable:concurrent"] = "1"  # a thread of an earlier cell is gone when this is run again
        if decision is not None:
            tags["durable:decision"] = f"{decision.verdict}: {decision.reason}"[:500]
        if self.found.traceparent and not capability.performs:
            tags[ids.TRACEPARENT] = self.found.traceparent
        if capability.kind == "scheduled":
            tags["resonate:timer"] = "true"
        timeout_at = TIME_MAX_MS if said.limit_s is None else min(TIME_MAX_MS, now_ms() + int(said.limit_s * 1000))
        record = {"id": promise_id, "timeoutAt": timeout_at, "param": {"data": pack(said.param)}, "tags": tags}
        return await self.create(record, policy, settle)

    async def create(
        self, record: dict[str, Any], policy: Policy | None = None, settle: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Record a promise of this execution, whose settlement wakes it; {} when the policy is another one by now."""
        request = {
            "session": self._session,
            "epoch": self._epoch,
            "awaiter": self.found.promise_id,
            "promise": record,
            "policy": None if policy is None else policy.version,
            "settle": None if settle is None else {"id": record["id"], **settle},
        }
        found: dict[str, Any] = (await self.house.store.request("call.create", request)).data["promise"] or {}
        return found

    # -- performing ---------------------------------------------------------------------------------------------

    async def _perform(
        self, call: Call, capability: Capability, arguments: dict[str, Any], promise_id: str
    ) -> dict[str, Any]:
        began_at = now_ms()
        asked = self._asked(call, arguments, await self.permits.current(), promise_id)
        settle = {"id": promise_id, **await self._made(capability, asked)}
        promise: dict[str, Any] = (await self.house.store.request("promise.settle", settle)).data["promise"]
        if self.house.observer.watching:
            self._performed(capability, promise, began_at)
        if promise["state"] == "rejected_canceled" and not self.found.open:
            return {**promise, **settle}  # its cell's end was first: the thread that called gets what was done for it
        return promise

    def _performed(self, capability: Capability, promise: dict[str, Any], began_at: int) -> None:
        ok, found = promise["state"] == "resolved", self.found
        call, place = promise["id"], capability.place
        told = CallPerformed(found.execution_id, self._session, call, place, ok, began_at, found.traceparent)
        self.house.observer(told)

    async def _made(self, capability: Capability, asked: CapabilityCall) -> dict[str, Any]:
        """Perform the call; returns how its promise is settled."""
        try:
            value = to_json(await capability.perform(asked, self.house.threads.run), f"the result of {capability.name}")
        except Exception as raised:
            self.permits.failed(asked, raised)
            return failed_by(raised, self.found.execution_id)
        return succeeded(capability, value)

    async def _told(self, call: Call, capability: Capability, promise: dict[str, Any]) -> CallResult:
        """The result for the code; for a call that answers with a promise, what that one is settled with."""
        found = answered(call, promise)
        if _method(call) not in capability.waits or found.error is not None:
            return found
        awaited = (await self.house.store.request("promise.get", {"id": found.value})).data["promise"]
        if awaited["state"] == "pending":
            awaited = await self.settled(call.call, awaited["id"])
        return outcome(call.call, awaited)

    # -- waiting ------------------------------------------------------------------------------------------------

    async def settled(self, number: int, promise_id: str) -> dict[str, Any]:
        """Wait for a promise on behalf of a call. While the code can go on meanwhile it gets the answer at once, else
        with the next leaf.
        """
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waits[number] = future
        self.found.open_calls[number] = promise_id
        watching = asyncio.create_task(self._watch(number, promise_id))
        self._wait_if_all()
        try:
            return await future
        finally:
            watching.cancel()
            self._waits.pop(number, None)
            self.found.open_calls.pop(number, None)

    async def _watch(self, call: int, promise_id: str) -> None:
        try:
            await self.house.store.settled(promise_id)
        except (StoreRefused, EngineClosed):
            return  # whoever closes tells the waiter
        except Exception as error:
            self._waits[call].set_exception(error)  # or the code would wait for ever
            return
        if not self.found.waits:  # else the lease is given back, and the settlement brings the next leaf
            await self.deliver({call: promise_id})

    def waiting(self, calls: list[int]) -> None:
        """The worker says that it can do nothing until one of these is answered."""
        self._reported = frozenset(calls)
        self._wait_if_all()

    def _wait_if_all(self) -> None:
        """A report may come before its calls are recorded: it counts when the last of them is."""
        if self._reported and all(call in self._waits for call in self._reported):
            self.found.wait()

    async def deliver(self, calls: dict[int, str] | None = None) -> None:
        """Give the code the answers that have come: to these calls, or to all that are open."""
        store = self.house.store
        asked = list((self.found.open_calls if calls is None else calls).items())
        answers = await asyncio.gather(*(store.request("promise.get", {"id": promise}) for _, promise in asked))
        for (number, _), answer in zip(asked, answers, strict=True):
            promise = answer.data["promise"]
            future = self._waits.get(number)
            if promise["state"] != "pending" and future is not None and not future.done():
                self._reported = frozenset()
                self.found.go_on()
                future.set_result(promise)


async def answer_unrecorded(permits: Permits, call: Call) -> CallResult:
    """A call of code without a journal: decided and performed, never recorded. People and timers need a record."""
    capability = _called(permits.house.capabilities, call)
    if capability is None or not capability.performs or capability.waits:
        return refused(call, permits.who)
    asked: CapabilityCall | None = None
    try:
        policy = await permits.current()
        asked = permits.call(call, _method(call), _said(capability, call).arguments, policy, "")
        decision = capability.allow(asked, policy)
        if decision.verdict != "allowed":
            raise asked.refuse(decision)
        permits.house.audit.decided(asked, decision)
        value = to_json(await capability.perform(asked, permits.house.threads.run), f"the result of {capability.name}")
    except Exception as raised:
        if asked is None:
            permits.unfit(call, raised)
        else:
            permits.failed(asked, raised)
        return error(call.call, document(raised, call.execution_id))
    return CallResult(call=call.call, value=None if capability.kind == "send_only" else value)


def _method(call: Call) -> str:
    found = call.arguments.get("method", "")
    return found if isinstance(found, str) else "?"


class CallArguments(NamedTuple):
    """Arguments by parameter, what the call's promise records of them, its deadline in seconds, and their digest."""

    arguments: dict[str, Any]
    param: dict[str, Any]
    limit_s: float | None = None
    digest: str = ""


def _called(known: Capabilities, call: Call) -> Capability | None:
    """The capability that is called. Questions to people come as calls of `input`, with their form as method."""
    form = _method(call)
    return known.get(form if call.capability == "input" and form in QUESTIONS else call.capability)


def _said(capability: Capability, call: Call) -> CallArguments:
    """The arguments of a call, bound and checked. BadArguments."""
    from capabilities.standard.prompts import Question

    args, kwargs = call.arguments.get("args", []), call.arguments.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadArguments("a call's arguments are a list and a map")
    if capability.name == "input":
        return CallArguments({}, _question(args, kwargs))
    if isinstance(capability, Question):
        prompt, limit = capability.asked(capability.bind("", args, kwargs), kwargs)
        return CallArguments({}, to_json(prompt.record(), "the question"), limit)
    method = _method(call)
    arguments = capability.bind(method, args, kwargs)
    param: dict[str, Any] = {"args": args, "kwargs": kwargs}
    if method:
        param["method"] = method
    limit_s = None
    if capability.kind == "scheduled":
        param["seconds"] = limit_s = float(arguments["seconds"])
    to_json(param, f"what {capability.name} is given")
    return CallArguments(arguments, param, limit_s)


def _question(args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    from capabilities.standard.prompts import question

    if len(args) > 1 or not kwargs.keys() <= {"secret"}:
        raise BadArguments("input() takes one argument: the question")
    text = str(args[0]) if args else ""
    # input() is asked with any text, or none; what is too long for a question goes into its context.
    asked = {"question": (text.strip() or "input")[:PROMPT_CHARS_MAX], "secret": kwargs.get("secret") is True}
    if len(text.strip()) > PROMPT_CHARS_MAX:
        asked["context"] = text
    return question("input", asked)[0].record()


def call_tags(promise_id: str, execution: str, capability: str, arguments: str) -> dict[str, str]:
    """The tags of a call's promise."""
    return {
        "resonate:scope": "global",
        "resonate:external": "true",
        "resonate:origin": ids.ORIGIN,
        "resonate:parent": ids.ORIGIN,
        "resonate:branch": promise_id,
        "durable:capability": capability,
        "durable:execution": execution,
        "durable:kind": "call",
        "durable:name": capability,
        "durable:digest": arguments,
    }
