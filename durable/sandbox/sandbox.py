"""`engine.sandbox`: foreign code, run once, by whatever backend fits it (specs/sandbox.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from capabilities.sandbox.front import Decision, Front, Ran, Statistics, Task
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.routing import Name
from durable.sandbox.backends import Shared, backends

if TYPE_CHECKING:
    from durable.engine import Engine


class Sandbox:
    """Runs foreign code: JavaScript, Python, WebAssembly. Deny by default."""

    def __init__(self, engine: Engine) -> None:
        self._shared = Shared(engine._house)
        self._front = Front(backends(engine, self._shared))

    async def run(
        self,
        code: str | bytes,
        *,
        language: str = "auto",
        inputs: Mapping[str, Any] | None = None,
        limits: SandboxLimits | None = None,
        grants: Iterable[str] = (),
        execution: str = "",
    ) -> Ran:
        """Run code and return its value and what it printed.

        language: "python", "javascript", "wasm" (a module's bytes, or text with `wasm_base64:`), or "auto" for what
        the sandbox is set to, else what the code looks like. inputs: its globals, JSON-like. limits: None for the
        backend's own. grants: capabilities of this engine. execution: an id under which host calls are recorded; the
        same id again replays them. ScriptError and the SandboxErrors; for Python ExecutionError and ResourceExceeded.
        """
        task = Task(code, dict(inputs or {}), limits, tuple(grants), execution)
        return await self._front.run(task, language)

    def switch(self, choice: str) -> None:
        """Another backend for code that names none, or "auto". InvalidConfiguration names the choices."""
        self._front.switch(choice)

    @property
    def choice(self) -> str:
        """What it is set to."""
        return self._front.choice

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Where the last hundred pieces of code went, and why."""
        return self._front.decisions

    @property
    def statistics(self) -> dict[Name, Statistics]:
        """By backend: runs, successes, time."""
        return self._front.statistics

    async def health(self) -> dict[Name, str]:
        """Each backend: "" when it can be used here, else why not."""
        return await self._front.health()

    def close(self) -> None:
        """End its threads."""
        self._shared.close()
