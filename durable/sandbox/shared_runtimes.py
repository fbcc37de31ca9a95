"""The common parts of one engine's sandbox backends: runtimes, and the host calls of what has no manifest."""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from capabilities.permissions.manifest import Manifest
from capabilities.sandbox.errors import InvalidConfiguration
from capabilities.sandbox.front import Task
from capabilities.sandbox.limits import JAVASCRIPT
from durable.core import ids
from durable.core.errors import BadArguments
from durable.core.extras import wasmtime_missing
from durable.sessions.services import House

if TYPE_CHECKING:
    from capabilities.sandbox.wasm.runtime import Compilations, Runtime
    from durable.sandbox.component_policy import ComponentPermits, Owner
    from durable.sandbox.sandbox_calls import SandboxCalls

KEEPING = ("kv", "read_file", "write_file", "delete_file", "list_files")
"""Capabilities that are about something of one's own, which somebody else must not come by."""
WHO = "the script"
"""Whom decisions name where nobody said who runs."""


class Shared:
    """Runtimes and host calls of one engine's backends, made when they are first needed."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._runtimes: dict[bool, Runtime] = {}

    def runtime(self, *, metered: bool) -> Runtime:
        """An engine of WebAssembly that counts fuel, or one that does not and is faster."""
        found = self._runtimes.get(metered)
        if found is None:
            from capabilities.sandbox.wasm.compiled_cache import users_cache
            from capabilities.sandbox.wasm.runtime import Runtime

            found = self._runtimes[metered] = Runtime(users_cache(), metered=metered)
        return found

    @property
    def compilations(self) -> dict[str, Compilations]:
        """Of the runtimes that were needed: "metered" counts fuel, "plain" does not."""
        return {"metered" if metered else "plain": each.compilations for metered, each in self._runtimes.items()}

    def calls(self, task: Task, meter: str = "") -> tuple[SandboxCalls, ComponentPermits]:
        """The host calls of one task, decided by its grants, recorded under its execution. meter: as there."""
        from capabilities.sandbox.component_manifest import ComponentManifest
        from durable.sandbox.component_policy import ComponentPermits
        from durable.sandbox.sandbox_calls import SandboxCalls

        owner = owner_of(task)
        for grant in task.grants:
            name = grant.partition(":")[0]
            if self.house.capabilities.get(name) is None:
                raise BadArguments(f"there is no capability {name!r} to grant")
            if name in KEEPING and not task.identity and not task.execution:
                raise InvalidConfiguration(
                    f"{name} is about what somebody keeps: say who runs (identity=…), or give the run an execution id"
                )
        manifest = ComponentManifest(task.identity or WHO, task.limits or JAVASCRIPT, _granting(tuple(task.grants)))
        permits = ComponentPermits(self.house, manifest, owner)
        execution = task.execution or (owner.name if owner.kind == "execution" else ids.mint_execution_id())
        code = task.code if isinstance(task.code, bytes) else task.code.encode(errors="surrogatepass")
        for name, source in sorted(task.modules.items()):
            raw = source if isinstance(source, bytes) else source.encode(errors="surrogatepass")
            code += f"\0{name}\0".encode(errors="surrogatepass") + raw
        program = task.program
        if program:
            code += repr((program.args, sorted(program.env.items()), sorted(program.directories))).encode()
        return SandboxCalls(permits, execution, meter, hashlib.sha256(code).hexdigest()[:16]), permits

    def close(self) -> None:
        """End the runtimes' threads."""
        for runtime in self._runtimes.values():
            runtime.close()


@lru_cache(maxsize=100)
def _granting(grants: tuple[str, ...]) -> Manifest:
    """Checked once: that takes a tenth of running a small module."""
    return Manifest(grant=grants)


def owner_of(task: Task) -> Owner:
    """The owner of storage and files: the identity, else that run alone. InvalidId."""
    from durable.sandbox.component_policy import Owner

    if task.identity:
        return Owner("script", ids.check_session_name(task.identity))
    return Owner("execution", ids.check_keeper(task.execution or ids.mint_execution_id()))


def no_wasmtime() -> str:
    """Why WebAssembly cannot be run here; "" when it can."""
    return "" if "wasmtime" in sys.modules or find_spec("wasmtime") is not None else wasmtime_missing()
