"""The backends of an engine's sandbox: JavaScript and WebAssembly in this process, Python in a confined worker."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.confine.confinement import Confinement
from bridge.confine.limits import Limits
from bridge.confine.probe import can_hold
from bridge.output_rules import OutputRules
from capabilities.permissions.manifest import Manifest
from capabilities.sandbox.errors import (
    ComponentLoadFailed,
    ExecutionFailed,
    ExecutionTimeout,
    InvalidConfiguration,
    Used,
)
from capabilities.sandbox.front import Backend, Ran, Task
from capabilities.sandbox.limits import COMPONENT, JAVASCRIPT, SandboxLimits
from capabilities.sandbox.routing import WASM_TEXT, Name
from capabilities.signature import Method
from durable.core import ids
from durable.core.errors import BadArguments, WorkerDied
from durable.functions.values import to_json
from durable.sessions.house import House
from durable.sessions.result import Result
from durable.sessions.session import unrecorded_result

if TYPE_CHECKING:
    from capabilities.sandbox.call import CoreCall
    from capabilities.sandbox.component import ComponentCall
    from capabilities.sandbox.runtime import Runtime
    from durable.engine import Engine
    from durable.sandbox.permits import ComponentPermits
    from durable.sandbox.recorded import RecordedCalls

HELD = Limits(memory=JAVASCRIPT.memory, files=64, processes=16)
"""Of Python in a worker of its own, beside its time."""
WHO = "sandbox"
"""Whom decisions and the audit name."""
ENTRIES = ("run", "main", "_start")
"""The exports that a module begins with, the first that is there."""
NO_WASMTIME = "wasmtime is not installed; `pip install durable-exec[sandbox]` brings it"


class Shared:
    """What the backends of one engine have in common, made when it is first needed."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._runtimes: dict[bool, Runtime] = {}

    def runtime(self, *, metered: bool) -> Runtime:
        """An engine of WebAssembly that counts fuel, or one that does not and is faster."""
        found = self._runtimes.get(metered)
        if found is None:
            from capabilities.sandbox.runtime import Runtime

            found = self._runtimes[metered] = Runtime(_cache(), metered=metered)
        return found

    def calls(self, task: Task, meter: str = "") -> tuple[RecordedCalls, ComponentPermits]:
        """The host calls of one task, decided by its grants, recorded under its execution. meter: as there."""
        from capabilities.sandbox.manifest import ComponentManifest
        from durable.sandbox.permits import ComponentPermits
        from durable.sandbox.recorded import RecordedCalls

        for grant in task.grants:
            if self.house.capabilities.get(grant.partition(":")[0]) is None:
                raise BadArguments(f"there is no capability {grant.partition(':')[0]!r} to grant")
        manifest = ComponentManifest(WHO, task.limits or JAVASCRIPT, Manifest(grant=tuple(task.grants)))
        permits = ComponentPermits(self.house, manifest)
        code = task.code if isinstance(task.code, bytes) else task.code.encode(errors="surrogatepass")
        made = hashlib.sha256(code).hexdigest()[:16]
        return RecordedCalls(permits, task.execution or ids.mint_execution_id(), meter, made), permits

    def close(self) -> None:
        """End the runtimes' threads."""
        for runtime in self._runtimes.values():
            runtime.close()


def _cache() -> Path:
    """Compiled code of this user, whatever the store: what is compiled is the same for all of them (S8)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "durable" / "compiled"


class JavaScript:
    """QuickJS in WebAssembly; a granted capability is an asynchronous function of its name."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def missing(self) -> str:
        """wasmtime, or the engine's file."""
        if find_spec("wasmtime") is None:
            return NO_WASMTIME
        from capabilities.javascript import quickjs

        try:
            await asyncio.to_thread(quickjs.read)
        except quickjs.EngineMissing as error:
            return str(error)
        return ""

    async def run(self, task: Task) -> Ran:
        """A fresh instance for each."""
        from capabilities.javascript.run import run
        from capabilities.javascript.vm import VM
        from capabilities.javascript.warm import warm

        limits = task.limits or JAVASCRIPT
        runtime = self._shared.runtime(metered=limits.fuel is not None)
        image = await asyncio.to_thread(warm, runtime)
        calls, permits = self._shared.calls(task)
        try:
            vm = VM(image, limits, functions=dict(self._functions(task.grants, calls)))
            value = await run(vm, _text(task), task.inputs, ordered=True)
        finally:
            await permits.close()
        used = vm.used()
        return Ran("javascript", value, used.stdout, used.stderr, used.elapsed_ms, used.fuel, used.memory)

    def _functions(self, grants: Iterable[str], calls: RecordedCalls) -> Iterable[tuple[str, Callable[..., Any]]]:
        for grant in grants:
            capability = self._shared.house.capabilities.get(grant.partition(":")[0])
            assert capability is not None
            for method in capability.methods.values():
                yield method.name, _asked(capability.name, method, calls)


def _asked(capability: str, method: Method, calls: RecordedCalls) -> Callable[..., Any]:
    """The capability as a script calls it: arguments in order, recorded by name."""
    from capabilities.sandbox.hostcalls import HostCall

    names = list(method.signature.parameters)
    how = method.name.partition(".")[2]

    async def call(*args: Any) -> Any:
        if len(args) > len(names):
            raise BadArguments(f"{method.name} takes {len(names)} arguments, {len(args)} were given")
        return await calls.answer(HostCall(capability, how, dict(zip(names, args, strict=False))))

    return call


