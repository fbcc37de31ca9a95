"""The limits of one call of foreign code. Named profiles, never averaged (D6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from capabilities.sandbox.errors import InvalidConfiguration

KIB = 1024
MIB = 1024 * KIB

TICK_MS = 10
"""Milliseconds between two epochs: how late a deadline may be noticed by code that runs."""

STACK_BYTES = 4 * MIB
"""Bytes of a thread's stack for wasm code: JavaScript needs about a kilobyte for each function that it is in."""

ASYNC_STACK_BYTES = 2 * STACK_BYTES
"""Nothing here uses wasmtime's own stacks, but one that is smaller than the above aborts the process."""

THREAD_STACK_BYTES = 16 * MIB
"""The stack of a thread that calls wasm: its code, and the host functions on top of it."""

INSTANCES_MAX, TABLES_MAX, MEMORIES_MAX = 64, 64, 16
"""Of one store: a component is made of several core instances."""

_BOUNDS: dict[str, tuple[int, int]] = {
    "fuel": (1, 1 << 62),
    "cpu_ms": (1, 24 * 3600 * 1000),
    "timeout_ms": (1, 24 * 3600 * 1000),
    "memory": (64 * KIB, 4 * 1024 * MIB),
    "table_elements": (0, 10_000_000),
    "output": (0, 64 * MIB),
    "host_call_ms": (1, 24 * 3600 * 1000),
    "at_once": (1, 10_000),
}


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one call. fuel: instructions, about; None for not metered by fuel. timeout_ms: of the whole call,
    host calls included. memory: bytes of linear memory. output: bytes of each of stdout and stderr that are kept.
    host_call_ms: of one host call. cpu_ms: CPU time; None for the timeout alone. at_once: it begins when fewer
    executions of its engine's `sandbox.run` are under way. The defaults are a component's (A19); `javascript()` and
    `restrictive()` have a script's.
    """

    fuel: int | None = 1_000_000
    timeout_ms: int = 100
    memory: int = 4 * MIB
    table_elements: int = 100_000
    output: int = 64 * KIB
    host_call_ms: int = 30_000
    cpu_ms: int | None = None
    at_once: int = 20

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value: Any = getattr(self, name)
            if value is None and name in ("fuel", "cpu_ms"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise InvalidConfiguration(f"limit {name} is {value!r}; it is a whole number from {least} to {most}")

    def but(self, **changes: Any) -> Self:
        """These limits with some of them changed; InvalidConfiguration."""
        unknown = sorted(set(changes) - set(_BOUNDS))
        if unknown:
            raise InvalidConfiguration(f"there is no limit {unknown[0]!r}; there are {', '.join(_BOUNDS)}")
        return replace(self, **changes)

    @classmethod
    def javascript(cls, **changes: Any) -> SandboxLimits:
        """The limits of a script, or Python (G1, W4), with some of them changed; InvalidConfiguration."""
        return JAVASCRIPT.but(**changes)

    @classmethod
    def restrictive(cls, **changes: Any) -> SandboxLimits:
        """The limits of a script trusted less: 2 s, 64 MiB, no console, ten at once (W7); InvalidConfiguration."""
        return RESTRICTIVE.but(**changes)


COMPONENT = SandboxLimits()
"""A19: what a component may use when it brings no manifest."""

JAVASCRIPT = SandboxLimits(fuel=None, timeout_ms=60_000, memory=128 * MIB, cpu_ms=30_000)
"""G1, W4: what a script may use."""

RESTRICTIVE = SandboxLimits(fuel=None, timeout_ms=2_000, memory=64 * MIB, output=0, at_once=10)
"""W7: what a script may use that is trusted less; its output is not kept."""
