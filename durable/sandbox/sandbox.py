"""`engine.sandbox`: foreign code, run once, by whatever backend fits it (specs/sandbox.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capabilities.sandbox.front import Directories, Front, Program, Ran, RoutingDecision, Statistics, Task
from capabilities.sandbox.limits import SandboxLimits
from capabilities.sandbox.routing import Name, is_wasm
from capabilities.sandbox.wasm.exports import Inputs
from durable.core import ids
from durable.core.errors import BadArguments
from durable.sandbox.component_registry import Declared
from durable.sandbox.execution_watch import Ending
from durable.sandbox.javascript import JavaScript
from durable.sandbox.python import Python
from durable.sandbox.shared_runtimes import Shared
from durable.sandbox.wasm import Wasm

if TYPE_CHECKING:
    from capabilities.actors.health import Health
    from capabilities.sandbox.component_manifest import ComponentManifest
    from capabilities.sandbox.wasm.actor_instance import InstanceMessage
    from capabilities.sandbox.wasm.fuel_meter import Outcome
    from capabilities.sandbox.wasm.runtime import Compilations
    from durable.engine.engine import Engine
    from durable.sandbox.component_instances import Applied, Base, ComponentInstances, Entries
    from durable.sandbox.components import Components
    from durable.sandbox.javascript_instance import JavaScriptInstance
    from durable.sandbox.local_instance import LocalInstance


class Sandbox:
    """Runs foreign code: JavaScript, Python, WebAssembly. Deny by default."""

    def __init__(self, engine: Engine) -> None:
        self.ends_with = Ending(engine.store, engine.changed).of
        """For `ctx.sandbox`: what runs inside ends with this execution."""
        self._house = engine._house
        self._declared = Declared.of(engine._components)
        self._components: Components | None = None
        self._instances: ComponentInstances | None = None
        self._shared = Shared(engine._house)
        wasm = Wasm(self._shared, self._known)
        self._front = Front({"python": Python(engine), "javascript": JavaScript(self._shared), "wasm": wasm})

    async def run(
        self,
        code: str | bytes | None = None,
        *,
        language: str = "auto",
        component: str = "",
        function: str = "",
        inputs: Inputs | None = None,
        limits: SandboxLimits | None = None,
        grants: Iterable[str] = (),
        execution: str = "",
        identity: str = "",
        modules: Mapping[str, str | bytes] | None = None,
        args: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        directories: Directories | None = None,
    ) -> Ran:
        """Run code, or a component that is known (`add`), and return its value and what it printed.

        language: "python", "javascript", "wasm" (bytes of a module or component, or text with `wasm_base64:`), or
        "auto" for what the sandbox is set to, else what the code looks like. component: an id instead of code; its
        limits and permissions are those of its manifest. function: an export of WebAssembly (`name`, or
        `interface#name`), else the first of run, main, _start; of JavaScript a function of the script's, called when
        that has run. inputs: globals of a script; arguments of a function by name (WebAssembly only) or, as a list, in
        order. modules: sources that JavaScript may import, by name, bytes where they are no text; code that imports or
        exports is a module itself, and its value its exports. limits: None for the backend's own. grants:
        capabilities of this engine. execution: an id under which host calls are recorded; the same id again replays
        them. identity:
        whose `kv` and files it has: none without it but, for the time of its id, those of an execution.

        ScriptError, Err and the SandboxErrors; for Python ExecutionError and ResourceExceeded; each with what the code
        had `printed`. BadArguments, InvalidId.

        args, env, directories: of a program of WASI, whose argv[0] is its identity or "program". Directories are
        those that are named here, read-only unless given as (path, "rw"): {"data": "/srv", "out": ("o", "rw")}.
        A program that ends itself with status 0 has ended well.
        """
        if (code is None) != bool(component):
            raise BadArguments(
                f"one of two is given: code, which is text or a module's bytes, not {type(code).__name__}, or component"
            )
        task = _task(b"" if code is None else code, inputs, limits, grants, execution, function)
        task = replace(task, component=component, identity=identity, modules=_sources(modules))
        task = replace(task, program=Program.of(args, env, directories))
        return await self._front.run(task, language)

    def javascript(
        self,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        modules: Mapping[str, str | bytes] | None = None,
        limits: SandboxLimits | None = None,
        grants: Iterable[str] = (),
        execution: str = "",
        identity: str = "",
    ) -> JavaScriptInstance:
        """An instance of JavaScript whose state lives on: `async with engine.sandbox.javascript() as js`.

        functions: host functions by name, all that it may call beside what is granted; their arguments are checked by
        their annotations. modules: sources of ES modules by name. The others as in `run`. The state ends with the
        block; one that lives on after a crash is a session's (`engine.session(language="javascript")`).
        """
        from durable.sandbox.javascript_instance import InstanceOptions, JavaScriptInstance

        task = replace(_task("", None, limits, grants, execution), identity=identity)
        return JavaScriptInstance(self._shared, InstanceOptions(task, dict(functions or {}), _sources(modules)))

    def switch(self, choice: str) -> None:
        """Another backend for code that names none, or "auto". InvalidConfiguration names the choices."""
        self._front.switch(choice)

    @property
    def choice(self) -> str:
        """The backend for code that names none, or "auto"."""
        return self._front.choice

    @property
    def decisions(self) -> tuple[RoutingDecision, ...]:
        """Where the last hundred pieces of code went, and why."""
        return self._front.decisions

    @property
    def statistics(self) -> dict[Name, Statistics]:
        """By backend: runs, successes, time."""
        return self._front.statistics

    @property
    def compilations(self) -> dict[str, Compilations]:
        """How often WebAssembly was compiled, and how often that was not needed, by runtime."""
        return self._shared.compilations

    async def health(self) -> dict[Name, str]:
        """Each backend: "" when it can be used here, else why not."""
        return await self._front.health()

    # -- components ---------------------------------------------------------------------------------------------

    async def add(self, manifest: str | Path | ComponentManifest, code: bytes) -> str:
        """Know a component (or core module) under its manifest's id, which is returned; it replaces one of that id.

        manifest: a `Component.toml`, its path or its text. Limits and permissions of all calls are those that it says.
        InvalidConfiguration, MissingMemoryConfig, MissingCpuConfig, ComponentLoadFailed.
        """
        from capabilities.sandbox.component_manifest import ComponentManifest, parse_component

        if isinstance(manifest, Path):
            text = await asyncio.to_thread(manifest.read_text)
            manifest = parse_component(text, str(manifest))
        elif not isinstance(manifest, ComponentManifest):
            manifest = parse_component(manifest)
        return (await self._known().add(manifest, code)).manifest.id

    async def added(self, component: str) -> None:
        """For `ctx.component`: return when it is known, or nobody is about to add it (specs/sandbox.md, R9, R10)."""
        await self._known().added(component)

    async def call(self, component: str, function: str, *args: Any, execution: str = "") -> Outcome:
        """Call a component's export in a fresh instance: its value, and what was used.

        function: `name`, or `interface#name`. execution: an id under which host calls are recorded; the same id again
        replays them. ComponentNotFound, ExecutionFailed, Err for the component's own error, NonDeterminism, or the one
        SandboxError of what stopped it.
        """
        made = _checked(execution) or ids.mint_execution_id()
        return await self._known().call(component, function, *args, execution_id=made)

    async def call_instance(
        self,
        component: str,
        function: str,
        *args: Any,
        execution: str,
        instance: str,
        kept: tuple[str, bytes] | None,
    ) -> tuple[Outcome, bytes]:
        """For `ctx.component(..., instance=)`, which keeps the state (specs/sandbox.md, I1-I5)."""
        from durable.sandbox.wasm_instance import call_instance

        known = self._known()
        return await call_instance(
            known, component, function, *args, execution_id=execution, instance=instance, kept=kept
        )

    async def take_message(
        self,
        component: str,
        actor: str,
        message: InstanceMessage,
        base: Base,
        execution: str,
        journal: Entries,
    ) -> Applied:
        """For actors that are components: give a message to the actor's instance (specs/actors.md, W4-W9)."""
        if self._instances is None:
            from durable.sandbox.component_instances import ComponentInstances

            self._instances = ComponentInstances(self._known())
        known = await self._known().have(component)
        return await self._instances.apply(known, actor, message, base, execution, journal)

    async def take_module_message(
        self,
        component: str,
        actor: str,
        message: InstanceMessage,
        execution: str,
        kept: tuple[str, bytes] | None,
    ) -> tuple[Any, bytes, str]:
        """The same for a core module: its value, its state, and why nothing was called, or "" (W1)."""
        from durable.sandbox.wasm_instance import take_module_message

        return await take_module_message(self._known(), component, actor, message, execution, kept)

    async def instance_health(self, actor: str, last: str, timeout_s: float) -> Health | None:
        """The health of the instance that is kept for an actor; None: not said in time. NoInstance."""
        from durable.sandbox.component_instances import NoInstance

        if self._instances is None:
            raise NoInstance
        return await self._instances.health(actor, last, timeout_s)

    async def module_health(
        self, component: str, actor: str, kept: tuple[str, bytes], timeout_s: float
    ) -> Health | None:
        """The same for a core module, by its state."""
        from durable.sandbox.wasm_instance import module_health

        return await module_health(self._known(), component, actor, kept, timeout_s)

    async def local_instance(
        self, component: str, actor: str, config: bytes, saved: bytes | None = None
    ) -> LocalInstance:
        """For actors in memory: an instance that was started. What stopped its start (specs/actors.md, L6)."""
        from durable.sandbox.local_instance import LocalInstance

        await self._known().added(component)
        made = LocalInstance(self._known(), component, actor, saved)
        await made.start(config)
        return made

    async def is_module(self, component: str) -> bool:
        """Whether what is known by that id is a core module: its state is a snapshot. ComponentNotFound."""
        from capabilities.sandbox.wasm.runtime import is_component

        return not is_component((await self._known().have(component)).data)

    def let_go(self, actor: str) -> None:
        """End the instance that is kept for an actor, if one is."""
        if self._instances is not None:
            self._instances.let_go(actor)

    @property
    def instances(self) -> int:
        """How many instances are kept between the messages of actors."""
        return 0 if self._instances is None else len(self._instances)

    def _known(self) -> Components:
        if self._components is None:
            from durable.sandbox.components import Components

            self._components = Components(self._house, self._shared.runtime(metered=True), self._declared)
        return self._components

    async def close(self) -> None:
        """End what is kept for components, and the threads."""
        if self._instances is not None:
            await self._instances.close()
        if self._components is not None:
            await self._components.close()
        self._shared.close()


