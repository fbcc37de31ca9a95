"""The components that one engine knows, and calls of them whose host calls are recorded."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.errors import ComponentNotFound
from capabilities.sandbox.host_calls import Port
from capabilities.sandbox.wasm.component_call import ComponentCall
from capabilities.sandbox.wasm.component_imports import Interface
from capabilities.sandbox.wasm.exports import Inputs
from capabilities.sandbox.wasm.host_interface import Locals
from capabilities.sandbox.wasm.module_call import CoreCall, Outcome
from capabilities.sandbox.wasm.runtime import Component, Module, Runtime, is_component
from durable.core.errors import NotDeclared
from durable.sandbox.component_policy import ComponentPermits
from durable.sandbox.component_registry import Declared
from durable.sandbox.sandbox_calls import SandboxCalls
from durable.sandbox.wasm import called
from durable.sessions.services import House

ADDED_S = 10.0
"""From an engine's opening, and from the last component that was added, until none is waited for any more (R9)."""


def _id(manifest: ComponentManifest) -> dict[str, str]:
    return {"namespace": "", "name": manifest.id, "version": manifest.version}


@dataclass(frozen=True, slots=True)
class Known:
    """A component as this engine has it: compiled, with its permits."""

    manifest: ComponentManifest
    code: Module | Component
    permits: ComponentPermits
    meter: str
    """The meter of its fuel, for comparing a replay with its record."""
    interfaces: Mapping[str, Interface]
    data: bytes
    """Its bytes as they were added."""


class Components:
    """The components of one engine, by id."""

    def __init__(self, house: House, runtime: Runtime, declared: Declared | None = None) -> None:
        """runtime: whoever made it closes it. declared: known when they are needed."""
        self.runtime = runtime
        self._house = house
        self._declared = declared or Declared()
        self._compiling = asyncio.Lock()
        self._known: dict[str, Known] = {}
        self._adding = 0
        self._changed_at = time.monotonic()
        self._change = asyncio.Event()

    async def add(
        self, manifest: ComponentManifest, data: bytes, interfaces: Mapping[str, Interface] | None = None
    ) -> Known:
        """Compile it and know it by its manifest's id; one of the same id is replaced. ComponentLoadFailed.

        interfaces: more host functions for a component (`capabilities.sandbox.wasm.component_imports`).
        They are not recorded: they have to give the same for the same arguments.
        """
        self._adding += 1
        try:
            return await self._add(manifest, data, interfaces or {})
        finally:
            self._adding -= 1
            self._changed_at = time.monotonic()
            self._change.set()
            self._change = asyncio.Event()

    async def _add(self, manifest: ComponentManifest, data: bytes, interfaces: Mapping[str, Interface]) -> Known:
        code = await asyncio.to_thread(self._compiled, data, manifest.id)
        meter = hashlib.sha256(self.runtime.key(data).encode()).hexdigest()[:16]
        permits = ComponentPermits(self._house, manifest)
        replaced = self._known.get(manifest.id)
        self._known[manifest.id] = found = Known(manifest, code, permits, meter, interfaces, data)
        if replaced is not None:
            await replaced.permits.close()
        return found

    async def added(self, component: str) -> None:
        """Return when it is known, or nobody is about to add it (R9). NotDeclared where it has to be declared (R10)."""
        while component not in self._known and self._declared.get(component) is None:
            if self._declared.finds:
                raise NotDeclared(
                    f"component {component!r} is declared by nothing that was loaded here; in the function's file: "
                    f'durable.Component("Component.toml", "code.wasm")'
                )
            left = None if self._adding else self._changed_at + ADDED_S - time.monotonic()
            try:
                async with asyncio.timeout(left):
                    await self._change.wait()
            except TimeoutError:
                return

    async def have(self, component: str) -> Known:
        """The component as it was added or else declared, compiled now. ComponentNotFound, ComponentLoadFailed."""
        if component not in self._known and (declared := self._declared.get(component)) is not None:
            async with self._compiling:
                if component not in self._known:
                    await self.add(declared.manifest, await asyncio.to_thread(declared.read))
        return self.get(component)

    def get(self, component: str) -> Known:
        """The component of that id. ComponentNotFound says which there are."""
        found = self._known.get(component)
        if found is None:
            there = ", ".join(sorted(self._manifests())) or "none"
            raise ComponentNotFound(f"no component {component!r} is known to this engine; known: {there}")
        return found

    def _manifests(self) -> dict[str, ComponentManifest]:
        return {**self._declared.manifests(), **{name: each.manifest for name, each in self._known.items()}}

    async def call(self, component: str, function: str, *args: Any, execution_id: str) -> Outcome:
        """Call an export in a fresh instance. The same execution id again replays the host calls that are recorded.

        ComponentNotFound, ExecutionFailed, the one SandboxError of what stopped it, or NonDeterminism.
        """
        return await self.run(component, function, args, execution_id)

    async def run(self, component: str, function: str, inputs: Inputs, execution_id: str) -> Outcome:
        """The same, by the names of the parameters or in their order; function "" is what the code begins with."""
        known = await self.have(component)
        call = self._call(known, SandboxCalls(known.permits, execution_id, known.meter))
        call.guard.pace = known.permits.together.pace
        async with known.permits.together.room(known.manifest.limits.memory):
            return await called(self.runtime, call, function, inputs)

    def _call(self, known: Known, calls: SandboxCalls) -> CoreCall | ComponentCall:
        name, limits = known.manifest.id, known.manifest.limits
        if isinstance(known.code, Module):
            return CoreCall(self.runtime, known.code, limits, port=calls.port, component=name)
        return self.component_call(known, calls.port, self.locals())

    def component_call(self, known: Known, port: Port, locals: Locals) -> ComponentCall:
        """A fresh instance of a component, that asks this port, and has these functions of the engine's own."""
        assert not isinstance(known.code, Module)
        name, limits = known.manifest.id, known.manifest.limits
        interfaces = known.interfaces
        return ComponentCall(
            self.runtime, known.code, limits, interfaces=interfaces, port=port, locals=locals, name=name
        )

    def _compiled(self, data: bytes, name: str) -> Module | Component:
        return self.runtime.component(data, name) if is_component(data) else self.runtime.module(data, name)

    def locals(self) -> dict[str, Callable[..., Any]]:
        """The answers of this engine itself to `durable:host`."""
        known = self._manifests()

        def listed() -> list[dict[str, str]]:
            return [_id(each) for _, each in sorted(known.items())]

        def about(name: str) -> dict[str, Any] | None:
            found = known.get(name)
            return None if found is None else {"id": _id(found), "description": ""}

        return {"list-components": listed, "get-component-metadata": about}

    async def close(self) -> None:
        """End what capabilities keep for components."""
        for known in self._known.values():
            await known.permits.close()
