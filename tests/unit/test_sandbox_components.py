"""Calls of components written in the text format: types, host interfaces, resources, guards (specs/sandbox.md)."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest

from capabilities.sandbox import errors
from capabilities.sandbox.limits import COMPONENT, MIB, SandboxLimits
from capabilities.sandbox.wasm import component_imports, deadline, module_imports
from capabilities.sandbox.wasm.component_call import ComponentCall
from capabilities.sandbox.wasm.runtime import Runtime, wat
from capabilities.sandbox.wasm.wasi_p2 import VERSIONS
from capabilities.sandbox.wasm.wit_values import Err
from tests.unit.own_errors import strangers

COMPONENT_CODE = wat("""
(component
  (import "f" (func $f (param "n" u32) (result u32)))
  (core func $f (canon lower (func $f)))
  (core module $m
    (import "host" "f" (func $f (param i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "\\01\\00\\00\\00\\07\\00\\00\\00")
    (func (export "answer") (result i32) i32.const 42)
    (func (export "same") (param i32) (result i32) local.get 0)
    (func (export "ask") (param i32) (result i32) (call $f (local.get 0)))
    (func (export "spin") (loop br 0))
    (func $deep (export "deep") (call $deep))
    (func (export "grow") (loop (if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then unreachable)) br 0))
    (func (export "trap") unreachable)
    (func (export "bad") (result i32) (i32.const 64))
    (func (export "bomb") (param i32) (result i32)
      (local $i i32)
      (loop $l
        (i32.store (i32.add (i32.const 1024) (i32.shl (local.get $i) (i32.const 3))) (i32.const 0))
        (i32.store (i32.add (i32.const 1028) (i32.shl (local.get $i) (i32.const 3))) (i32.const 65536))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4000))))
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (local.get 0))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "host" (instance (export "f" (func $f))))))
  (func (export "answer") (result s32) (canon lift (core func $i "answer")))
  (func (export "same") (param "n" u8) (result u8) (canon lift (core func $i "same")))
  (func (export "ask") (param "n" u32) (result u32) (canon lift (core func $i "ask")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "deep") (canon lift (core func $i "deep")))
  (func (export "grow") (canon lift (core func $i "grow")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "bad") (result (result (error u32)))
    (canon lift (core func $i "bad") (memory (core memory $i "memory"))))
  (func (export "bomb") (param "n" u32) (result (list (list u8)))
    (canon lift (core func $i "bomb") (memory (core memory $i "memory")))))
""")
FREE = COMPONENT.but(fuel=None, timeout_ms=30_000)

type Call = Callable[..., ComponentCall]


@pytest.fixture
def make(runtime: Runtime) -> Call:
    def make(limits: SandboxLimits = COMPONENT, host: Callable[[int], Any] = lambda n: n + 1) -> ComponentCall:
        return ComponentCall(
            runtime, runtime.component(COMPONENT_CODE), limits, interfaces={"": {"f": host}}, name="fix"
        )

    return make


def test_the_fixture_answers_42_and_says_what_it_used(make: Call) -> None:
    outcome = make().call("answer")
    assert (outcome.value, outcome.used.fuel) == (42, 2)


def test_a_host_function_answers_in_its_types(make: Call) -> None:
    assert make().call("ask", 2**32 - 2).value == 2**32 - 1
    with pytest.raises(errors.ExecutionFailed, match=r"f: type mismatch: result: 4294967296 is no u32"):
        make().call("ask", 2**32 - 1)


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("absent", (), "no function of this name; exported: answer, ask, bad"),
        ("same", (), r"it takes 1 arguments \(n\), 0 were given"),
        ("same", (256,), "type mismatch: n: 256 is no u8: 0 to 255"),
        ("same", (-1,), "type mismatch: n: -1 is no u8"),
        ("same", (True,), "type mismatch: n: True is no u8"),
        ("same", ("5",), "type mismatch: n: '5' is no u8"),
    ],
)
def test_a_call_that_cannot_be_made_says_why(make: Call, function: str, args: tuple[Any, ...], says: str) -> None:
    call = make()
    with pytest.raises(errors.ExecutionFailed, match=says) as caught:
        call.call(function, *args)
    assert caught.value.function == function
    assert call.call("same", 255).value == 255, "it is refused before anything runs"


def test_an_error_of_the_component_is_raised_and_harms_nothing(make: Call) -> None:
    call = make()
    with pytest.raises(Err) as caught:
        call.call("bad")
    assert caught.value.value == 7
    assert caught.value.used.fuel
    assert call.call("answer").value == 42


@pytest.mark.parametrize(
    ("function", "limits", "error"),
    [
        ("spin", COMPONENT.but(fuel=1, timeout_ms=30_000), errors.FuelExhausted),
        ("spin", COMPONENT.but(fuel=10_000_000_000, timeout_ms=1), errors.ExecutionTimeout),
        ("spin", COMPONENT.but(fuel=None, timeout_ms=1), errors.ExecutionTimeout),
        ("trap", FREE, errors.ComponentTrapped),
        ("deep", FREE, errors.ResourceLimitExceeded),
        ("bomb", FREE, errors.ResourceLimitExceeded),
    ],
)
def test_each_cause_is_its_own_error(make: Call, function: str, limits: SandboxLimits, error: type[Exception]) -> None:
    call = make(limits)
    with pytest.raises(error) as caught:
        call.call(function, *((4000,) if function == "bomb" else ()))
    assert type(caught.value) is error
    with pytest.raises(errors.ExecutionFailed, match="take a fresh instance"):
        call.call("answer")


def test_eight_threads_each_get_their_own_error(make: Call) -> None:
    assert strangers(lambda host: make(FREE, host), "trap") == []


RECORDS = """
(component
  (type $own (record (field "a" bool))) (export $t "t" (type $own))
  (core module $m (memory (export "memory") 16) (data (i32.const 16) "\\40\\00\\00\\00\\00\\35\\0c\\00")
    (func (export "f") (result i32) (i32.const 16)))
  (core instance $i (instantiate $m))
  (func (export "f") (result (list $t)) (canon lift (core func $i "f") (memory (core memory $i "memory")))))
