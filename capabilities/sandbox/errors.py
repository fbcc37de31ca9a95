"""How a call of foreign code fails: each cause its own class, never mixed up (A22, D6, specs/sandbox.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from durable.core.errors import DurableError, LimitExceeded


@dataclass(frozen=True, slots=True)
class Used:
    """The resources that a call used, as far as known: None is not known, never zero."""

    elapsed_ms: float = 0.0
    fuel: int | None = None
    memory: int | None = None
    stdout: str = ""
    stderr: str = ""
    memory_limit: int | None = None
    """Bytes. Memory of WebAssembly never shrinks: `memory` is what it was at most."""

    @property
    def near_out_of_memory(self) -> bool | None:
        """Whether nine tenths of the limit were used (A20)."""
        return near_limit(self.memory, self.memory_limit)

    def to_json(self) -> dict[str, Any]:
        """The use as it is recorded, without what was printed."""
        return {
            "elapsed_ms": self.elapsed_ms,
            "fuel": self.fuel,
            "memory": self.memory,
            "memory_limit": self.memory_limit,
        }

    @classmethod
    def of(cls, found: Any, printed: tuple[str, str]) -> Self:
        """Read a record, whoever wrote it: what does not fit is not known."""
        given = found if isinstance(found, dict) else {}
        elapsed_ms = _number(given.get("elapsed_ms")) or 0.0
        fuel, memory, limit = (_whole(given.get(name)) for name in ("fuel", "memory", "memory_limit"))
        return cls(elapsed_ms, fuel, memory, *printed, limit)


def near_limit(memory: int | None, limit: int | None) -> bool | None:
    """Whether nine tenths of a limit of memory are used; None where either is not known."""
    return None if memory is None or limit is None else memory * 10 >= limit * 9


def _number(found: Any) -> float | None:
    return found if isinstance(found, int | float) else None


def _whole(found: Any) -> int | None:
    return found if isinstance(found, int) else None


MESSAGE_MAX = 10_000
"""Characters of what a host function said that are told on: it may have said what it was given."""


class SandboxError(DurableError):
    """Root of all that happens to foreign code. `used` says what the call had used by then."""

    code = "SANDBOX"
    about: ClassVar[tuple[str, ...]] = ()
    """Its attributes, numbers and text, that are recorded where it ends a step (`ctx.sandbox`)."""
    used: Used = Used()


class SandboxUnavailable(SandboxError):
    """The installation lacks what the asked-for kind of code needs; the message says how to get it."""

    code = "SANDBOX_UNAVAILABLE"


class EngineInitialization(SandboxError):
    """The WebAssembly engine could not be made with this configuration."""

    code = "SANDBOX_ENGINE"


class CacheUnsafe(SandboxError, PermissionError):
    """Somebody else could have written into the directory of compiled code: nothing in it is used."""

    code = "SANDBOX_CACHE_UNSAFE"


class InvalidConfiguration(SandboxError, ValueError):
    """A limit, a manifest or an argument of the sandbox itself is wrong."""

    code = "SANDBOX_CONFIGURATION"


class MissingMemoryConfig(InvalidConfiguration):
    """A component's manifest says nothing of its memory."""

    code = "MISSING_MEMORY_CONFIG"

    def __init__(self, where: str, missing: str) -> None:
        super().__init__(f"{where} has no {missing}: a component says how much memory it needs, there is no default")


class MissingCpuConfig(InvalidConfiguration):
    """A component's manifest says nothing of its fuel or its time."""

    code = "MISSING_CPU_CONFIG"

    def __init__(self, where: str, missing: str) -> None:
        super().__init__(f"{where} has no {missing}: a component says how much CPU it needs, there is no default")


class ComponentNotFound(SandboxError, LookupError):
    """No component of that id is known here."""

    code = "COMPONENT_NOT_FOUND"


class ComponentLoadFailed(SandboxError):
    """Bytes that are no component or module."""

    code = "COMPONENT_LOAD"
    about = ("component", "reason")

    def __init__(self, component: str, reason: str) -> None:
        super().__init__(f"component {component!r} cannot be loaded: {reason}")
        self.component = component
        self.reason = reason


class ComponentValidationFailed(ComponentLoadFailed):
    """Bytes that do not begin as WebAssembly does, or ask for what no sandbox here gives."""

    code = "COMPONENT_VALIDATION"


class ComponentParseFailed(ComponentLoadFailed):
    """Bytes that begin as WebAssembly does and are not valid."""

    code = "COMPONENT_PARSE"


class ExecutionFailed(SandboxError):
    """The call could not be made: no such export, arguments that do not fit it."""

    code = "SANDBOX_EXECUTION"
    about = ("function", "reason")

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(f"{function}: {reason}")
        self.function = function
        self.reason = reason


class ComponentTrapped(SandboxError):
    """The code ended in a trap of its own: unreachable, a division by zero, an access out of bounds."""

    code = "COMPONENT_TRAPPED"
    about = ("reason", "fuel_consumed")

    def __init__(self, reason: str, fuel_consumed: int | None = None) -> None:
        super().__init__(f"the code trapped: {reason}")
        self.reason = reason
        self.fuel_consumed = fuel_consumed


