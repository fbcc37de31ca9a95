"""Calls of core modules: every guard its own error, and what was used (specs/sandbox.md)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wasmtime import ValType

from capabilities.sandbox import errors
from capabilities.sandbox.limits import COMPONENT, SandboxLimits
from capabilities.sandbox.wasm import module_call, module_imports
from capabilities.sandbox.wasm.module_call import CoreCall, Outcome
from capabilities.sandbox.wasm.module_imports import Import
from capabilities.sandbox.wasm.runtime import Runtime, wat
from tests.unit.own_errors import cancelled, strangers

MODULE = wat("""
(module
  (import "host" "f" (func $f (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello, sandbox\\n")
  (func (export "answer") (result i32) i32.const 42)
  (func (export "id") (param i32) (result i32) local.get 0)
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  (func (export "two") (param i32 i32) (result i32) local.get 0)
  (func (export "nothing"))
  (func (export "spin") (loop br 0))
  (func $deep (export "deep") (call $deep))
  (func (export "grow") (loop (if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then unreachable)) br 0))
  (func (export "ask") (param i32) (result i32) (call $f (local.get 0)))
  (func (export "unreachable") unreachable)
  (func (export "zero") (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
  (func $print
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 15))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "print") (call $print))
  (func (export "flood") (loop (call $print) (br 0)))
  (func (export "print_and_trap") (call $print) unreachable))
""")
FREE = COMPONENT.but(fuel=None, timeout_ms=30_000)

type Call = Callable[..., CoreCall]


@pytest.fixture
def make(runtime: Runtime) -> Call:
    def make(limits: SandboxLimits = COMPONENT, host: Callable[[int], Any] = lambda n: n + 1) -> CoreCall:
        imports = [Import("host", "f", [ValType.i32()], [ValType.i32()], host)]
        return CoreCall(runtime, runtime.module(MODULE), limits, imports=imports, component="fixture")

    return make


def test_a_value_and_what_it_used(make: Call) -> None:
    outcome = make().call("answer")
    assert (outcome.value, outcome.used.fuel, outcome.used.memory) == (42, 2, 65_536)


def test_host_functions_are_made_for_what_a_module_imports_alone(
    runtime: Runtime, make: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making one takes as long as running a small module, and there are ten."""
    made: list[str] = []

    def define(linker: Any, each: Import, guard: Any) -> module_imports.Defined:
        made.append(each.name)
        return module_imports.define(linker, each, guard)

    monkeypatch.setattr(module_call, "define", define)
    plain = runtime.module(wat('(module (func (export "run") (result i32) i32.const 5))'))
    assert CoreCall(runtime, plain, FREE).call("run").value == 5
    assert made == []
    assert make(FREE).call("ask", 1).value == 2
    assert made == ["f"]


def test_the_same_call_uses_the_same_fuel(make: Call) -> None:
    assert {make().call("ask", 5).used.fuel for _ in range(5)} == {make().call("ask", 6).used.fuel}


@pytest.mark.parametrize(
    ("function", "data", "expected"),
    [("id", b"\x05\0\0\0", b"\x05\0\0\0"), ("half", b"\0\0\0\0\0\0\x10@", b"\0\0\0\0\0\0\0@"), ("nothing", b"", b"")],
)
def test_bytes_in_and_out(make: Call, function: str, data: bytes, expected: bytes) -> None:
    assert make().call_bytes(function, data).value == expected


@pytest.mark.parametrize(
    ("function", "data", "says"),
    [("id", b"\x05", "type mismatch: 1 bytes, 4"), ("two", b"\0" * 8, "2 parameters: more than one needs a schema")],
)
def test_bytes_that_do_not_fit(make: Call, function: str, data: bytes, says: str) -> None:
    with pytest.raises(errors.ExecutionFailed, match=says):
        make().call_bytes(function, data)


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("absent", (), "no function of this name"),
        ("memory", (), "no function of this name"),
        ("id", (), "takes 1 arguments, 0 were given"),
        ("id", ("5",), "type mismatch: '5' is no i32"),
        ("id", (True,), "type mismatch"),
    ],
)
def test_a_call_that_cannot_be_made_names_the_function(
    make: Call, function: str, args: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(errors.ExecutionFailed, match=says) as caught:
        make().call(function, *args)
    assert caught.value.function == function


def test_fuel_that_is_used_up_says_nothing_of_time(make: Call) -> None:
    with pytest.raises(errors.FuelExhausted) as caught:
        make(COMPONENT.but(fuel=1, timeout_ms=30_000)).call("spin")
    assert "time" not in str(caught.value)
    assert (caught.value.tripped, caught.value.fuel_limit, caught.value.timeout_ms) == ("fuel", 1, 30_000)


def test_time_that_is_over_is_a_timeout_whichever_guard_met_it(make: Call) -> None:
    for fuel in (None, 10_000_000_000):
        with pytest.raises(errors.ExecutionTimeout) as caught:
            make(COMPONENT.but(fuel=fuel, timeout_ms=1)).call("spin")
        assert caught.value.elapsed_ms >= 1
        assert caught.value.used.fuel is None, "what an interrupt leaves of the fuel is not known"
        assert isinstance(caught.value, errors.CpuLimitExceeded)
        assert caught.value.fuel_limit == fuel


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        ("deep", errors.ResourceLimitExceeded, "stack"),
        ("unreachable", errors.ComponentTrapped, "unreachable"),
        ("zero", errors.ComponentTrapped, "divide by zero"),
    ],
)
def test_each_trap_its_own_error(make: Call, function: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make(COMPONENT.but(fuel=100_000_000, timeout_ms=30_000)).call(function)


def test_memory_up_to_its_limit(make: Call) -> None:
    with pytest.raises(errors.OutOfMemory) as caught:
        make().call("grow")
    assert caught.value.limit == COMPONENT.memory
    assert caught.value.used.memory is not None
    assert caught.value.used.memory <= COMPONENT.memory
    assert caught.value.used.near_out_of_memory is True


@pytest.mark.parametrize(("pages", "near"), [(8, False), (9, True), (10, True)])
def test_nine_tenths_of_the_memory_are_near_its_limit(runtime: Runtime, pages: int, near: bool) -> None:
    module = runtime.module(wat(f'(module (memory (export "memory") {pages}) (func (export "f")))'))
    used = CoreCall(runtime, module, COMPONENT.but(memory=10 * 65_536)).call("f").used
    assert (used.memory, used.memory_limit, used.near_out_of_memory) == (pages * 65_536, 10 * 65_536, near)


def test_what_is_not_known_is_not_near(runtime: Runtime) -> None:
    hidden = runtime.module(wat('(module (memory 15) (func (export "f")))'))
    assert CoreCall(runtime, hidden, COMPONENT).call("f").used.near_out_of_memory is None
    assert errors.Used.of({"memory": 10, "memory_limit": "10"}, ("", "")).near_out_of_memory is None


def test_memory_that_cannot_even_begin(runtime: Runtime) -> None:
    module = runtime.module(wat('(module (memory 1000) (func (export "f")))'))
    with pytest.raises(errors.OutOfMemory):
        CoreCall(runtime, module, COMPONENT).call("f")


def test_an_import_that_nobody_gives_is_named(runtime: Runtime) -> None:
    module = runtime.module(wat('(module (import "host" "secret" (func)) (func (export "f")))'))
    with pytest.raises(errors.ExecutionFailed, match="host::secret"):
        CoreCall(runtime, module, COMPONENT).call("f")


def test_what_a_host_function_raises_comes_to_its_caller(make: Call) -> None:
    def host(n: int) -> int:
        raise ValueError(f"no {n} here")

    with pytest.raises(errors.HostError, match="no 7 here") as caught:
        make(host=host).call("ask", 7)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_denial_stays_one(make: Call) -> None:
    def host(n: int) -> int:
        raise errors.CapabilityDenied("fixture", "read", "/etc/passwd", "nothing is granted")

    with pytest.raises(errors.CapabilityDenied):
        make(host=host).call("ask", 7)


def test_eight_threads_each_get_their_own_error(make: Call) -> None:
    assert strangers(lambda host: make(FREE, host), "unreachable") == []


def test_a_cancel_from_another_thread_stops_it(make: Call) -> None:
    entered = threading.Event()

    def host(n: int) -> int:
        entered.set()
        return n

    module_call = make(COMPONENT.but(fuel=None, timeout_ms=60_000), host)

    def work() -> None:
        module_call.call("ask", 1)
        module_call.call("spin")

    assert isinstance(cancelled(module_call, work, lambda: entered.wait(10)), errors.Cancelled)
    assert entered.is_set()


def test_output_is_kept_up_to_its_limit_whatever_happens(make: Call) -> None:
    assert make().call("print").used.stdout == "hello, sandbox\n"
    with pytest.raises(errors.ComponentTrapped) as trapped:
        make().call("print_and_trap")
    assert trapped.value.used.stdout == "hello, sandbox\n"
    flooding = make(COMPONENT.but(output=100))
    with pytest.raises(errors.CpuLimitExceeded) as flooded:
        flooding.call("flood")
    assert len(flooded.value.used.stdout) == 100
    assert flooding.output.dropped["stdout"] > 0


async def test_calls_in_threads_leave_the_loop_free(runtime: Runtime, make: Call) -> None:
    spinning = make(COMPONENT.but(fuel=None, timeout_ms=60_000))
    task = asyncio.ensure_future(runtime.threads.run(lambda: spinning.call("spin")))
    answers: list[Outcome] = await asyncio.gather(
        *(runtime.threads.run(lambda: make().call("answer")) for _ in range(100))
    )
    assert [each.value for each in answers] == [42] * 100
    spinning.cancel()
    with pytest.raises(errors.Cancelled):
        await task


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", errors.ComponentValidationFailed, "begins with b''"),
        (b"MZ\x90\0", errors.ComponentValidationFailed, "WebAssembly begins with"),
        (wat("(component)"), errors.ComponentValidationFailed, "no core module; perhaps a component"),
        (MODULE[:-3], errors.ComponentParseFailed, "fixture"),
    ],
)
def test_bytes_that_are_no_module(runtime: Runtime, data: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        runtime.module(data, "fixture")


def test_a_cached_artefact_is_used_and_a_changed_one_is_not(tmp_path: Path) -> None:
    first = Runtime(tmp_path / "cache")
    first.module(MODULE)
    (artefact,) = (each for each in (tmp_path / "cache").iterdir() if each.name != "key")
    second = Runtime(tmp_path / "cache")
    second.module(MODULE)
    assert second._artefacts is not None
    assert (second._artefacts.hits, second._artefacts.refused) == (1, 0)
    data = bytearray(artefact.read_bytes())
    data[len(data) // 2] ^= 1
    artefact.write_bytes(data)
    third = Runtime(tmp_path / "cache")
    assert CoreCall(third, third.module(wat('(module (func (export "f")))')), COMPONENT).call("f").value is None
    third.module(MODULE)
    assert third._artefacts is not None
    assert third._artefacts.refused == 1


@pytest.mark.parametrize("wrong", [{"fuel": 0}, {"timeout_ms": 0}, {"memory": 1}, {"timeout_ms": 1.5}, {"fule": 1}])
def test_limits_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidConfiguration):
        COMPONENT.but(**wrong)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('(func (export "f") (drop (v128.const i32x4 0 0 0 0)))', "SIMD support is not enabled"),
        (
            """(func (export "f") (param $a v128) (result v128)
              (i8x16.relaxed_swizzle (local.get $a) (local.get $a)))""",
            "SIMD support is not enabled",
        ),
        ('(memory 1 2 shared) (func (export "f"))', "threads must be enabled for shared memories"),
        (
            """(memory 1) (func (export "f") (result i32)
              (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))""",
            "threads support is not enabled",
        ),
    ],
    ids=["simd", "relaxed-simd", "shared-memory", "atomics"],
)
def test_what_would_make_a_replay_differ_is_refused_as_it_is_loaded(runtime: Runtime, text: str, why: str) -> None:
    with pytest.raises(errors.ComponentLoadFailed, match=why) as caught:
        runtime.module(wat(f"(module {text})"), "fast")
    assert (caught.value.component, why in caught.value.reason) == ("fast", True)
