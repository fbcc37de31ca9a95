"""The backend `python`: an isolated worker of its own."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.confine.confinement import Confinement
from bridge.confine.limits import Limits
from bridge.confine.probe import can_hold
from bridge.output_rules import OutputRules
from capabilities.sandbox.errors import ExecutionTimeout, InvalidConfiguration, Used
from capabilities.sandbox.front import Ran, Task
from capabilities.sandbox.limits import JAVASCRIPT, SandboxLimits
from durable.core.errors import WorkerDied
from durable.functions.values import to_json
from durable.sessions.result import Result
from durable.sessions.session import unrecorded_result

if TYPE_CHECKING:
    from durable.engine import Engine

HELD = Limits(memory=JAVASCRIPT.memory, files=64, processes=16)
"""Beside its time."""
CODE_BYTES_MAX = 100 * 1024
"""W14."""


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
        if task.identity:
            raise InvalidConfiguration("Python that keeps something is a session: engine.session(name, …)")
        limits = task.limits or JAVASCRIPT
        slot = next(n for n in itertools.count(1) if n not in self._slots)
        self._slots.add(slot)
        try:
            return await self._run(task, limits, f"sandbox-{self._engine.engine_id[:12]}-{slot}")
        finally:
            self._slots.discard(slot)

    async def _run(self, task: Task, limits: SandboxLimits, name: str) -> Ran:
        code, inputs = (
            task.text(CODE_BYTES_MAX),
            {key: to_json(value, f"input {key!r}") for key, value in task.globals().items()},
        )
        session = await self._engine.session(
            name,
            grants=task.grants,
            profile="isolated",
            limits=replace(HELD, memory=limits.memory, cpu=None if limits.cpu_ms is None else limits.cpu_ms / 1000),
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
