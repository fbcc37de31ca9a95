"""The backend `javascript`: QuickJS in WebAssembly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from capabilities.call_signature import Method
from capabilities.sandbox.front import Ran, Task
from capabilities.sandbox.limits import JAVASCRIPT
from capabilities.sandbox.routing import is_module
from durable.core.errors import BadArguments
from durable.sandbox.shared_runtimes import Shared, no_wasmtime
from durable.sessions.services import House

if TYPE_CHECKING:
    from durable.sandbox.sandbox_calls import SandboxCalls


class JavaScript:
    """QuickJS in WebAssembly; a granted capability is an asynchronous function of its name."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._present = False
        """The engine's file was there and the pinned one: it is not read and hashed again for each run."""

    async def missing(self) -> str:
        """wasmtime, or the engine's file."""
        if self._present:
            return ""
        if lacks := no_wasmtime():
            return lacks
        from capabilities.sandbox.javascript import engine_file

        try:
            await asyncio.to_thread(engine_file.read)
        except engine_file.EngineMissing as error:
            return str(error)
        self._present = True
        return ""

    async def run(self, task: Task) -> Ran:
        """A fresh instance for each. With `function` that is called then, and its value is the run's."""
        from capabilities.sandbox.javascript.run import run, run_function
        from capabilities.sandbox.javascript.vm import VM
        from capabilities.sandbox.javascript.warm_image import made, warm

        code, limits = task.text(), task.limits or JAVASCRIPT
        inputs, args = task.arguments()
        runtime = self._shared.runtime(metered=limits.fuel is not None)
        image = made(runtime)
        if image is None:
            image = await asyncio.to_thread(warm, runtime)
        calls, permits = self._shared.calls(task)
        try:
            vm = VM(image, limits, functions=granted(self._shared.house, task.grants, calls), modules=task.modules)
            try:
                value = await run(vm, code, inputs, module=is_module(code), ordered=True)
                if task.function:
                    value = await run_function(vm, task.function, args, ordered=True)
                used = vm.used()
            finally:
                vm.close()
        finally:
            await permits.close()
        return Ran.of("javascript", value, used)


def granted(house: House, grants: Iterable[str], calls: SandboxCalls) -> dict[str, Callable[..., Any]]:
    """The functions of what was granted, as scripts call them."""
    found: dict[str, Callable[..., Any]] = {}
    for grant in grants:
        capability = house.capabilities.get(grant.partition(":")[0])
        assert capability is not None
        for method in capability.methods.values():
            found[method.name] = _asked(capability.name, method, calls)
    return found


def _asked(capability: str, method: Method, calls: SandboxCalls) -> Callable[..., Any]:
    """The capability as a script calls it: arguments in order, recorded by name."""
    from capabilities.sandbox.host_calls import HostCall

    names = list(method.signature.parameters)
    how = method.name.partition(".")[2]

    async def call(*args: Any) -> Any:
        if len(args) > len(names):
            raise BadArguments(f"{method.name} takes {len(names)} arguments, {len(args)} were given")
        return await calls.answer(HostCall(capability, how, dict(zip(names, args, strict=False))))

    return call