def _task(
    code: object,
    inputs: Inputs | None,
    limits: SandboxLimits | None,
    grants: Iterable[str],
    execution: str,
    function: str = "",
) -> Task:
    """The task to run, checked: nothing of it runs when it is wrong."""
    if isinstance(code, bytearray | memoryview):
        code = bytes(code)
    if not isinstance(code, str | bytes):
        raise BadArguments(f"code is text or a module's bytes, not {type(code).__name__}")
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Mapping | Sequence | None):
        raise BadArguments(f"inputs are names and values, or a list of arguments, not {type(inputs).__name__}")
    if isinstance(code, str) and isinstance(inputs, Sequence) and not is_wasm(code) and not function:
        raise BadArguments("inputs of a script are names and values, not list")
    if not isinstance(limits, SandboxLimits | None):
        raise BadArguments(f"limits is a durable.SandboxLimits, not {limits!r:.80}")
    if isinstance(grants, str):
        raise BadArguments(f"grants is a list of names: grants=[{grants!r}]")
    given = list(inputs) if isinstance(inputs, Sequence) else dict(inputs or {})
    return Task(code, given, limits, tuple(grants), _checked(execution), function=function)


def _sources(modules: Mapping[str, str | bytes] | None) -> dict[str, str | bytes]:
    if not isinstance(modules, Mapping | None):
        raise BadArguments(f"modules are sources by name, not {type(modules).__name__}")
    for name, source in (modules or {}).items():
        if not isinstance(name, str) or not isinstance(source, str | bytes):
            raise BadArguments(f"modules are sources by name, text or bytes, not {name!r:.80}: {type(source).__name__}")
    return dict(modules or {})


def _checked(execution: str) -> str:
    if execution:
        ids.execution_promise(execution)
    return execution