"""
"""A list of 800,000 records of one byte each, which Python takes seconds to read."""


def test_what_a_component_gives_is_read_within_its_time(runtime: Runtime) -> None:
    limits = COMPONENT.but(timeout_ms=100, memory=4 * MIB)
    call = ComponentCall(runtime, runtime.component(wat(RECORDS)), limits)
    with pytest.raises(errors.ExecutionTimeout):
        call.call("f")


ERROR = (
    '(enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"'
    ' "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"'
    ' "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"'
    ' "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"'
    ' "permanent-resolver-failure")'
)
SOCKETS = f"""
(component
  (import "wasi:sockets/network@0.2.0" (instance $net
    (type $e {ERROR}) (export "error-code" (type (eq $e)))
    (type $f (enum "ipv4" "ipv6")) (export "ip-address-family" (type (eq $f)))))
  (alias export $net "error-code" (type $code)) (alias export $net "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $c
    (alias outer 1 $code (type $e1)) (export "error-code" (type $e2 (eq $e1)))
    (alias outer 1 $family (type $f1)) (export "ip-address-family" (type $f2 (eq $f1)))
    (alias outer 1 $socket (type $t1)) (export "tcp-socket" (type $t2 (eq $t1)))
    (export "create-tcp-socket" (func (param "address-family" $f2) (result (result (own $t2) (error $e2)))))))
  (core module $mem (memory (export "memory") 1))
  (core instance $m (instantiate $mem))
  (core func $create (canon lower (func $c "create-tcp-socket") (memory (core memory $m "memory"))))
  (core module $made (import "" "c" (func $c (param i32 i32))) (import "" "memory" (memory 1))
    (func (export "f") (result i32) (call $c (i32.const 0) (i32.const 16)) (i32.load8_u (i32.const 16))))
  (core instance $i (instantiate $made (with "" (instance
    (export "c" (func $create)) (export "memory" (memory $m "memory"))))))
  (func (export "f") (result u32) (canon lift (core func $i "f"))))
"""


def test_no_socket_is_made(runtime: Runtime) -> None:
    call = ComponentCall(runtime, runtime.component(wat(SOCKETS)), COMPONENT.but(timeout_ms=10_000))
    call.call("f")
    before = len(os.listdir("/proc/self/fd"))
    assert [call.call("f").value for _ in range(50)] == [1] * 50
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_denial_is_a_denial(make: Call) -> None:
    def host(n: int) -> int:
        raise errors.CapabilityDenied("fix", "read", "/etc/passwd", "nothing is granted")

    with pytest.raises(errors.CapabilityDenied):
        make(host=host).call("ask", 7)


def test_what_is_not_given_is_named(runtime: Runtime) -> None:
    code = wat('(component (import "durable:host/absent@0.1.0" (instance (export "f" (func)))))')
    with pytest.raises(errors.ExecutionFailed, match=r"it asks for what is not given.*durable:host/absent"):
        ComponentCall(runtime, runtime.component(code), COMPONENT).call("f")


CLOCK = """
(component
  (import "wasi:random/random@{version}" (instance $r (export "get-random-u64" (func (result u64)))))
  (import "wasi:clocks/monotonic-clock@{version}" (instance $c (export "now" (func (result u64)))))
  (core func $random (canon lower (func $r "get-random-u64")))
  (core func $now (canon lower (func $c "now")))
  (core module $m
    (import "h" "random" (func $random (result i64)))
    (import "h" "now" (func $now (result i64)))
    (func (export "f") (result i64) (i64.add (call $now) (call $random))))
  (core instance $i (instantiate $m (with "h"
    (instance (export "random" (func $random)) (export "now" (func $now))))))
  (func (export "f") (result u64) (canon lift (core func $i "f"))))
"""


@pytest.mark.parametrize("version", ["0.2.0", "0.2.6", *VERSIONS])
def test_time_and_chance_are_ours_whatever_version_is_asked_for(runtime: Runtime, version: str) -> None:
    code = runtime.component(wat(CLOCK.replace("{version}", version)))
    assert len({ComponentCall(runtime, code, FREE).call("f").value for _ in range(2)}) == 1


def test_the_versions_that_are_shadowed_are_those_that_wasmtime_has() -> None:
    from pathlib import Path

    import wasmtime

    (library,) = (Path(wasmtime.__file__).parent).glob("*/_libwasmtime.*")
    assert f"wasi:random/random@{VERSIONS[0]}".encode() in library.read_bytes()


def test_a_call_that_is_over_leaves_nothing(make: Call) -> None:
    gc.collect()  # what other tests left to be collected
    before = len(deadline._guards), len(component_imports._bound), len(module_imports._bound)
    for n in range(20):
        make().call("ask", n)
        with pytest.raises(errors.ComponentTrapped):
            make().call("trap")
    gc.collect()
    assert (len(deadline._guards), len(component_imports._bound), len(module_imports._bound)) == before