class Wasm:
    """A core module or a component, metered; a module asks by `durable.call`, a component by `durable:host`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def missing(self) -> str:
        """wasmtime."""
        return "" if find_spec("wasmtime") is not None else NO_WASMTIME

    async def run(self, task: Task) -> Ran:
        """A fresh instance for each; its inputs are the arguments, in order."""
        data = _module(task)
        runtime = self._shared.runtime(metered=True)
        calls, permits = self._shared.calls(task, hashlib.sha256(runtime.key(data).encode()).hexdigest()[:16])
        try:
            call, entry = await asyncio.to_thread(self._made, runtime, data, task, calls)
            args = tuple(task.inputs.values())
            try:
                outcome = await runtime.threads.run(lambda: call.call(entry, *args))
            except asyncio.CancelledError:
                call.cancel()
                raise
        finally:
            await permits.close()
        used = outcome.used
        return Ran("wasm", outcome.value, used.stdout, used.stderr, used.elapsed_ms, used.fuel, used.memory)

    def _made(
        self, runtime: Runtime, data: bytes, task: Task, calls: RecordedCalls
    ) -> tuple[CoreCall | ComponentCall, str]:
        from capabilities.sandbox.call import CoreCall
        from capabilities.sandbox.component import ComponentCall
        from capabilities.sandbox.runtime import is_component

        limits, port = task.limits or COMPONENT, calls.port if task.grants else None
        if is_component(data):
            made = ComponentCall(runtime, runtime.component(data, WHO), limits, port=port, name=WHO)
            return made, _entry(made.exports()[""], "component")
        module = runtime.module(data, WHO)
        entry = _entry((each.name for each in module.exports), "module")
        return CoreCall(runtime, module, limits, port=port, component=WHO), entry


def _entry(exported: Iterable[str], what: str) -> str:
    there = set(exported)
    entry = next((name for name in ENTRIES if name in there), None)
    if entry is None:
        raise ExecutionFailed("main", f"no main: the {what} exports none of {', '.join(ENTRIES)}")
    return entry


class Python:
    """A worker of its own, isolated, that ends with the code. A granted capability is there as in a session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._slots: set[int] = set()  # names are used again: the store keeps a row for each that ever was

    async def missing(self) -> str:
        """What this machine lacks to isolate a process."""
        found = await asyncio.to_thread(can_hold, Confinement("isolated", HELD, ""))
        return "" if found.can else f"this machine cannot isolate a process, it lacks {found.lacks}"

    async def run(self, task: Task) -> Ran:
        """ExecutionError for what it raised, ResourceExceeded for what it ran out of. A value that is no JSON is its
        repr.
        """
        limits = task.limits or JAVASCRIPT
        slot = next(n for n in itertools.count(1) if n not in self._slots)
        self._slots.add(slot)
        try:
            return await self._run(task, limits, f"sandbox-{self._engine.engine_id[:12]}-{slot}")
        finally:
            self._slots.discard(slot)

    async def _run(self, task: Task, limits: SandboxLimits, name: str) -> Ran:
        code, inputs = _text(task), {key: to_json(value, f"input {key!r}") for key, value in task.inputs.items()}
        session = await self._engine.session(
            name,
            grants=task.grants,
            profile="isolated",
            limits=replace(HELD, memory=limits.memory),
            output=OutputRules(stored=limits.output),
        )
        try:
            result = await self._result(name, code, inputs, limits)
        finally:
            await session.close()
        if result.error is not None:
            result.error.printed = (result.stdout, result.stderr)
            raise result.error
        value = result.value if result.value is not None or result.repr in ("", "None") else result.repr
        return Ran("python", value, result.stdout, result.stderr, result.execution_time * 1000)

    async def _result(self, name: str, code: str, inputs: dict[str, Any], limits: SandboxLimits) -> Result:
        live = await self._engine.live(name)
        found = live.unrecorded(code, inputs, "commit_always")
        try:
            async with asyncio.timeout(limits.timeout_ms / 1000):
                return unrecorded_result(found, await live.execute(found))
        except TimeoutError:
            late = ExecutionTimeout(None, None, limits.timeout_ms, limits.timeout_ms, "the code")
            printed = found.printed()
            late.used = Used(limits.timeout_ms, stdout=printed.stdout, stderr=printed.stderr)
            raise late from None
        except WorkerDied as died:
            died.printed = (found.printed().stdout, found.printed().stderr)
            raise


def _text(task: Task) -> str:
    if isinstance(task.code, bytes):
        raise InvalidConfiguration("a module's bytes are given to a backend that runs text; ask for `wasm`")
    return task.code


def _module(task: Task) -> bytes:
    if isinstance(task.code, bytes):
        return task.code
    if not task.code.startswith(WASM_TEXT):
        raise ComponentLoadFailed(WHO, f"it is text; a module is bytes, or text that begins with {WASM_TEXT!r}")
    try:
        return base64.b64decode(task.code.removeprefix(WASM_TEXT), validate=True)
    except binascii.Error as error:
        raise ComponentLoadFailed(WHO, f"bad base64: {error}") from None


def backends(engine: Engine, shared: Shared) -> dict[Name, Backend]:
    """All that an engine has."""
    return {"python": Python(engine), "javascript": JavaScript(shared), "wasm": Wasm(shared)}
