"""Asking a person whether code may do something: once, in this session, always, or not (specs/permission.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bridge.protocol.messages import Call
from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.grants import grant_text
from capabilities.permissions.policy import PolicyDecision
from capabilities.prompts.prompt import Settlement, prompt_for
from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.functions.replay.matching import ASKS, Made
from durable.records.values import digest, pack, unpack
from durable.sessions.permissions import EVERYWHERE, PermissionChanges

if TYPE_CHECKING:
    from durable.sessions.calls.journaled_calls import JournaledCalls

ONCE, SESSION, ALWAYS, DENY = "allow once", "allow in this session", "always allow", "deny"
CONTEXT_CHARS_MAX = 4_000


async def ask_for(
    calls: JournaledCalls, call: Call, capability: Capability, asked: CapabilityCall, decision: PolicyDecision
) -> PolicyDecision:
    """Put the ask to a person and wait; what was decided, and by whom. Asked once: a replay finds the question."""
    found = calls.found
    text = grant_text(capability.name, decision.resource)
    sequence = found.journal.asks()
    made = Made("call", "input", digest("permission", asked.key, text), ASKS)
    ask_id = ids.call_promise(found.execution_id, "input", sequence.take(made))
    what = f"{capability.name} to {decision.resource.shown()}" if decision.resource is not None else capability.name
    prompt = prompt_for(
        f"May the code of session {asked.session!r} call {what[:600]}?",
        choices=[ONCE, SESSION, ALWAYS, DENY],
        title="permission",
        context=json.dumps(call.arguments, ensure_ascii=False)[:CONTEXT_CHARS_MAX],
    )
    tags = {
        "resonate:scope": "global",
        "resonate:external": "true",
        "resonate:origin": ids.ORIGIN,
        "resonate:parent": ids.ORIGIN,
        "resonate:branch": ask_id,
        "durable:capability": "input",
        "durable:execution": found.promise_id,
        "durable:kind": made.kind,
        "durable:name": made.name,
        "durable:digest": made.digest,
        "durable:scope": ASKS,
    }
    record = {"id": ask_id, "timeoutAt": TIME_MAX_MS, "param": {"data": pack(prompt.record())}, "tags": tags}
    promise = await calls.create(record)
    if promise["state"] == "pending":
        promise = await calls.settled(call.call, ask_id)
    if promise["state"] != "resolved":
        return PolicyDecision("denied", "nobody said whether it may", decision.resource)
    answer = Settlement.from_record(unpack((promise.get("value") or {}).get("data")))
    by = answer.by or "a person"
    if answer.declined or answer.value not in (ONCE, SESSION, ALWAYS):
        return PolicyDecision("denied", f"{by} said no", decision.resource)
    if answer.value != ONCE:
        changes = PermissionChanges(calls.house.store, calls.house.capabilities, calls.house.audit)
        where = asked.session if answer.value == SESSION else EVERYWHERE
        await changes.grant(where, text, by=by, ask=ask_id)
    return PolicyDecision("allowed", f"{by} said: {answer.value}", decision.resource)
