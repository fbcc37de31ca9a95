"""The backend `python`: an isolated worker of its own."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.confine.confinement import Confinement
from bridge.confine.limits import Limits
from bridge.confine.probe import can_hold
from bridge.protocol.output_rules import OutputRules
from capabilities.sandbox.errors import ExecutionTimeout, InvalidConfiguration, Used
from capabilities.sandbox.front import Ran, Task
from capabilities.sandbox.limits import JAVASCRIPT, SandboxLimits
from capabilities.sandbox.wasm.wit_values import plain
from durable.core import ids
from durable.core.errors import ProtocolError, WorkerDied
from durable.records.values import to_json
from durable.sandbox.shared_runtimes import KEEPING
from durable.sessions.ownership.session_confinement import forget_directory, options_of
from durable.sessions.permissions import asked_options
from durable.sessions.session import unrecorded_result
from durable.store.operations.sessions import RUN

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.records.result import Result
    from durable.sessions.execution.cell import Pass
    from durable.sessions.execution.runner import LiveSession

HELD = Limits(memory=JAVASCRIPT.memory, files=64, processes=16)
"""Beside its time."""
CODE_BYTES_MAX = 100 * 1024
"""W14."""


class Python:
    """A worker of its own, isolated, that ends with the code. A granted capability is there as in a session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = itertools.count(1)

    async def missing(self) -> str:
        """Why a process cannot be isolated here; "" when it can."""
        found = await asyncio.to_thread(can_hold, Confinement("isolated", HELD, ""))
        return "" if found.can else f"this machine cannot isolate a process, it lacks {found.lacks}"

    async def run(self, task: Task) -> Ran:
        """ExecutionError for what it raised, ResourceExceeded for what it ran out of. A value that is no JSON is its
        repr.
        """
        if task.identity or any(grant.partition(":")[0] in KEEPING for grant in task.grants):
            raise InvalidConfiguration("Python that keeps something is a session: engine.session(name, …)")
        code, limits = task.text(CODE_BYTES_MAX), task.limits or JAVASCRIPT
        inputs = {key: to_json(plain(value), f"input {key!r}") for key, value in task.globals().items()}
        execution, n = task.execution or ids.mint_execution_id(), next(self._numbers)
        if n == 1:
            await self._forget_left()
        name = f"sandbox-{self._engine.engine_id[:12]}-{n}"
        await self._open(name, execution, task, limits)
        try:
            live = await self._engine.live(name)
            found = live.unrecorded(code, inputs, execution=execution)
            result = await _within(live, found, limits.timeout_ms)
        finally:
            await asyncio.shield(self._forget(name))
        if result.error is not None:
            result.error.printed = (result.stdout, result.stderr)
            raise result.error
        value = result.value if result.value is not None or result.repr in ("", "None") else result.repr
        return Ran("python", value, result.stdout, result.stderr, result.execution_time * 1000)

    async def _open(self, name: str, execution: str, task: Task, limits: SandboxLimits) -> None:
        """A session of its own: isolated, of this engine, and of nobody after the run."""
        cpu = None if limits.cpu_ms is None else limits.cpu_ms / 1000
        held = replace(HELD, memory=limits.memory, cpu=cpu)
        options = {
            **asked_options(self._engine._capabilities, task.grants, None, None),
            **options_of("isolated", held, OutputRules(stored=limits.output)),
            RUN: execution,
        }
        request = {"session": name, "engine": self._engine.engine_id, "options": options}
        await self._engine.store.request("session.open", request)

    async def _forget(self, name: str) -> None:
        """Forget the worker, what the store has of it, its files."""
        await self._engine.host.forget(name)
        await self._engine.store.request("session.close", {"session": name})
        await asyncio.to_thread(forget_directory, self._engine.store, name)

    async def _forget_left(self) -> None:
        """Forget what was left by runs whose engines were killed."""
        store = self._engine.store
        sessions = await store.reads.sessions()
        await store.reads.engines()  # who is alive is known from here on, and owned what was listed before
        for row in sessions:
            if row.run and (row.owner is None or not store.engine_alive(row.owner)):
                await self._forget(row.name)


async def _within(live: LiveSession, found: Pass, timeout_ms: int) -> Result:
    """Run it, not longer than that. When its time is over, or its caller gone, it is killed at once."""
    running = asyncio.create_task(live.execute(found))
    try:
        await asyncio.wait({running}, timeout=timeout_ms / 1000)
        if running.done():
            return unrecorded_result(found, await running)
    except (WorkerDied, ProtocolError) as died:
        died.printed = (found.printed().stdout, found.printed().stderr)
        raise
    finally:
        if not running.done():
            live.kill_worker()
            running.cancel()
            await asyncio.wait({running})
    late = ExecutionTimeout(None, None, timeout_ms, timeout_ms, "the code")
    late.used = Used(timeout_ms, stdout=found.printed().stdout, stderr=found.printed().stderr)
    raise late
