"""Host functions that do not come back: ended by their own time, by the call's, or by a cancel (specs/sandbox.md)."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest
from wasmtime import ValType

from capabilities.sandbox import errors
from capabilities.sandbox.host_calls import HostCall
from capabilities.sandbox.limits import COMPONENT, SandboxLimits
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.module_imports import Import
from capabilities.sandbox.wasm.runtime import Runtime, wat
from tests.unit.own_errors import cancelled

ASKS = wat("""
(module
  (import "durable" "call" (func $call (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hang")
  (func (export "f") (result i32) (call $call (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 0))))
""")
CALLS = wat("""
(module
  (import "host" "f" (func $f (param i32) (result i32)))
  (func (export "f") (result i32) (call $f (i32.const 4))))
""")


def asking(runtime: Runtime, limits: SandboxLimits, asked: list[Future[Any]]) -> CoreCall:
    def port(call: HostCall) -> Future[Any]:
        assert call.capability == "hang"
        asked.append(Future())
        return asked[-1]

    return CoreCall(runtime, runtime.module(ASKS), limits, port=port)


def hanging(runtime: Runtime, limits: SandboxLimits, release: threading.Event) -> CoreCall:
    def host(n: int) -> int:
        release.wait(60)
        return n

    imports = [Import("host", "f", [ValType.i32()], [ValType.i32()], host, waits=True)]
    return CoreCall(runtime, runtime.module(CALLS), limits, imports=imports)


SHORT = COMPONENT.but(host_call_ms=20, timeout_ms=60_000)
LONG = COMPONENT.but(host_call_ms=60_000, timeout_ms=20)


@pytest.mark.parametrize(
    ("limits", "error", "says"),
    [
        (SHORT, errors.HostTimeout, "it took longer than 20 ms"),
        (LONG, errors.ExecutionTimeout, "its timeout is 20 ms"),
    ],
)
def test_a_host_call_ends_by_the_limit_that_is_first(
    runtime: Runtime, limits: SandboxLimits, error: type[Exception], says: str
) -> None:
    asked: list[Future[Any]] = []
    with pytest.raises(error, match=says) as caught:
        asking(runtime, limits, asked).call("f")
    assert type(caught.value) is error
    assert asked[0].cancelled(), "whoever performs it is told"
    release = threading.Event()
    with pytest.raises(error, match=says):
        hanging(runtime, limits, release).call("f")
    release.set()


@pytest.mark.parametrize("asks", [True, False])
def test_a_cancel_ends_a_wait(runtime: Runtime, asks: bool) -> None:
    limits, release = COMPONENT.but(timeout_ms=60_000), threading.Event()
    call = asking(runtime, limits, []) if asks else hanging(runtime, limits, release)

    def begun() -> None:
        while call.guard._wake is None:
            time.sleep(0)

    ended = cancelled(call, lambda: call.call("f"), begun)
    release.set()
    assert isinstance(ended, errors.Cancelled)


def test_a_host_function_that_waits_gives_its_answer_and_its_error(runtime: Runtime) -> None:
    release = threading.Event()
    release.set()
    assert hanging(runtime, COMPONENT, release).call("f").value == 4

    def fails(n: int) -> int:
        raise KeyError(n)

    imports = [Import("host", "f", [ValType.i32()], [ValType.i32()], fails, waits=True)]
    with pytest.raises(errors.HostError, match="host function f failed: KeyError: 4"):
        CoreCall(runtime, runtime.module(CALLS), COMPONENT, imports=imports).call("f")
