"""State of a core module that lives on from call to call: kept with each, given to the next one's fresh instance."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

from capabilities.actors.health import Health
from capabilities.sandbox.errors import InvalidConfiguration
from capabilities.sandbox.wasm.actor_instance import ActorInstance, Dropped, InstanceMessage
from capabilities.sandbox.wasm.fuel_meter import Outcome
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Module
from capabilities.sandbox.wasm.snapshot import Snapshotable, give, take
from durable.sandbox.component_instances import health_in_time, refuse_checked
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
    return await _with_state(
        components, component, lambda call: call.call(function, *args), execution_id, instance, kept
    )


async def take_module_message(
    components: Components,
    component: str,
    actor: str,
    message: InstanceMessage,
    execution_id: str,
    kept: tuple[str, bytes] | None,
) -> tuple[Any, bytes, str]:
    """The same with a message for an actor: its value, the state, and why nothing was called, or "".

    The module's `_start` is called where there is no state yet.
    """

    def take_message(call: CoreCall) -> Outcome | Dropped:
        instance = ActorInstance(call, actor)
        if kept is None:
            instance.start()
        else:
            instance.resume()
        try:
            return instance.take(message)
        except Dropped as dropped:
            return dropped

    found, state = await _with_state(components, component, take_message, execution_id, actor, kept)
    return (None, state, str(found)) if isinstance(found, Dropped) else (found.value, state, "")


async def module_health(
    components: Components, component: str, actor: str, kept: tuple[str, bytes], timeout_s: float
) -> Health | None:
    """The health of an actor by a fresh instance with its state, given up then; None where that took too long."""
    known = await components.have(component)
    source = await asyncio.to_thread(sources_of, known, components)
    made = source.call(components.runtime, known.manifest.limits, port=refuse_checked, component=component)
    key = key_of(known.permits.house.store.key, kept[0], component, actor)

    def check() -> Health:
        try:
            give(source, made, kept[1], key)
            instance = ActorInstance(made, actor)
            instance.resume()
            return instance.health()
        finally:
            made.close()

    made.guard.pace = known.permits.together.pace
    async with known.permits.together.room(known.manifest.limits.memory):
        return await health_in_time(components, made, check, timeout_s)


async def _with_state[T](
    components: Components,
    component: str,
    use: Callable[[CoreCall], T],
    execution_id: str,
    instance: str,
    kept: tuple[str, bytes] | None,
) -> tuple[T, bytes]:
    known = await components.have(component)
    calls = SandboxCalls(known.permits, execution_id, known.meter)
    runtime, secret = components.runtime, known.permits.house.store.key
    source = await asyncio.to_thread(sources_of, known, components)
    made = source.call(runtime, known.manifest.limits, port=calls.port, component=component)

    def work() -> tuple[T, bytes]:
        if kept is not None:
            give(source, made, kept[1], key_of(secret, kept[0], component, instance))
        outcome = use(made)
        return outcome, take(source, made, key_of(secret, execution_id, component, instance))

    made.guard.pace = known.permits.together.pace
    async with known.permits.together.room(known.manifest.limits.memory):
        try:
            return await runtime.threads.run(work)
        except asyncio.CancelledError:
            made.cancel()
            raise
