"""An instance of JavaScript whose state lives on from script to script, in this process (specs/sandbox.md, F11)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from capabilities.sandbox.errors import InvalidConfiguration, SandboxUnavailable, Used
from capabilities.sandbox.front import Task
from capabilities.sandbox.limits import JAVASCRIPT
from durable.sandbox.javascript import JavaScript, granted
from durable.sandbox.shared_runtimes import Shared

if TYPE_CHECKING:
    from capabilities.sandbox.javascript.vm import VM
    from durable.sandbox.component_policy import ComponentPermits


@dataclass(frozen=True, slots=True)
class InstanceOptions:
    """The options of an instance. functions: host functions, an allow list; coroutine functions give a promise.
    modules: sources of ES modules by name."""

    task: Task
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    modules: Mapping[str, str | bytes] = field(default_factory=dict)


class JavaScriptInstance:
    """Made by `engine.sandbox.javascript`; use it with `async with`. It runs one script at a time: InstanceBusy."""

    def __init__(self, shared: Shared, given: InstanceOptions) -> None:
        self._shared = shared
        self._given = given
        self._vm: VM | None = None
        self._permits: ComponentPermits | None = None

    async def __aenter__(self) -> Self:
        """SandboxUnavailable, InvalidConfiguration, BadArguments."""
        from capabilities.sandbox.javascript.vm import VM
        from capabilities.sandbox.javascript.warm_image import warm

        if missing := await JavaScript(self._shared).missing():
            raise SandboxUnavailable(f"javascript cannot be run here: {missing}")
        task = self._given.task
        limits = task.limits or JAVASCRIPT
        image = await asyncio.to_thread(warm, self._shared.runtime(metered=limits.fuel is not None))
        calls, self._permits = self._shared.calls(task)
        functions = {**granted(self._shared.house, task.grants, calls), **self._given.functions}
        self._vm = VM(image, limits, functions=functions, modules=self._given.modules)
        return self

    async def __aexit__(self, *_: object) -> None:
        from capabilities.sandbox.javascript.errors import InstanceBusy

        vm, self._vm = self._vm, None
        if vm is not None:
            with suppress(InstanceBusy):  # what runs still holds it, and lets go of it
                vm.close()
        if self._permits is not None:
            await self._permits.close()

    async def execute(self, code: str, inputs: Mapping[str, Any] | None = None, *, module: bool = False) -> Any:
        """Run a script; its value. inputs become globals. ScriptError, and the SandboxError of what stopped it."""
        from capabilities.sandbox.javascript.run import run

        return await run(self.vm, code, inputs, module=module)

    async def execute_function(self, name: str, args: Iterable[Any] = ()) -> Any:
        """Call a function of the script's, `a.b` for a member. ScriptError where there is none."""
        from capabilities.sandbox.javascript.run import run_function

        return await run_function(self.vm, name, args)

    async def define_function(self, name: str, function: Callable[..., Any]) -> None:
        """Give it one more host function. Arguments are checked by its annotations; it stays when it is reset."""
        await self._in_thread(lambda: self.vm.define_function(name, function))

    async def set_globals(self, given: Mapping[str, Any]) -> None:
        """Make these values globals."""
        await self._in_thread(lambda: self.vm.set_globals(given))

    async def get_global(self, name: str) -> Any:
        """The value of a global, however it was declared. ScriptError where there is none."""
        return await self._in_thread(lambda: self.vm.get_global(name))

    async def reset(self) -> None:
        """Forget all state; limits, host functions and modules stay."""
        await self._in_thread(self.vm.reset)

    async def snapshot(self) -> bytes:
        """Its state. It is not signed: take back only what nobody else could change."""
        from capabilities.sandbox.javascript import snapshot

        return await self._in_thread(lambda: snapshot.take(self.vm))

    async def restore(self, state: bytes) -> None:
        """Go on from a snapshot, of this or another process. InvalidSnapshot changes nothing."""
        from capabilities.sandbox.javascript import snapshot

        await self._in_thread(lambda: snapshot.restore(self.vm, state))

    @property
    def used(self) -> Used:
        """The resources that the last script used, and what it printed."""
        return self.vm.used()

    @property
    def vm(self) -> VM:
        """The instance; InvalidConfiguration outside of its `async with`."""
        if self._vm is None:
            raise InvalidConfiguration("the instance is not open: `async with engine.sandbox.javascript() as js`")
        return self._vm

    async def _in_thread[T](self, work: Callable[[], T]) -> T:
        return await self.vm.warm.runtime.threads.run(work)
