"""Hostile modules and components: named ones with the error that each ends with, and mutations of good ones.

`python -m tests.e2e.hostile_wasm --mutations 1000 --python 10 --seed 7` tries that many; the process must live, and
nothing but the sandbox's own errors may come out. test_sandbox_hostile.py runs a few in a child.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from wasmtime import ValType

from capabilities.sandbox import errors
from capabilities.sandbox.limits import COMPONENT, MIB
from capabilities.sandbox.wasm.component_call import ComponentCall
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.module_imports import Import
from capabilities.sandbox.wasm.runtime import Runtime, is_component, wat
from tests.unit.test_sandbox_calls import MODULE
from tests.unit.test_sandbox_components import COMPONENT_CODE

LIMITS = COMPONENT.but(memory=1 * MIB, table_elements=1_000, fuel=1_000_000, timeout_ms=20_000)

_LOCALS = " ".join(["i64"] * 5_000)
_DEEP_BLOCKS = "(block " * 20_000 + ")" * 20_000
NAMED: dict[str, tuple[str, type[errors.SandboxError]]] = {
    "a memory that is too large at once": ('(module (memory 65536) (func (export "f")))', errors.OutOfMemory),
    "a memory that grows in the start function": (
        "(module (memory 1) (func $s (if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)))"
        ' (start $s) (func (export "f")))',
        errors.ComponentTrapped,
    ),
    "a memory that grows page by page": (
        '(module (memory (export "memory") 1) (func (export "f")'
        " (loop (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br 0))))",
        errors.OutOfMemory,
    ),
    "a table that is too large at once": (
        '(module (table 10000000 funcref) (func (export "f")))',
        errors.ResourceLimitExceeded,
    ),
    "a table that grows without end": (
        '(module (table 1 funcref) (func (export "f")'
        " (loop (drop (table.grow (ref.null func) (i32.const 1000))) (br 0))))",
        errors.FuelExhausted,
    ),
    "a start function without end": (
        '(module (func $s (loop br 0)) (start $s) (func (export "f")))',
        errors.FuelExhausted,
    ),
    "recursion": ('(module (func $f (export "f") (call $f)))', errors.ResourceLimitExceeded),
    "recursion with large frames": (
        f'(module (func $f (export "f") (local {_LOCALS}) (call $f) (local.set 4999 (i64.const 1)) (call $f)))',
        errors.ResourceLimitExceeded,
    ),
    "recursion through a table": (
        '(module (type $t (func)) (table funcref (elem $f)) (func $f (export "f")'
        " (call_indirect (type $t) (i32.const 0))))",
        errors.ResourceLimitExceeded,
    ),
    "a host function at the end of the stack": (
        '(module (import "host" "f" (func $h (param i32) (result i32)))'
        ' (func $f (export "f") (drop (call $h (i32.const 1))) (call $f)))',
        errors.ResourceLimitExceeded,
    ),
    "data outside of its memory": (
        '(module (memory 1) (data (i32.const 70000) "x") (func (export "f")))',
        errors.ComponentTrapped,
    ),
    "blocks within blocks": (f'(module (func (export "f") {_DEEP_BLOCKS} (loop br 0)))', errors.FuelExhausted),
    "an exit": (
        '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)'
        ' (func (export "f") (call $exit (i32.const 3))))',
        errors.ComponentExited,
    ),
    "a sleep of a thousand years": (
        '(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
        ' (memory (export "memory") 1) (func (export "f") (i64.store (i32.const 24) (i64.const 0x7000000000000000))'
        " (if (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)) (then unreachable))"
        " (loop br 0)))",
        errors.FuelExhausted,
    ),
    "more random bytes than there is memory": (
        '(module (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))'
        ' (memory (export "memory") 1) (func (export "f") (drop (call $r (i32.const 0) (i32.const -1)))))',
        errors.CapabilityDenied,
    ),
    "a socket": (
        '(module (import "wasi_snapshot_preview1" "sock_accept" (func $a (param i32 i32 i32) (result i32)))'
        ' (memory (export "memory") 1) (func (export "f")'
        " (if (call $a (i32.const 3) (i32.const 0) (i32.const 0)) (then unreachable))))",
        errors.ComponentTrapped,
    ),
    "a directory that was not opened for it": (
        '(module (import "wasi_snapshot_preview1" "fd_prestat_get" (func $p (param i32 i32) (result i32)))'
        ' (memory (export "memory") 1) (func (export "f")'
        " (if (call $p (i32.const 3) (i32.const 0)) (then unreachable))))",
        errors.ComponentTrapped,
    ),
    "a memory of a component that is too large": (
        "(component (core module $m (memory 60000)) (core instance $i (instantiate $m))"
        ' (core module $n (func (export "f"))) (core instance $j (instantiate $n))'
        ' (func (export "f") (canon lift (core func $j "f"))))',
        errors.OutOfMemory,
    ),
    "a component of many instances": (
        "(component (core module $m (memory 1))"
        + "".join(f"(core instance $i{n} (instantiate $m))" for n in range(100))
        + ' (core module $n (func (export "f"))) (core instance $j (instantiate $n))'
        ' (func (export "f") (canon lift (core func $j "f"))))',
        errors.ResourceLimitExceeded,
    ),
}


def _words(*numbers: int) -> str:
    return "".join(f"\\{byte:02x}" for number in numbers for byte in number.to_bytes(4, "little"))


def _lying(result: str, data: str = "", *, gives: str = "(i32.const 16)", post: str = "", named: str = "") -> str:
    """A component whose `f` says that its result is at 16, where `data` is; `named` is a type of the name $t."""
    types = f'(type $own {named}) (export $t "t" (type $own))' if named else ""
    after = '(post-return (core func $i "post"))' if post else ""
    return (
        f'(component {types} (core module $m (memory (export "memory") 1) (data (i32.const 16) "{data}")'
        f' (func (export "f") (result i32) {gives}) (func (export "post") (param i32) {post}))'
        f' (core instance $i (instantiate $m)) (func (export "f") (result {result})'
        f' (canon lift (core func $i "f") (memory (core memory $i "memory")) {after})))'
    )


def _resources(body: str) -> str:
    """A component that makes and drops resources of its own."""
    return (
        "(component (type $r (resource (rep i32))) (core func $new (canon resource.new $r))"
        " (core func $drop (canon resource.drop $r)) (core module $m"
        ' (import "" "new" (func $new (param i32) (result i32))) (import "" "drop" (func $drop (param i32)))'
        f' (func (export "f") (local i32) {body}))'
        ' (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))'
        ' (export "drop" (func $drop)))))) (func (export "f") (canon lift (core func $i "f"))))'
    )


LIES: dict[str, tuple[str, type[errors.SandboxError]]] = {
    "a string outside of its memory": (_lying("string", _words(0xFFFFFFF0, 0xFFFF)), errors.ComponentTrapped),
    "a string without end": (_lying("string", _words(0, 0xFFFFFFFF)), errors.ComponentTrapped),
    "a string that is no text": (_lying("string", _words(32, 2) + "\\00" * 8 + "\\ff\\fe"), errors.ComponentTrapped),
    "a result outside of its memory": (_lying("string", gives="(i32.const -4)"), errors.ComponentTrapped),
    "a result between two words": (_lying("string", gives="(i32.const 17)"), errors.ComponentTrapped),
    "a list whose size overflows": (_lying("(list u64)", _words(0, 0x20000001)), errors.ComponentTrapped),
    "a list between two words": (_lying("(list u64)", _words(3, 1)), errors.ComponentTrapped),
    "a character that is a surrogate": (_lying("char", gives="(i32.const 0xd800)"), errors.ComponentTrapped),
    "a character beyond the last": (_lying("char", gives="(i32.const 0x110000)"), errors.ComponentTrapped),
    "a case that is none": (_lying("(option u32)", _words(7, 1)), errors.ComponentTrapped),
    "an outcome that is none": (_lying("(result u32 (error u32))", _words(9, 1)), errors.ComponentTrapped),
    "a name that is none": (_lying("$t", gives="(i32.const 9)", named='(enum "a" "b")'), errors.ComponentTrapped),
    "a handle of nothing": (
        _lying("(own $t)", gives="(i32.const 77)", named="(resource (rep i32))"),
        errors.ComponentTrapped,
    ),
    "an end without end": (_lying("string", _words(0, 1), post="(loop br 0)"), errors.FuelExhausted),
    "an end that traps": (_lying("string", _words(0, 1), post="unreachable"), errors.ComponentTrapped),
    "a handle dropped twice": (
        _resources("(local.set 0 (call $new (i32.const 1))) (call $drop (local.get 0)) (call $drop (local.get 0))"),
        errors.ComponentTrapped,
    ),
    "a million handles": (
        _resources("(loop (drop (call $new (i32.const 1))) (br 0))"),
        errors.ResourceLimitExceeded,
    ),
    "what waits for its host": (
        '(component (core func $n (canon waitable-set.new)) (core module $m (import "" "n" (func (result i32)))'
        ' (func (export "f"))) (core instance $i (instantiate $m (with "" (instance (export "n" (func $n))))))'
        ' (func (export "f") (canon lift (core func $i "f"))))',
        errors.ComponentParseFailed,
    ),
    "objects that are collected": (
        '(module (type $n (struct (field i64))) (func (export "f") (drop (struct.new $n (i64.const 1)))))',
        errors.ComponentParseFailed,
    ),
}
"""Components that break the rules of the Component Model, and features that nothing here gives."""
NAMED |= LIES


def attempt(runtime: Runtime, data: bytes, function: str = "f", *args: Any) -> str:
    """Load and call it; the class of the error that it ended with, "" for none."""
    try:
        call: CoreCall | ComponentCall
        if is_component(data):
            interfaces: Any = {"": {"f": lambda n: n}}
            call = ComponentCall(runtime, runtime.component(data), LIMITS, interfaces=interfaces)
        else:
            host = Import("host", "f", [ValType.i32()], [ValType.i32()], lambda n: n)
            call = CoreCall(runtime, runtime.module(data), LIMITS, imports=[host])
        call.call(function, *args)
    except errors.SandboxError as error:
        return type(error).__name__
    return ""


def named(runtime: Runtime) -> dict[str, str]:
    """What each of the named ones ended with."""
    return {name: attempt(runtime, wat(text)) for name, (text, _) in NAMED.items()}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut out, or doubled; the header stays, or nothing would be read at all."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 1, 2, 10))):
        at = chance.randrange(8, len(found))
        match chance.randrange(12):
            case 0:
                del found[at : at + chance.randrange(1, 8)]
            case 1:
                found[at:at] = found[at : at + chance.randrange(1, 16)]
            case _:
                found[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, found[at] ^ 1, chance.randrange(256)))
        if len(found) < 10:
            break
    return bytes(found)


def mutations(runtime: Runtime, count: int, seed: int) -> Counter[str]:
    """How often each outcome came, over modules and components in turn."""
    outcomes: Counter[str] = Counter()
    chance = random.Random(seed)
    lies = [wat(text) for text, _ in LIES.values()]
    cases = [
        (MODULE, ["answer", "print", "grow", "deep", "spin", "ask", "flood"]),
        (COMPONENT_CODE, ["answer", "same", "ask", "grow", "deep", "bad", "bomb"]),
    ]
    takes = {"ask": (1,), "same": (1,), "bomb": (3,)}
    for n in range(count):
        data, functions = cases[n % 2]
        if n % 4 == 3:
            data, functions = chance.choice(lies), ["f"]
        function = chance.choice(functions)
        outcomes[attempt(runtime, mutated(data, chance), function, *takes.get(function, ()))] += 1
    return outcomes


def of_python(runtime: Runtime, count: int, seed: int) -> Counter[str]:
    """The same for a component of componentize-py's, of 18 MB: each that is sound still takes seconds to compile."""
    from tests.components.building import SOURCES, build
    from tests.e2e.test_sandbox_python_component import LIMITS as ROOM
    from tests.e2e.test_sandbox_python_component import made

    with tempfile.TemporaryDirectory() as directory:
        build(SOURCES / "everything", Path(directory) / "everything.wasm")
        data = (Path(directory) / "everything.wasm").read_bytes()
    outcomes: Counter[str] = Counter()
    chance = random.Random(seed)
    for _ in range(count):
        try:
            made(runtime, runtime.component(mutated(data, chance)), ROOM).call("speak", "hello")
            outcomes[""] += 1
        except errors.SandboxError as error:
            outcomes[type(error).__name__] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1_000)
    parser.add_argument("--python", type=int, default=0, help="mutations of a component of componentize-py's")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    runtime, began = Runtime(), time.monotonic()
    report: dict[str, Any] = {"named": named(runtime), "mutations": mutations(runtime, given.mutations, given.seed)}
    if given.python:
        report["python"] = of_python(runtime, given.python, given.seed)
    report["lives"] = attempt(runtime, MODULE, "answer") == ""
    runtime.close()
    report["seconds"] = round(time.monotonic() - began, 1)
    report["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
