"""The backend `wasm`: a core module or a component, by its bytes or by the id under which the engine knows it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from capabilities.sandbox.errors import ComponentLoadFailed, InvalidConfiguration
from capabilities.sandbox.front import Ran, Task
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.routing import WASM_TEXT
from capabilities.sandbox.wasm.exports import Inputs, entry
from durable.core import ids
from durable.sandbox.shared_runtimes import WHO, Shared, no_wasmtime

if TYPE_CHECKING:
    from capabilities.sandbox.wasm.component_call import ComponentCall
    from capabilities.sandbox.wasm.fuel_meter import Outcome
    from capabilities.sandbox.wasm.module_call import CoreCall
    from capabilities.sandbox.wasm.runtime import Runtime
    from capabilities.sandbox.wasm.wasi import Wasi
    from durable.sandbox.components import Components
    from durable.sandbox.sandbox_calls import SandboxCalls


class Wasm:
    """FuelMeter, a fresh instance for each run; a module asks by `durable.call`, a component by `durable:host`."""

    def __init__(self, shared: Shared, components: Callable[[], Components]) -> None:
        self._shared = shared
        self._components = components

    async def missing(self) -> str:
        """Why WebAssembly cannot be run here; "" when it can."""
        return no_wasmtime()

    async def run(self, task: Task) -> Ran:
        """Its inputs are the arguments of `function`, or of what it begins with."""
        outcome = await (self._known(task) if task.component else self._given(task))
        return Ran.of("wasm", outcome.value, outcome.used)

    async def _known(self, task: Task) -> Outcome:
        if task.program:
            raise InvalidConfiguration("a component that is known has capabilities, and no args, env or directories")
        if task.limits is not None or task.grants or task.identity:
            raise InvalidConfiguration("limits, grants and identity of a component that is known are its manifest's")
        execution = task.execution or ids.mint_execution_id()
        return await self._components().run(task.component, task.function, task.inputs, execution)

    async def _given(self, task: Task) -> Outcome:
        data = _module(task)
        runtime = self._shared.runtime(metered=True)
        calls, permits = self._shared.calls(task, hashlib.sha256(runtime.key(data).encode()).hexdigest()[:16])
        try:
            if runtime.at_hand(data) and not task.program:
                call = self._made(runtime, data, task, calls)
            else:
                call = await asyncio.to_thread(self._made, runtime, data, task, calls)
            return await called(runtime, call, task.function, task.inputs)
        finally:
            await permits.close()

    def _made(self, runtime: Runtime, data: bytes, task: Task, calls: SandboxCalls) -> CoreCall | ComponentCall:
        from capabilities.sandbox.wasm.component_call import ComponentCall
        from capabilities.sandbox.wasm.module_call import CoreCall
        from capabilities.sandbox.wasm.runtime import is_component

        limits, port = task.limits or COMPONENT, calls.port  # whoever asks for what is not granted is told so
        name, wasi = task.identity or WHO, _wasi(task)
        if is_component(data):
            return ComponentCall(runtime, runtime.component(data, name), limits, port=port, wasi=wasi, name=name)
        return CoreCall(runtime, runtime.module(data, name), limits, port=port, wasi=wasi, component=name)


async def called(runtime: Runtime, call: CoreCall | ComponentCall, function: str, inputs: Inputs) -> Outcome:
    """Call an export, "" for the one that it begins with, in a thread; cancelling this stops the code."""
    function = function or entry(call.exports(), "code")
    args = call.arguments(function, inputs)
    try:
        outcome = await runtime.threads.run(lambda: call.call(function, *args))
        call.close()
        return outcome
    except asyncio.CancelledError:
        call.cancel()
        raise


def _wasi(task: Task) -> Wasi:
    """The WASI of the code: its own name as the first argument, as every program."""
    from capabilities.sandbox.wasm.wasi import Preopened, Wasi

    program = task.program
    opened = [Preopened(path, name, writable) for name, (path, writable) in program.directories.items()]
    return Wasi((task.identity or "program", *program.args), program.env, opened)


def _module(task: Task) -> bytes:
    if isinstance(task.code, bytes):
        return task.code
    if not task.code.startswith(WASM_TEXT):
        raise ComponentLoadFailed(WHO, f"it is text; a module is bytes, or text that begins with {WASM_TEXT!r}")
    try:
        return base64.b64decode(task.code.removeprefix(WASM_TEXT), validate=True)
    except binascii.Error as error:
        raise ComponentLoadFailed(WHO, f"bad base64: {error}") from None
