"""Host calls of foreign code: what is asked for, and the port to whoever decides, performs and records it.

The sandbox knows nothing of stores: it asks, and waits, no longer than its call has time. What comes back is the same
when it comes from a record, which is how a killed execution is gone on with (specs/sandbox.md, R1-R5).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from wasmtime import Caller, Memory, ValType

from capabilities.sandbox.errors import ExecutionFailed, SandboxError, SerializationError
from capabilities.sandbox.limits import MIB, SandboxLimits
from capabilities.sandbox.wasm.deadline import DeadlineGuard
from capabilities.sandbox.wasm.module_imports import Import

ASK_BYTES_MAX = 1 * MIB
ANSWER_BYTES_MAX = 10 * MIB
"""Bytes of one host call's answer, as JSON: as much as a file of `read_file`."""


@dataclass(frozen=True, slots=True)
class HostCall:
    """One thing asked for. fuel: what the code had used by then, None where that is not metered."""

    capability: str
    method: str
    arguments: dict[str, Any]
    fuel: int | None = None


class CallFailed(Exception):
    """A call that was allowed and failed: the code is told, and may go on. `kind` is the error's class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


type Port = Callable[[HostCall], Future[Any]]
"""Begins a host call, from the thread that runs the code. Its future has the answer as JSON builtins, or raises
CallFailed, which the code is told, or anything else (CapabilityDenied, NonDeterminism), which ends the code."""


class CoreHost:
    """`durable.call` and `durable.answer` for core modules, whose only values are numbers.

    call(capability, its length, arguments, their length) -> the length of the answer. The capability is text
    (`kv.set`), the arguments are a JSON object by name. A negative length is an error's, whose document is
    `{"error": kind, "message": …}`. answer(where) writes what came last into the caller's memory.
    """

    def __init__(self, port: Port, limits: SandboxLimits) -> None:
        self._port = port
        self._limits = limits
        self._guard: DeadlineGuard | None = None
        self._fuel: Callable[[], int | None] = lambda: None
        self._answer = b""

    def attach(self, guard: DeadlineGuard, fuel: Callable[[], int | None]) -> None:
        """Take the guard of its call, and a function that tells the fuel used."""
        self._guard, self._fuel = guard, fuel

    def imports(self) -> list[Import]:
        """The functions that a module imports from `durable`."""
        i32 = ValType.i32()
        return [
            Import("durable", "call", [i32] * 4, [i32], self._call, caller=True),
            Import("durable", "answer", [i32], [], self._write, caller=True),
        ]

    def _call(self, caller: Caller, name: int, name_size: int, args: int, args_size: int) -> int:
        capability, _, method = _text(caller, name, name_size).partition(".")
        try:
            arguments = json.loads(_text(caller, args, args_size) or "{}")
        except (ValueError, RecursionError) as error:
            raise SerializationError(f"the arguments of {capability} are not JSON: {error}") from None
        if not isinstance(arguments, dict):
            raise SerializationError(f"the arguments of {capability} are {type(arguments).__name__}, not an object")
        assert self._guard is not None
        asked = HostCall(capability, method, arguments, self._fuel())
        try:
            answer = ask(self._port, asked, self._guard, self._limits)
        except CallFailed as failed:
            self._answer = _json({"error": failed.kind, "message": failed.message})
            return -len(self._answer)
        self._answer = _json(answer)
        return len(self._answer)

    def _write(self, caller: Caller, where: int) -> None:
        memory, at = _memory(caller), where & 0xFFFFFFFF
        if at + len(self._answer) > memory.data_len(caller):
            raise ExecutionFailed("durable.answer", f"{len(self._answer)} bytes at {at} are outside the memory")
        memory.write(caller, self._answer, at)


def ask(port: Port, call: HostCall, guard: DeadlineGuard, limits: SandboxLimits) -> Any:
    """Ask, and wait for the answer under the guard's time and the limit of a host call."""
    name = f"{call.capability}.{call.method}" if call.method else call.capability
    return guard.wait(port(call), name, limits.host_call_ms)


def _json(value: Any) -> bytes:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    if len(data) > ANSWER_BYTES_MAX:
        raise SandboxError(f"an answer of {len(data)} bytes; at most {ANSWER_BYTES_MAX} are given to foreign code")
    return data


def _memory(caller: Caller) -> Memory:
    found = caller.get("memory")
    if not isinstance(found, Memory):
        raise ExecutionFailed("durable.call", "the module exports no memory of the name 'memory'")
    return found


def _text(caller: Caller, at: int, size: int) -> str:
    memory, at, size = _memory(caller), at & 0xFFFFFFFF, size & 0xFFFFFFFF
    if size > ASK_BYTES_MAX:
        raise ExecutionFailed("durable.call", f"{size} bytes are given; at most {ASK_BYTES_MAX} are taken")
    if at + size > memory.data_len(caller):
        raise ExecutionFailed("durable.call", f"{size} bytes at {at} are outside the memory")
    try:
        return bytes(memory.read(caller, at, at + size)).decode()
    except UnicodeDecodeError as error:
        raise SerializationError(f"what is given to durable.call is not UTF-8: {error}") from None
