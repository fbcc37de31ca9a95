"""The components that one engine knows, and calls of them whose host calls are recorded."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

from capabilities.sandbox.call import CoreCall, Outcome
from capabilities.sandbox.errors import ComponentNotFound
from capabilities.sandbox.manifest import ComponentManifest
from capabilities.sandbox.runtime import Module, Runtime
from durable.sandbox.permits import ComponentPermits
from durable.sandbox.recorded import RecordedCalls
from durable.sessions.confined import directory_of
from durable.sessions.house import House


@dataclass(frozen=True, slots=True)
class Known:
    """A component as this engine has it: compiled, with its permits."""

    manifest: ComponentManifest
    code: Module
    permits: ComponentPermits
    meter: str
    """What its fuel is counted by, for comparing a replay with its record."""


class Components:
    """By id. The runtime is made with the first, its compiled code kept beside the store."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._runtime: Runtime | None = None
        self._known: dict[str, Known] = {}

    @property
    def runtime(self) -> Runtime:
        """The engine of WebAssembly, made when it is first needed."""
        if self._runtime is None:
            self._runtime = Runtime(directory_of(self._house.store, "any").parents[1] / "compiled")
        return self._runtime

    async def add(self, manifest: ComponentManifest, data: bytes) -> Known:
        """Compile it and know it by its manifest's id; one of the same id is replaced. ComponentLoadFailed."""
        code = await asyncio.to_thread(self.runtime.module, data, manifest.id)
        meter = hashlib.sha256(self.runtime.key(data).encode()).hexdigest()[:16]
        permits = ComponentPermits(self._house, manifest)
        replaced = self._known.get(manifest.id)
        self._known[manifest.id] = found = Known(manifest, code, permits, meter)
        if replaced is not None:
            await replaced.permits.close()
        return found

    def get(self, component: str) -> Known:
        """ComponentNotFound says which there are."""
        found = self._known.get(component)
        if found is None:
            there = ", ".join(sorted(self._known)) or "none"
            raise ComponentNotFound(f"no component {component!r} is known to this engine; known: {there}")
        return found

    async def call(self, component: str, function: str, *args: Any, execution_id: str) -> Outcome:
        """Call an export in a fresh instance. The same execution id again replays the host calls that are recorded.

        ComponentNotFound, ExecutionFailed, the one SandboxError of what stopped it, or NonDeterminism.
        """
        known = self.get(component)
        calls = RecordedCalls(known.permits, execution_id, known.meter)
        limits = known.manifest.limits
        call = CoreCall(self.runtime, known.code, limits, port=calls.port, component=component)
        try:
            return await self.runtime.threads.run(lambda: call.call(function, *args))
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def close(self) -> None:
        """End what capabilities keep for components, and the runtime's threads."""
        for known in self._known.values():
            await known.permits.close()
        if self._runtime is not None:
            self._runtime.close()
