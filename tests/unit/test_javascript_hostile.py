"""Hostile scripts: each ends within its limits as its own error, the process lives, others go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities.javascript.errors import ScriptError
from capabilities.javascript.imports import OUTSTANDING_MAX
from capabilities.javascript.run import run
from capabilities.javascript.vm import VM
from capabilities.javascript.warm import Warm, forget, warm
from capabilities.sandbox import errors
from capabilities.sandbox.limits import JAVASCRIPT, MIB
from capabilities.sandbox.runtime import Runtime

LIMITS = JAVASCRIPT.but(timeout_ms=150, memory=24 * MIB)
PATIENT = LIMITS.but(timeout_ms=60_000)


@pytest.fixture(scope="module")
def image(sandbox_cache: Path) -> Iterator[Warm]:
    runtime = Runtime(sandbox_cache, metered=False)
    yield warm(runtime)
    forget(runtime)
    runtime.close()


ENDLESS = {
    "loop": "while (true) {}",
    "loop in finally": "try { while (true) {} } finally { while (true) {} }",
    "loop that catches": "while (true) { try { while (true) {} } catch {} }",
    "async loop": "await (async () => { while (true) {} })()",
    "regular expression": "/(a+)+$/.test('a'.repeat(60) + 'b')",
    "getter of an error": "throw { get message() { while (true) {} } }",
    "proxy as a result": "new Proxy({}, { ownKeys() { while (true) {} } })",
    "toJSON": "Array.prototype.toJSON = () => { while (true) {} }; [1]",
    "promise chain": "function p() { return Promise.resolve().then(p) }; await p()",
    "promise tree": "function f() { Promise.resolve().then(f); Promise.resolve().then(f) }; f()",
    "rejections": "while (true) Promise.reject(1)",
    "output": "while (true) console.log('x'.repeat(1000))",
    "host calls": "while (true) { try { f() } catch {} }",
    "generator": "function* g() { while (true) yield 1 }; for (const n of g()) {}",
    "sort": "while (true) Array(1000).fill(0).sort(() => 1)",
}

GREEDY = {
    "array of arrays": "let a = []; while (true) a.push(new Array(1000).fill(1))",
    "objects": "let x = []; while (true) x.push({})",
    "map": "let x = new Map(), i = 0; while (true) x.set(i++, i)",
    "one string": "'x'.repeat(2 ** 29)",
    "strings": "let a = []; while (true) a.push('x'.repeat(100000) + a.length)",
    "buffer": "new ArrayBuffer(2 ** 31 - 1)",
    "buffers": "let a = []; while (true) a.push(new Uint8Array(1000000))",
    "sparse fill": "new Array(2 ** 32 - 1).fill(0)",
    "closures": "let f = () => 0; while (true) { const g = f; f = () => g }",
    "symbols": "let a = []; while (true) a.push(Symbol('x' + a.length))",
    "pending promises": "let a = []; while (true) a.push(new Promise(() => {}))",
    "array from": "Array.from({ length: 1e9 })",
}

DEEP = {
    "recursion": "(function f() { f() })()",
    "mutual recursion through a getter": "let o = { get a() { return this.a } }; o.a",
    "proxy of proxies": "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.x",
    "JSON text": "JSON.parse('['.repeat(1e6))",
    "JSON value": "let d = []; for (let i = 0; i < 1e5; i++) d = [d]; JSON.stringify(d)",
    "source": "eval('('.repeat(1e6))",
    "toString of itself": "let a = { toString() { return `${this}` } }; `${a}`",
}

WRONG = {
    "a result too deep": "let d = {}; for (let i = 0; i < 1000; i++) d = { d }; d",
    "a string too long": "let s = 'a'; while (true) s += s",
    "a number too large": "2n ** (2n ** 30n)",
    "arguments without end": "String.fromCharCode.apply(null, Array(1e6))",
    "a function of nonsense": "new Function('x'.repeat(1e6) + '(')()",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_a_scripts_cpu_time_has_a_limit(image: Warm, code: str) -> None:
    vm = VM(image, PATIENT.but(cpu_ms=40), functions={"f": lambda: 1})
    with pytest.raises(errors.CpuTimeExhausted, match="the script used up its 40 ms of CPU time"):
        vm.execute(code)


def test_cpu_time_begins_anew_with_each_script_and_the_state_lives_on(image: Warm) -> None:
    vm = VM(image, PATIENT.but(cpu_ms=40))
    vm.execute("let kept = 1")
    with pytest.raises(errors.CpuTimeExhausted):
        vm.execute("while (true) {}")
    assert vm.execute("kept") == 1


@pytest.mark.parametrize("code", ENDLESS.values(), ids=list(ENDLESS))
def test_what_never_ends_is_ended_in_time(image: Warm, code: str) -> None:
    vm = VM(image, LIMITS, functions={"f": lambda: 1})
    began = time.monotonic()
    with pytest.raises(errors.ExecutionTimeout) as caught:
        vm.execute(code)
    assert time.monotonic() - began < 5
    assert len(caught.value.used.stdout) <= LIMITS.output
    assert caught.value.timeout_ms == 150


@pytest.mark.parametrize("code", GREEDY.values(), ids=list(GREEDY))
def test_what_takes_all_memory_is_out_of_memory(image: Warm, code: str) -> None:
    vm = VM(image, PATIENT)
    with pytest.raises(errors.OutOfMemory) as caught:
        vm.execute(code)
    assert caught.value.limit == 24 * MIB
    assert vm.entry.size <= 24 * MIB
    vm.reset()
    assert vm.execute("1 + 1") == 2


@pytest.mark.parametrize("code", DEEP.values(), ids=list(DEEP))
def test_what_is_too_deep_meets_the_stack(image: Warm, code: str) -> None:
    with pytest.raises(errors.ResourceLimitExceeded) as caught:
        VM(image, PATIENT).execute(code)
    assert caught.value.resource == "stack"


@pytest.mark.parametrize("code", WRONG.values(), ids=list(WRONG))
def test_what_the_engine_refuses_is_an_error_of_the_script(image: Warm, code: str) -> None:
    vm = VM(image, PATIENT)
    with pytest.raises(ScriptError):
        vm.execute(code)
    assert vm.execute("1 + 1") == 2


def test_a_value_that_is_too_large_is_refused(image: Warm) -> None:
    with pytest.raises(errors.ResourceLimitExceeded, match="value"):
        VM(image, JAVASCRIPT).execute("'x'.repeat(2e7)")


async def test_host_calls_at_once_are_counted(image: Warm) -> None:
    async def slow(n: int) -> int:
        await asyncio.Event().wait()
        return n

    vm = VM(image, PATIENT, functions={"slow": slow})
    with pytest.raises(errors.ResourceLimitExceeded) as caught:
        await run(vm, "for (let i = 0; i < 2000; i++) slow(i).catch(() => 0); await Promise.all([slow(1)])")
    assert (caught.value.resource, caught.value.limit) == ("host calls at once", OUTSTANDING_MAX)


async def test_time_spent_in_the_host_counts(image: Warm) -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    vm = VM(image, LIMITS, functions={"slow": slow})
    with pytest.raises(errors.ExecutionTimeout):
        await run(vm, "await slow()")
    assert vm.execute("1 + 1") == 2


async def test_others_go_on_beside_hostile_ones(image: Warm) -> None:
    bad = [run(VM(image, LIMITS), code) for code in (ENDLESS["loop"], GREEDY["objects"], DEEP["recursion"]) * 3]
    good = [run(VM(image, PATIENT), f"{n} + 1") for n in range(20)]
    ended = await asyncio.gather(*bad, *good, return_exceptions=True)
    assert all(isinstance(each, errors.SandboxError) for each in ended[:9])
    assert ended[9:] == [n + 1 for n in range(20)]


ESCAPES = [
    "typeof require + typeof process + typeof std + typeof os + typeof __host + typeof WebAssembly",
    "[1].constructor.constructor('return typeof __host + typeof require')()",
    "let seen = ''; for (const k of Reflect.ownKeys(globalThis)) if (/host|std|os$/i.test(String(k))) seen += k; seen",
    "Object.getOwnPropertyNames(f).filter(n => !['length', 'name', 'prototype'].includes(n)).join()",
    "f.caller ?? f.arguments ?? ''",
]


@pytest.mark.parametrize("code", ESCAPES)
def test_there_is_no_way_from_a_host_function_to_its_host(image: Warm, code: str) -> None:
    vm = VM(image, PATIENT, functions={"f": lambda: 1})
    try:
        value = vm.execute(code)
    except ScriptError as error:
        assert error.name == "TypeError"  # noqa: PT017 - either is an answer
    else:
        assert value.replace("undefined", "") == ""


def test_a_script_that_changes_the_intrinsics_changes_only_itself(image: Warm) -> None:
    vm = VM(image, PATIENT, functions={"f": lambda x: x})
    vm.execute(
        "JSON.stringify = JSON.parse = Object.keys = Reflect.apply = () => { throw 1 }; Array.prototype.push = 1"
    )
    vm.execute("Promise = Map = Error = undefined; Object.defineProperty(Object.prototype, 'host', { value: 1 })")
    assert vm.execute("[{ a: f([1, { b: 2 }]) }]") == [{"a": [1, {"b": 2}]}]


def test_a_function_that_was_not_given_is_not_there_to_call(image: Warm) -> None:
    """The prelude's own way to the host, forged: the host looks again at what was given."""
    vm = VM(image, PATIENT, functions={"f": lambda: 1})
    assert vm.execute("f()") == 1
    vm.imports._functions.clear()
    with pytest.raises(errors.CapabilityDenied, match="may not call f"):
        vm.execute("f()")


def test_a_tight_limit_ends_before_a_tick(image: Warm) -> None:
    began = time.monotonic()
    with pytest.raises(errors.ExecutionTimeout):
        VM(image, LIMITS.but(timeout_ms=1)).execute("while (true) {}")
    assert time.monotonic() - began < 2
