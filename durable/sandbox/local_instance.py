"""The instance of an actor in memory that is a component or a core module (specs/actors.md, L6-L8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from capabilities.actors.errors import ActorNotReady
from capabilities.actors.states import ComponentState
from capabilities.sandbox.errors import ComponentTrapped
from capabilities.sandbox.wasm.actor_instance import ActorInstance, InstanceMessage
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Module
from capabilities.sandbox.wasm.wit_values import Err
from durable.sandbox.component_instances import SAVED_BYTES_MAX, end_instance
from durable.sandbox.components import Components
from durable.sandbox.unrecorded_calls import UnrecordedCalls


class LocalInstance:
    """One incarnation. `saved`: what the one before it had saved; None to begin."""

    def __init__(self, components: Components, component: str, actor: str, saved: bytes | None = None) -> None:
        self.saved = saved
        self._components = components
        self._component = component
        self._actor = actor
        self._room = AsyncExitStack()
        self._instance: ActorInstance | None = None

    async def start(self, config: bytes) -> None:
        """Compile it where that is not done, make it, and call its start. What stopped it; then it holds nothing."""
        known = await self._components.have(self._component)
        limits, together = known.manifest.limits, known.permits.together
        await self._room.enter_async_context(together.room(limits.memory))
        try:
            calls = UnrecordedCalls(known.permits, f"{self._actor}@0")
            if isinstance(known.code, Module):
                runtime, name = self._components.runtime, known.manifest.id
                call: Any = CoreCall(runtime, known.code, limits, port=calls.port, component=name)
            else:
                locals: dict[str, Callable[..., Any]] = {
                    **self._components.locals(),
                    "state-load": self._load,
                    "state-save": self._save,
                }
                call = self._components.component_call(known, calls.port, locals)
            call.guard.pace = together.pace
            self._instance = instance = ActorInstance(call, self._actor)
            await self._run(lambda: instance.start(config))
        except BaseException:
            await self.end()
            raise

    async def take(self, message: InstanceMessage) -> Any:
        """The reply to a message. ActorNotReady, Dropped, Err for the component's own error, or what stopped it."""
        return await self.visit(lambda: self.take_here(message))

    async def visit[T](self, work: Callable[[], T]) -> T:
        """Do it in a thread that may call the instance, by `take_here`. A cancellation stops the call there."""
        if self._instance is None:
            raise ActorNotReady(self._actor, str(ComponentState.CREATING))
        return await self._run(work)

    def take_here(self, message: InstanceMessage) -> Any:
        """The same in this thread."""
        instance = self._instance
        if instance is None:
            raise ActorNotReady(self._actor, str(ComponentState.CREATING))
        value = instance.take(message).value
        if instance.call.closed:
            raise ComponentTrapped("it ended the program: an actor lives on, its functions return")
        return value

    @property
    def alive(self) -> bool:
        """Whether it takes messages: it was started, and no trap or limit has ended it."""
        return self._instance is not None and not self._instance.ended

    @property
    def started_at(self) -> float | None:
        """Seconds since the epoch; None before its start has returned (A31)."""
        return None if self._instance is None else self._instance.started_at

    async def end(self) -> None:
        """Call its cleanup, and give back all that it holds. Idempotent."""
        instance, self._instance = self._instance, None
        try:
            if instance is not None:
                await end_instance(self._components, instance)
        finally:
            await self._room.aclose()

    async def _run[T](self, work: Callable[[], T]) -> T:
        instance = self._instance
        assert instance is not None
        try:
            return await self._components.runtime.threads.run(work)
        except asyncio.CancelledError:
            instance.call.cancel()
            raise

    def _load(self) -> bytes | None:
        return self.saved

    def _save(self, state: bytes) -> None:
        if len(state) > SAVED_BYTES_MAX:
            text = f"a state of {len(state)} bytes; at most {SAVED_BYTES_MAX} can be saved"
            raise Err({"kind": "ResourceLimitExceeded", "message": text})
        self.saved = state
