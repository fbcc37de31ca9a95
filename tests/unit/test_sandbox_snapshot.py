"""State of core modules between calls: taken, signed, given to a fresh instance elsewhere (specs/sandbox.md, N1-N4)."""

from __future__ import annotations

import pytest
from wasmtime import ValType

from capabilities.sandbox import errors
from capabilities.sandbox.errors import SnapshotRefused
from capabilities.sandbox.javascript import engine_file
from capabilities.sandbox.limits import COMPONENT, MIB
from capabilities.sandbox.wasm.module_bytes import with_state
from capabilities.sandbox.wasm.module_imports import Import
from capabilities.sandbox.wasm.runtime import Runtime, wat
from capabilities.sandbox.wasm.snapshot import Snapshotable, give, take

KEY = b"k" * 32
CODE = wat("""
(module
  (import "host" "f" (func $f (param i32) (result i32)))
  (memory 1 8)
  (table 2 funcref)
  (elem (i32.const 0) $step)
  (global $count (mut i64) (i64.const 0))
  (global $ratio (mut f64) (f64.const 1))
  (global $limit i32 (i32.const 7))
  (func $step (result i32) (call $f (i32.wrap_i64 (global.get $count))))
  (func (export "next") (result i64) (local $at i32)
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (global.set $ratio (f64.div (global.get $ratio) (f64.const 3)))
    (if (i64.eq (global.get $count) (i64.const 2)) (then (drop (memory.grow (i32.const 2)))))
    (local.set $at (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8)))
    (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (i64.extend_i32_s
      (call_indirect (result i32) (i32.const 0)))))
    (i64.add (i64.load (local.get $at)) (i64.trunc_sat_f64_s (f64.mul (global.get $ratio) (f64.const 1e9))))))
""")


def host() -> list[Import]:
    return [Import("host", "f", [ValType.i32()], [ValType.i32()], lambda n: n * 100)]


def test_what_is_restored_elsewhere_goes_on_as_if_it_never_ended(runtime: Runtime) -> None:
    source = Snapshotable.load(runtime, CODE)
    whole = source.call(runtime, COMPONENT, imports=host())
    expected = [(found.value, found.used.fuel) for found in (whole.call("next") for _ in range(6))]
    for cut in range(1, 6):
        first = source.call(runtime, COMPONENT, imports=host())
        for _ in range(cut):
            first.call("next")
        snapshot = take(source, first, KEY)
        elsewhere = Runtime()
        other = Snapshotable.load(elsewhere, CODE)
        second = other.call(elsewhere, COMPONENT, imports=host())
        give(other, second, snapshot, KEY)
        rest = [second.call("next") for _ in range(6 - cut)]
        assert [(found.value, found.used.fuel) for found in rest] == expected[cut:]
        assert len(snapshot) < 2_000
        elsewhere.close()


def test_what_is_not_as_it_was_made_is_refused_whole(runtime: Runtime) -> None:
    source = Snapshotable.load(runtime, CODE)
    call = source.call(runtime, COMPONENT, imports=host())
    call.call("next")
    snapshot = take(source, call, KEY)
    for at in range(0, len(snapshot), 7):
        changed = bytearray(snapshot)
        changed[at] ^= 1
        fresh = source.call(runtime, COMPONENT, imports=host())
        with pytest.raises(SnapshotRefused, match="not as it was made"):
            give(source, fresh, bytes(changed), KEY)
    for wrong, key in [(snapshot[:-1], KEY), (b"", KEY), (snapshot, b"x" * 32)]:
        with pytest.raises(SnapshotRefused, match="not as it was made"):
            give(source, source.call(runtime, COMPONENT, imports=host()), wrong, key)
    another = Snapshotable.load(runtime, wat('(module (memory 1) (func (export "next")))'))
    with pytest.raises(SnapshotRefused, match="of another module"):
        give(another, another.call(runtime, COMPONENT), snapshot, KEY)


def test_limits_hold_for_what_is_restored(runtime: Runtime) -> None:
    source = Snapshotable.load(runtime, CODE)
    call = source.call(runtime, COMPONENT, imports=host())
    call.call("next")
    call.call("next")
    snapshot = take(source, call, KEY)
    small = source.call(runtime, COMPONENT.but(memory=MIB // 8), imports=host())
    with pytest.raises(errors.OutOfMemory):
        give(source, small, snapshot, KEY)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('(module (table 1 funcref) (func (export "f") (table.set (i32.const 0) (ref.null func))))', "table.set"),
        ('(module (memory 1) (data $d "x") (func (export "f") (data.drop $d)))', "data.drop"),
        ('(module (import "host" "m" (memory 1)) (func (export "f")))', "imports host.m, which is no function"),
        ('(module (global (mut funcref) (ref.null func)) (func (export "f")))', "global 0 holds a reference"),
    ],
)
def test_state_that_nobody_can_read_back_is_refused(runtime: Runtime, code: str, says: str) -> None:
    with pytest.raises(errors.ComponentValidationFailed, match=says):
        Snapshotable.load(runtime, wat(code))


def test_a_large_real_module_is_read_whole(runtime: Runtime) -> None:
    data = engine_file.read()
    made, state = with_state(data)
    assert (len(state.memories), len(state.globals), state.hidden) == (1, 1, "")
    assert len(made) - len(data) < 100
