"""Scripts run from asyncio: in threads with a stack of their own, waiting for host functions outside of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from capabilities.sandbox.javascript.host_functions import ScriptHostCall
from capabilities.sandbox.javascript.script import ScriptDone, Step
from capabilities.sandbox.javascript.vm import VM
from durable.core.errors import Conflict, EngineFailed, NonDeterminism


async def run(
    vm: VM,
    code: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    module: bool = False,
    name: str = "",
    timeout_ms: int | None = None,
    ordered: bool = False,
) -> Any:
    """The value of a script, whatever host functions it waits for. Cancelling this stops the script.

    ordered: give it the answers in the order of its calls, not as they come: then the same answers give the same run.

    ScriptError for what it throws, and the one SandboxError of what stopped it.
    """
    return await _driven(vm, lambda: vm.begin(code, inputs, module=module, name=name, timeout_ms=timeout_ms), ordered)


async def run_function(
    vm: VM, function: str, args: Iterable[Any] = (), *, timeout_ms: int | None = None, ordered: bool = False
) -> Any:
    """The value of a call of a function of the script's, by its name."""
    return await _driven(vm, lambda: vm.begin_function(function, args, timeout_ms=timeout_ms), ordered)


async def _driven(vm: VM, begin: Callable[[], Step], ordered: bool = False) -> Any:
    vm.claim()
    waiting: dict[asyncio.Task[Any], ScriptHostCall] = {}
    try:
        step = await _in_thread(vm, begin)
        while not isinstance(step, ScriptDone):
            for call in step.calls:
                waiting[asyncio.ensure_future(_performed(vm, call))] = call
            first = [next(iter(waiting))] if ordered else waiting
            done, _ = await asyncio.wait(first, timeout=vm.watch.left_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise vm.abandoned()
            step = await _settled(vm, next(iter(done)), waiting)
        return step.value
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        vm.release()


async def _settled(vm: VM, task: asyncio.Task[Any], waiting: dict[asyncio.Task[Any], ScriptHostCall]) -> Step:
    call = waiting.pop(task)
    error = task.exception()
    if isinstance(error, NonDeterminism | Conflict | EngineFailed):  # nothing for the script to handle
        vm.abandoned()
        raise error
    value = None if error else task.result()
    return await _in_thread(vm, lambda: vm.settle(call.id, value=value, error=error))


async def _performed(vm: VM, call: ScriptHostCall) -> Any:
    """The host call, ended by its own time."""
    limit = vm.limits.host_call_ms
    task = asyncio.ensure_future(vm.imports.perform(call))
    try:
        done, _ = await asyncio.wait([task], timeout=limit / 1000)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise TimeoutError(f"{call.function} was not over within {limit} ms")
    return task.result()


async def _in_thread[T](vm: VM, work: Callable[[], T]) -> T:
    """In a thread of the sandbox's; cancelled, the script is stopped before this returns."""
    future = asyncio.ensure_future(vm.warm.runtime.threads.run(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        vm.cancel()
        await asyncio.wait([future])
        future.exception()
        raise
