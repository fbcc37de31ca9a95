"""One front over all sandboxes: code in, a value and what it printed out, whichever backend runs it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from capabilities.sandbox.errors import (
    Cancelled,
    InvalidConfiguration,
    ResourceLimitExceeded,
    SandboxError,
    SandboxUnavailable,
    Used,
    near_limit,
)
from capabilities.sandbox.fair_queue import Turns
from capabilities.sandbox.limits import COMPONENT, SandboxLimits
from capabilities.sandbox.routing import Choice, Name, Route, checked, choice_of, route
from capabilities.sandbox.wasm.exports import Inputs
from durable.core.errors import DurableError

DECISIONS_MAX = 100

type Perform = Callable[[str, str, dict[str, Any]], Awaitable[Any]]
"""A call of a granted capability: its name, its method, its arguments."""


type Directories = Mapping[str, str | os.PathLike[str] | tuple[str | os.PathLike[str], Literal["ro", "rw"]]]
"""Directories by the name that the code has for them: a path to read, or (path, "rw") to write in as well."""


@dataclass(frozen=True, slots=True)
class Program:
    """The surroundings of a program of WASI, beside its inputs: arguments, environment, directories."""

    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """Path, and whether it may be written, by the code's name for it."""

    @classmethod
    def of(cls, args: Iterable[str], env: Mapping[str, str] | None, directories: Directories | None) -> Self:
        """The checked surroundings. InvalidConfiguration."""
        if isinstance(args, str):
            raise InvalidConfiguration(f"args is a list of texts: args=[{args!r}]")
        if not isinstance(directories, Mapping | None) or not isinstance(env, Mapping | None):
            raise InvalidConfiguration("env and directories are values by name")
        given = tuple(args)
        for text in (*given, *(env or {}), *(env or {}).values()):
            if not isinstance(text, str) or "\0" in text:
                raise InvalidConfiguration(f"args and env are texts without NUL, not {text!r}")
        for name in env or {}:
            if not name or "=" in name:
                raise InvalidConfiguration(f"{name!r} is no name of an environment variable")
        return cls(
            given, dict(env or {}), {name: _directory(name, found) for name, found in (directories or {}).items()}
        )

    def __bool__(self) -> bool:
        return bool(self.args or self.env or self.directories)


def _directory(name: str, given: object) -> tuple[str, bool]:
    path, mode = given if isinstance(given, tuple) and len(given) == 2 else (given, "ro")
    if not name or not isinstance(path, str | os.PathLike) or mode not in ("ro", "rw"):
        raise InvalidConfiguration(f"directory {name!r}: write a path, or (path, 'rw'), not {given!r}")
    if not os.path.isdir(path):
        raise InvalidConfiguration(f"directory {name!r}: there is no directory {os.fspath(path)!r}")
    return os.path.abspath(os.fspath(path)), mode == "rw"


@dataclass(frozen=True, slots=True)
class Task:
    """Code to be run, or the id of a component that is known. inputs: its globals, or the arguments of `function`.

    limits: None for the backend's own. execution: the id under which its host calls are recorded, a new one when empty.
    identity: whose storage and files it has. modules: sources of JavaScript modules that it may import, by name.
    program: what a program of WASI is given.
    """

    code: str | bytes = b""
    inputs: Inputs = field(default_factory=dict)
    limits: SandboxLimits | None = None
    grants: tuple[str, ...] = ()
    execution: str = ""
    component: str = ""
    function: str = ""
    identity: str = ""
    modules: Mapping[str, str | bytes] = field(default_factory=dict)
    program: Program = field(default_factory=Program)

    def text(self, most: int | None = None) -> str:
        """The code of a script, of so many bytes at most. InvalidConfiguration for a module's bytes."""
        if isinstance(self.code, bytes):
            raise InvalidConfiguration("a module's bytes are given to a backend that runs text; ask for `wasm`")
        if self.program:
            raise InvalidConfiguration(
                "args, env and directories are WebAssembly's; this code is to run as something else"
            )
        if most is not None and (size := len(self.code.encode(errors="surrogatepass"))) > most:
            raise ResourceLimitExceeded("code", most, size)
        return self.code

    def globals(self) -> dict[str, Any]:
        """The inputs of code that has globals. InvalidConfiguration for what only WebAssembly has."""
        if self.function:
            raise InvalidConfiguration(f"function {self.function!r}: only WebAssembly and JavaScript have such calls")
        if self.modules:
            raise InvalidConfiguration("modules are JavaScript's; this code is to run as something else")
        if not isinstance(self.inputs, Mapping):
            raise InvalidConfiguration("inputs of a script are its globals, by name")
        return dict(self.inputs)

    def arguments(self) -> tuple[dict[str, Any], list[Any]]:
        """The inputs of JavaScript: its globals, and the arguments of `function`. InvalidConfiguration."""
        if isinstance(self.inputs, Mapping):
            return dict(self.inputs), []
        if not self.function:
            raise InvalidConfiguration("inputs of a script are its globals, by name")
        return {}, list(self.inputs)


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of a task. fuel, memory, memory_limit (bytes, at most): None where the backend does not know."""

    backend: Name
    value: Any
    stdout: str = ""
    stderr: str = ""
    elapsed_ms: float = 0.0
    fuel: int | None = None
    memory: int | None = None
    memory_limit: int | None = None

    @classmethod
    def of(cls, backend: Name, value: Any, used: Used) -> Self:
        """A value with what a sandbox of WebAssembly used."""
        measured = used.elapsed_ms, used.fuel, used.memory, used.memory_limit
        return cls(backend, value, used.stdout, used.stderr, *measured)

    @property
    def near_out_of_memory(self) -> bool | None:
        """Whether nine tenths of the limit were used; None where that is not known."""
        return near_limit(self.memory, self.memory_limit)


class Backend(Protocol):
    """One way to run code."""

    async def missing(self) -> str:
        """Why it cannot be used here and what to do about it; "" when it can."""
        ...

    async def run(self, task: Task) -> Ran:
        """Run it. A DurableError for whatever it came to instead of a value."""
        ...


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Where one piece of code went, why, and how it ended: "" or the error's code."""

    backend: Name
    reason: str
    length: int
    has_async: bool
    at_s: float
    ended: str