class ComponentExited(SandboxError):
    """The code ended its process: `status` is what it said."""

    code = "COMPONENT_EXITED"
    about = ("status",)

    def __init__(self, status: int) -> None:
        super().__init__(f"the code exited with status {status}")
        self.status = status


class CpuLimitExceeded(SandboxError, LimitExceeded):
    """A guard over CPU stopped the code. `tripped` is "fuel" or "timeout"; both limits are told (A14)."""

    code = "CPU_LIMIT"
    about: ClassVar[tuple[str, ...]] = ("component", "fuel_limit", "fuel_used", "timeout_ms", "elapsed_ms", "limit")
    resource = "cpu"
    tripped = ""
    says = ""

    def __init__(
        self, fuel_limit: int | None, fuel_used: int | None, timeout_ms: int, elapsed_ms: float, component: str = ""
    ) -> None:
        super().__init__(
            self.says.format(who=component or "the code", fuel=fuel_limit, limit=timeout_ms, elapsed=elapsed_ms)
        )
        self.component = component
        self.fuel_limit = fuel_limit
        self.fuel_used = fuel_used
        self.timeout_ms = timeout_ms
        self.elapsed_ms = elapsed_ms
        self.limit = fuel_limit or 0


class FuelExhausted(CpuLimitExceeded):
    """The code used up its fuel, before its time."""

    code = "FUEL_EXHAUSTED"
    tripped = "fuel"
    says = "{who} used up its fuel of {fuel}; give it more, or let it do less"


class CpuTimeExhausted(CpuLimitExceeded):
    """The code used up its CPU time (`cpu_ms`), before its time."""

    code = "SANDBOX_CPU_TIME"
    about = (*CpuLimitExceeded.about, "cpu_ms")
    tripped = "cpu"

    def __init__(self, cpu_ms: int, timeout_ms: int, elapsed_ms: float, component: str = "") -> None:
        super().__init__(None, None, timeout_ms, elapsed_ms, component)
        self.cpu_ms = self.limit = cpu_ms
        self.args = (f"{component or 'the code'} used up its {cpu_ms} ms of CPU time; give it more, or let it do less",)


class ExecutionTimeout(CpuLimitExceeded):
    """The call was not over in time."""

    code = "SANDBOX_TIMEOUT"
    resource = "execution"
    tripped = "timeout"
    says = "{who} was stopped after {elapsed:.0f} ms; its timeout is {limit} ms"

    def __init__(
        self, fuel_limit: int | None, fuel_used: int | None, timeout_ms: int, elapsed_ms: float, component: str = ""
    ) -> None:
        super().__init__(fuel_limit, fuel_used, timeout_ms, elapsed_ms, component)
        self.limit = timeout_ms


class ResourceLimitExceeded(SandboxError, LimitExceeded):
    """More of a resource was asked for than the limit: "table", "stack", "memory", "output", …"""

    code = "SANDBOX_RESOURCE"
    about: ClassVar[tuple[str, ...]] = ("resource", "limit", "attempted")

    def __init__(self, resource: str, limit: float, attempted: float | None, message: str = "") -> None:
        asked = "more" if attempted is None else f"{attempted:.10g}"
        super().__init__(message or f"{resource}: {asked} was asked for, {limit:.10g} is allowed")
        self.resource = resource
        self.limit = limit
        self.attempted = attempted


class OutOfMemory(ResourceLimitExceeded):
    """The code needed more linear memory than its limit (bytes)."""

    code = "SANDBOX_OUT_OF_MEMORY"
    about = ("resource", "limit", "attempted", "requested")

    def __init__(self, limit: int, requested: int | None) -> None:
        super().__init__("memory", limit, requested)
        self.requested = requested


class CapabilityDenied(SandboxError, PermissionError):
    """The code asked for what it was not granted."""

    code = "CAPABILITY_DENIED"
    about = ("component", "action", "resource", "reason")

    def __init__(self, component: str, action: str, resource: str, reason: str) -> None:
        super().__init__(f"{component} may not {action}{resource and f' {resource}'}: {reason}")
        self.component = component
        self.action = action
        self.resource = resource
        self.reason = reason


class SerializationError(SandboxError):
    """A value from code cannot be read as what it should be."""

    code = "SANDBOX_SERIALIZATION"


class HostError(SandboxError):
    """A host function failed. The cause is chained; no other call ever sees it."""

    code = "SANDBOX_HOST"
    about: ClassVar[tuple[str, ...]] = ("function",)

    def __init__(self, function: str, error: BaseException) -> None:
        super().__init__(f"host function {function} failed: {type(error).__name__}: {str(error)[:MESSAGE_MAX]}")
        self.function = function


class HostTimeout(HostError):
    """A host function took longer than one may (`host_call_ms`), while the call had time left."""

    code = "SANDBOX_HOST_TIMEOUT"
    about = ("function", "limit_ms")

    def __init__(self, function: str, limit_ms: int) -> None:
        super().__init__(function, TimeoutError(f"it took longer than {limit_ms} ms"))
        self.limit_ms = limit_ms


class SnapshotRefused(SandboxError):
    """A snapshot that is not as it was made, or of another module."""

    code = "SANDBOX_SNAPSHOT"


class Cancelled(SandboxError):
    """The caller stopped the code."""

    code = "SANDBOX_CANCELLED"

    def __init__(self) -> None:
        super().__init__("the code was cancelled by its caller")
