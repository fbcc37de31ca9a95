"""Why a call ended, from what was seen of it. Pure: the whole decision is this table (specs/sandbox.md, S1-S6)."""

from __future__ import annotations

from dataclasses import dataclass

from capabilities.sandbox.errors import (
    Cancelled,
    ComponentExited,
    ComponentTrapped,
    CpuTimeExhausted,
    ExecutionTimeout,
    FuelExhausted,
    OutOfMemory,
    ResourceLimitExceeded,
    SandboxError,
    Used,
)
from capabilities.sandbox.limits import INSTANCES_MAX, MIB, STACK_BYTES, SandboxLimits
from durable.core.errors import DurableError

PAGE_BYTES = 65_536
COPY_BYTES = 128 * MIB
"""Bytes that wasmtime lets one call of a component give to its host: lists that overlap are copied each."""

HANDLES_MAX = 1_000_000
"""Handles of one store, by wasmtime: streams, pollables, resources of the host."""

OUT_OF_FUEL = "all fuel consumed by WebAssembly"
STACK = "call stack exhausted"
MEMORY_AT_START = "exceeds memory limits"
TABLE_AT_START = "exceeds table limits"
INSTANCES = "resource limit exceeded: "
HANDLES = "store handle limit exceeded"
COPY = "too much data is being copied between the host and the guest"
"""Texts of wasmtime's, for errors that carry no trap code."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of a call without a result, as it was seen.

    host: what a host function of this call raised, NonDeterminism among it. exit_status: of a process that ended
    itself. interrupted: the epoch's callback stopped it.
    """

    text: str
    used: Used
    host: DurableError | None = None
    exit_status: int | None = None
    cancelled: bool = False
    interrupted: bool = False
    memory_limit_met: bool = False
    cpu_over: bool = False


def verdict(end: CallEnd, limits: SandboxLimits, component: str = "") -> DurableError:
    """The one error of this end, with what was used."""
    error = _of(end, limits, component)
    if isinstance(error, SandboxError):
        error.used = end.used
    return error


def _of(end: CallEnd, limits: SandboxLimits, component: str) -> DurableError:
    used = end.used
    cpu = (limits.fuel, used.fuel, limits.timeout_ms, used.elapsed_ms, component)
    if end.cancelled:
        return Cancelled()
    if end.host is not None:
        return end.host
    if end.exit_status is not None:
        return ComponentExited(end.exit_status)
    if end.cpu_over and limits.cpu_ms is not None:
        return CpuTimeExhausted(limits.cpu_ms, limits.timeout_ms, used.elapsed_ms, component)
    dry = OUT_OF_FUEL in end.text
    if end.interrupted or (dry and used.elapsed_ms >= limits.timeout_ms):
        return ExecutionTimeout(*cpu)
    if dry:
        return FuelExhausted(limits.fuel, limits.fuel, limits.timeout_ms, used.elapsed_ms, component)
    if STACK in end.text:
        return ResourceLimitExceeded("stack", STACK_BYTES, None)
    if TABLE_AT_START in end.text:
        return ResourceLimitExceeded("table", limits.table_elements, None)
    if INSTANCES in end.text:
        return ResourceLimitExceeded("instances, memories or tables", INSTANCES_MAX, None)
    if HANDLES in end.text:
        return ResourceLimitExceeded("handles", HANDLES_MAX, None)
    if COPY in end.text:
        return ResourceLimitExceeded("values copied", COPY_BYTES, None)
    if MEMORY_AT_START in end.text or end.memory_limit_met or _near(used.memory, limits.memory):
        return OutOfMemory(limits.memory, None)
    return ComponentTrapped(_reason(end.text), used.fuel)


def _near(memory: int | None, limit: int) -> bool:
    """A refused growth is no trap: the code asks for more than is left and gives up. So: by size near the limit."""
    return memory is not None and memory + max(PAGE_BYTES, limit // 10) > limit


def _reason(text: str) -> str:
    """The cause without the backtrace, which comes before it."""
    for line in reversed(text.strip().splitlines()):
        if "wasm trap:" in line:
            return line.split("wasm trap:", 1)[1].strip()
    if "Caused by:" in text:
        return text.rpartition("Caused by:")[2].strip()[:500]
    return text.strip().splitlines()[0][:500] if text.strip() else "unknown"