@dataclass(slots=True)
class Statistics:
    """The statistics of one backend, errors included."""

    count: int = 0
    succeeded: int = 0
    total_ms: float = 0.0

    @property
    def success_rate(self) -> float:
        """The part of runs that succeeded, from 0 to 1; 1 before the first run."""
        return self.succeeded / self.count if self.count else 1.0

    @property
    def average_ms(self) -> float:
        """Milliseconds of a run on average; 0 before the first run."""
        return self.total_ms / self.count if self.count else 0.0

    @property
    def healthy(self) -> bool:
        """Whether more than half succeeded, or none ran (W8)."""
        return self.success_rate > 0.5


class Front:
    """Runs code by the backend that was asked for, that it is set to, or that the code looks like.

    choice: "auto", or the backend for all code that names none; None for what DURABLE_SANDBOX says.
    """

    def __init__(self, backends: Mapping[Name, Backend], choice: str | None = None) -> None:
        self._backends = backends
        self._choice: Choice = choice_of(os.environ) if choice is None else checked(choice)
        self.statistics: dict[Name, Statistics] = {name: Statistics() for name in backends}
        self._decisions: deque[RoutingDecision] = deque(maxlen=DECISIONS_MAX)
        self._turns = Turns()

    @property
    def choice(self) -> Choice:
        """The backend that it is set to, or "auto"."""
        return self._choice

    def switch(self, choice: str) -> None:
        """Set it to another backend, or to "auto": from the next run on. InvalidConfiguration."""
        self._choice = checked(choice)

    @property
    def decisions(self) -> tuple[RoutingDecision, ...]:
        """The last hundred decisions, oldest first."""
        return tuple(self._decisions)

    async def run(self, task: Task, language: str = "auto") -> Ran:
        """Run code. SandboxUnavailable, InvalidConfiguration, or what the code came to, with what it had printed."""
        way = route(task.code, checked(language, "language"), self._choice, task.component)
        await self._turns.take(1, (task.limits or COMPONENT).at_once)
        try:
            return await self._run(task, way)
        finally:
            self._turns.give(1)

    async def _run(self, task: Task, way: Route) -> Ran:
        began, at = time.perf_counter(), time.time()
        ended = "INTERNAL"
        try:
            backend = self._backends[way.backend]
            missing = await backend.missing()
            if missing:
                raise SandboxUnavailable(f"{way.backend} cannot be run here: {missing}")
            ran = await backend.run(task)
            ended = ""
        except DurableError as error:
            ended = error.code
            if isinstance(error, SandboxError):
                error.printed = (error.used.stdout, error.used.stderr)
            raise
        except asyncio.CancelledError:
            ended = Cancelled.code
            raise
        finally:
            spent = (time.perf_counter() - began) * 1000
            found = self.statistics[way.backend]
            found.count += 1
            found.succeeded += not ended
            found.total_ms += spent
            self._decisions.append(
                RoutingDecision(way.backend, way.reason, len(task.code), _is_async(task.code), at, ended)
            )
        return ran

    async def health(self) -> dict[Name, str]:
        """Each backend: "" when it can be used, else why not."""
        return {name: await backend.missing() for name, backend in self._backends.items()}


def _is_async(code: str | bytes) -> bool:
    return isinstance(code, str) and "await" in code
