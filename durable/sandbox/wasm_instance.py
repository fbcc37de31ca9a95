"""State of a core module that lives on from call to call: kept with each, given to the next one's fresh instance."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from capabilities.sandbox.errors import InvalidConfiguration
from capabilities.sandbox.wasm.fuel_meter import Outcome
from capabilities.sandbox.wasm.runtime import Module
from capabilities.sandbox.wasm.snapshot import Snapshotable, give, take
from durable.sandbox.components import Components, Known
from durable.sandbox.sandbox_calls import SandboxCalls

_PURPOSE = b"durable: the state of an instance\0"


def key_of(secret: bytes, execution_id: str, component: str, instance: str) -> bytes:
    """The key that signs the state after that call: no other call's, no other instance's, and nobody else's (I4)."""
    return hmac.digest(secret, _PURPOSE + "\0".join((execution_id, component, instance)).encode(), "sha256")


def sources_of(known: Known, components: Components) -> Snapshotable:
    """The module as its state can be taken. InvalidConfiguration for a component, ComponentValidationFailed (N2)."""
    if not isinstance(known.code, Module):
        raise InvalidConfiguration(
            f"{known.manifest.id} is a component: its state ends with each call; only core modules have instances"
        )
    return Snapshotable.load(components.runtime, known.data, known.manifest.id)


async def call_instance(
    components: Components,
    component: str,
    function: str,
    *args: Any,
    execution_id: str,
    instance: str,
    kept: tuple[str, bytes] | None,
) -> tuple[Outcome, bytes]:
    """Call an export of an instance as it was after an earlier call; what it gave, and its state, signed.

    kept: the execution id of that call and what it gave of state; None to begin. Else as `Components.call`, and
    SnapshotRefused for a state that is not as it was kept, or of another module.
    """
    known = await components.have(component)
    calls = SandboxCalls(known.permits, execution_id, known.meter)
    runtime, secret = components.runtime, known.permits.house.store.key
    source = await asyncio.to_thread(sources_of, known, components)
    made = source.call(runtime, known.manifest.limits, port=calls.port, component=component)

    def work() -> tuple[Outcome, bytes]:
        if kept is not None:
            give(source, made, kept[1], key_of(secret, kept[0], component, instance))
        outcome = made.call(function, *args)
        return outcome, take(source, made, key_of(secret, execution_id, component, instance))

    made.guard.pace = known.permits.together.pace
    async with known.permits.together.room(known.manifest.limits.memory):
        try:
            return await runtime.threads.run(work)
        except asyncio.CancelledError:
            made.cancel()
            raise
