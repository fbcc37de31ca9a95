"""Instances of actors: their life and what they may export (A24-A31; specs/actors.md, W1-W3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from wasmtime import wat2wasm

from capabilities.actors.errors import ActorNotReady
from capabilities.actors.health import Health
from capabilities.actors.states import ComponentState, HealthState
from capabilities.sandbox import errors
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.actor_instance import ActorInstance, Dropped, InstanceMessage
from capabilities.sandbox.wasm.component_call import ComponentCall
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Runtime
from tests.components import talking

MODULE = """(module
  (global $value (mut i32) (i32.const 0))
  (func (export "_start") (global.set $value (i32.const 5)))
  (func (export "_cleanup") {cleanup})
  (func (export "_health") (result i32) (global.get $value))
  (func (export "set") (param i32) (global.set $value (local.get 0)))
  (func (export "handle-message") (param i32) (result i32)
    (global.set $value (i32.add (global.get $value) (local.get 0))) (global.get $value)))"""


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.close()


def answered(_call: object) -> Future[Any]:
    found: Future[Any] = Future()
    found.set_result(None)
    return found


def module(runtime: Runtime, text: str) -> ActorInstance:
    return ActorInstance(CoreCall(runtime, runtime.module(bytes(wat2wasm(text))), COMPONENT), "m")


def component(runtime: Runtime, data: bytes) -> ActorInstance:
    locals: dict[str, Callable[..., Any]] = {"state-load": lambda: None, "state-save": lambda _state: None}
    return ActorInstance(ComponentCall(runtime, runtime.component(data), COMPONENT, port=answered, locals=locals), "c")


def invoke(instance: ActorInstance, function: str, *args: Any) -> Any:
    return instance.take(InstanceMessage("invoke", (function, list(args)))).value


def test_a_module_lives_from_its_start_to_its_cleanup(runtime: Runtime) -> None:
    instance = module(runtime, MODULE.replace("{cleanup}", ""))
    assert (instance.state, instance.started_at, instance.health().status) == (
        ComponentState.CREATING,
        None,
        HealthState.DEGRADED,
    )
    with pytest.raises(ActorNotReady, match="m is creating, not ready: start it first"):
        invoke(instance, "set", 1)  # A29
    instance.start()
    assert instance.state is ComponentState.READY
    assert instance.started_at is not None
    with pytest.raises(errors.SerializationError, match="_health returned: 5 says nothing of its health"):
        instance.health()
    for value, status in enumerate((HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY)):
        invoke(instance, "set", value)
        assert instance.health().status is status
    reply = instance.take(InstanceMessage("message", ("somebody", (3).to_bytes(4, "little")))).value
    assert reply == (5).to_bytes(4, "little")  # A32: numbers as their bytes
    with pytest.raises(errors.ExecutionFailed, match="type mismatch: 3 bytes, 4 are expected"):
        instance.take(InstanceMessage("message", ("somebody", b"abc")))
    with pytest.raises(errors.ExecutionFailed, match="no function of this name"):
        invoke(instance, "steal")
    with pytest.raises(Dropped, match="m exports no handle-callback"):
        instance.take(InstanceMessage("callback", ("r", None)))
    instance.stop()
    instance.stop()
    assert (instance.state, instance.call.closed) == (ComponentState.TERMINATED, True)
    assert instance.health() == Health(HealthState.UNHEALTHY, "it is terminated")


@pytest.mark.parametrize("start", ["(unreachable)", "(loop (br 0))"])
def test_a_start_that_fails_leaves_it_failed(runtime: Runtime, start: str) -> None:
    instance = ActorInstance(
        CoreCall(
            runtime,
            runtime.module(bytes(wat2wasm(f'(module (func (export "_start") {start}))'))),
            COMPONENT.but(fuel=10_000),
        ),
        "m",
    )
    with pytest.raises(errors.SandboxError):
        instance.start()
    assert instance.health() == Health(HealthState.UNHEALTHY, "it is failed")
    with pytest.raises(ActorNotReady, match="failed"):
        invoke(instance, "set", 1)
    instance.stop()
    assert instance.state is ComponentState.TERMINATED


def test_a_call_that_was_cancelled_ends_before_another_thread_stops_the_instance(runtime: Runtime) -> None:
    """Both at once in one store of wasmtime ended the whole process."""
    text = '(module (func (export "_cleanup") (unreachable)) (func (export "spin") (loop (br 0))))'
    limits = COMPONENT.but(fuel=None, timeout_ms=60_000)
    spinning = ActorInstance(CoreCall(runtime, runtime.module(bytes(wat2wasm(text))), limits), "m")
    spinning.start()
    raised: list[BaseException] = []

    def spin() -> None:
        try:
            invoke(spinning, "spin")
        except errors.SandboxError as error:
            raised.append(error)

    thread = threading.Thread(target=spin)
    thread.start()
    while spinning._in_use.acquire(blocking=False):  # the call has begun
        spinning._in_use.release()
        time.sleep(0)
    spinning.call.cancel()
    spinning.stop()  # without its cleanup, which would trap
    thread.join()
    assert [type(each) for each in raised] == [errors.Cancelled]
    assert (spinning.state, spinning.ended) == (ComponentState.TERMINATED, True)


def test_a_cleanup_that_traps_stops_it_all_the_same(runtime: Runtime) -> None:
    instance = module(runtime, MODULE.replace("{cleanup}", "(unreachable)"))
    instance.start()
    with pytest.raises(errors.ComponentTrapped):
        instance.stop()
    assert (instance.state, instance.call.closed) == (ComponentState.TERMINATED, True)


def test_a_trap_ends_the_incarnation(runtime: Runtime) -> None:
    instance = component(runtime, talking.living())
    instance.start(b"config")
    assert invoke(instance, "configured") == 6
    assert invoke(instance, "health") == {"status": "degraded", "reason": "warming up"}  # inside the interface
    with pytest.raises(errors.ComponentTrapped):
        invoke(instance, "shutdown")
    assert (instance.state, instance.call.closed) == (ComponentState.FAILED, True)
    with pytest.raises(ActorNotReady):
        instance.take(InstanceMessage("message", ("", b"")))


def test_what_exports_nothing_is_healthy_and_drops_messages(runtime: Runtime) -> None:
    instance = module(runtime, "(module)")
    instance.start()
    assert instance.health() == Health(HealthState.HEALTHY)
    with pytest.raises(Dropped, match="exports no handle-message"):  # A30
        instance.take(InstanceMessage("message", ("", b"")))
    assert instance.state is ComponentState.READY


def test_code_that_is_none_is_refused_before_it_is_compiled(runtime: Runtime) -> None:
    """A8: bytes without the magic number."""
    with pytest.raises(errors.ComponentValidationFailed, match="WebAssembly begins with"):
        runtime.module(b"no module", "m")


# -- what is under it (A4-A7) -----------------------------------------------------------------------------------------

ANSWER = '(module (func (export "run") (result i32) (i32.const 42)) (func (export "give") (param i32)))'


def test_a_number_goes_there_and_back_as_its_bytes(runtime: Runtime) -> None:
    """A5: `() -> s32` gives 42; a payload of another size is a clear error. A6: the function is named."""
    call = CoreCall(runtime, runtime.module(bytes(wat2wasm(ANSWER))), COMPONENT)
    assert int.from_bytes(call.call_bytes("run", b"").value, "little", signed=True) == 42
    assert call.call_bytes("give", (7).to_bytes(4, "little")).value == b""
    for function, data, said in (
        ("give", b"123", "3 bytes, 4 are expected"),
        ("run", b"1", "1 bytes, 0 are expected"),
        ("steal", b"", "no function of this name"),
    ):
        with pytest.raises(errors.ExecutionFailed, match=said) as failed:
            call.call_bytes(function, data)
        assert function in str(failed.value)


def test_an_operation_is_executed_with_its_input_and_context(runtime: Runtime) -> None:
    """A4: a function by name, its input, and a context with the time that it has."""
    instance = component(runtime, talking.living())
    instance.start(b"config")
    assert invoke(instance, "reverse", b"input") == b"reverse"  # the component answers with the operation's name
    call = instance.call
    assert isinstance(call, ComponentCall)
    context = {"execution": "e", "timeout_millis": 5}
    assert call.call("durable:host/lifecycle@0.1.0#execute", "op", b"", context).value == b"op"
    with pytest.raises(errors.ExecutionFailed, match="timeout-millis"):
        call.call("durable:host/lifecycle@0.1.0#execute", "op", b"", {"execution": "e", "timeout_millis": "soon"})


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ('(module (func (export "f") (result i32 i32) (i32.const 1) (i32.const 2)))', True),  # several values
        ("(module (func (drop (v128.const i32x4 0 0 0 0))))", False),  # SIMD
        ("(module (memory 1 1 shared))", False),  # threads
    ],
)
def test_what_the_engine_takes_of_webassembly(runtime: Runtime, text: str, *, there: bool) -> None:
    """A7: several values; no SIMD, no threads. Bulk memory and reference types stay on (specs/sandbox.md)."""
    data = bytes(wat2wasm(text))
    if there:
        assert CoreCall(runtime, runtime.module(data), COMPONENT).call("f").value == [1, 2]
        return
    with pytest.raises(errors.SandboxError):
        runtime.module(data)
