"""Hostile scripts: each ends within its limits as its own error, the process lives, others go on."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities.sandbox import errors
from capabilities.sandbox.javascript.errors import ScriptError, StateLost
from capabilities.sandbox.javascript.host_functions import OUTSTANDING_BYTES_MAX, OUTSTANDING_MAX
from capabilities.sandbox.javascript.run import run
from capabilities.sandbox.javascript.script import ScriptWaits
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import WarmImage, forget, warm
from capabilities.sandbox.limits import JAVASCRIPT, MIB
from capabilities.sandbox.wasm.runtime import Runtime

LIMITS = JAVASCRIPT.but(timeout_ms=150, memory=24 * MIB)
PATIENT = LIMITS.but(timeout_ms=60_000)


@pytest.fixture(scope="module")
def image(sandbox_cache: Path) -> Iterator[WarmImage]:
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
    "toJSON": "Array.prototype.toJSON = () => { while (true) {} }; JSON.stringify([1])",
    "promise chain": "function p() { return Promise.resolve().then(p) }; await p()",
    "promise tree": "function f() { Promise.resolve().then(f); Promise.resolve().then(f) }; f()",
    "rejections": "while (true) Promise.reject(1)",
    "output": "while (true) console.log('x'.repeat(1000))",
    "host calls": "while (true) { try { f() } catch {} }",
    "generator": "function* g() { while (true) yield 1 }; for (const n of g()) {}",
    "cleanup of what is collected": "const r = new FinalizationRegistry(() => { while (true) {} });"
    " for (let i = 0; i < 1e5; i++) r.register({}, 1); 1",
    "microtasks": "(function f() { queueMicrotask(f) })()",
    "stack of an error": "throw Object.defineProperty(new Error('a'), 'stack', { get() { while (true) {} } })",
    "proxy that is thrown": "throw new Proxy({}, { get() { while (true) {} }, has() { while (true) {} } })",
    "name of an import": "await import({ toString() { while (true) {} } })",
    "thenable": "await { then(r) { r(this) } }",
    "join": "Array(2 ** 27).join('abcdef')",
    "text of a large number": "(2n ** 1000000n).toString()",
    "search in a list of 2 ** 32 - 1": "Array.prototype.indexOf.call({ length: 2 ** 32 - 1 }, 99)",
    "text of an empty list": "new Array(1_000_000_000) + ''",
    "reverse": "Array.prototype.reverse.call({ length: 2 ** 53 - 1 })",
    "search in a long text": "'a'.repeat(3e6).indexOf('a'.repeat(1e6) + 'b')",
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
    "resizable buffer": "new ArrayBuffer(8, { maxByteLength: 2 ** 26 }).resize(2 ** 26)",
    "pieces of a text": "'x'.repeat(5e6).split('')",
    "bound functions": "let f = () => 1; while (true) f = f.bind()",
    "array from": "Array.from({ length: 1e9 })",
}

DEEP = {
    "recursion": "(function f() { f() })()",
    "mutual recursion through a getter": "let o = { get a() { return this.a } }; o.a",
    "proxy of proxies": "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.x",
    "JSON text": "JSON.parse('['.repeat(1e6))",
    "JSON value": "let d = []; for (let i = 0; i < 1e5; i++) d = [d]; JSON.stringify(d)",
    "source": "eval('('.repeat(1e6))",
    "source of classes": "eval('class A { x = '.repeat(1e4))",
    "generators of generators": "function* g(n) { if (n) yield* g(n - 1); yield 1 }; [...g(1e5)].length",
    "an array in itself": "let a = []; a[0] = a; a.flat(Infinity)",
    "proxy that asks itself": "let p = new Proxy({}, { get(t, k, r) { return r[k] } }); p.x",
    "toString of itself": "let a = { toString() { return `${this}` } }; `${a}`",
}

WRONG = {
    "a result too deep": "let d = {}; for (let i = 0; i < 1000; i++) d = { d }; d",
    "a string too long": "let s = 'a'; while (true) s += s",
    "a number too large": "2n ** (2n ** 30n)",
    "arguments without end": "String.fromCharCode.apply(null, Array(1e6))",
    "more captures than there are": "new RegExp('('.repeat(1e5) + ')'.repeat(1e5))",
    "a function of nonsense": "new Function('x'.repeat(1e6) + '(')()",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_a_scripts_cpu_time_has_a_limit(image: WarmImage, code: str) -> None:
    vm = VM(image, PATIENT.but(cpu_ms=40), functions={"f": lambda: 1})
    with pytest.raises(errors.CpuTimeExhausted, match="the script used up its 40 ms of CPU time"):
        vm.execute(code)


def test_cpu_time_begins_anew_with_each_script_and_the_state_lives_on(image: WarmImage) -> None:
    vm = VM(image, PATIENT.but(cpu_ms=40))
    vm.execute("let kept = 1")
    with pytest.raises(errors.CpuTimeExhausted):
        vm.execute("while (true) {}")
    assert vm.execute("kept") == 1


@pytest.mark.parametrize("code", ENDLESS.values(), ids=list(ENDLESS))
def test_what_never_ends_is_ended_in_time(image: WarmImage, code: str) -> None:
    vm = VM(image, LIMITS, functions={"f": lambda: 1})
    began = time.monotonic()
    with pytest.raises(errors.ExecutionTimeout) as caught:
        vm.execute(code)
    assert time.monotonic() - began < 30
    assert len(caught.value.used.stdout) <= LIMITS.output
    assert caught.value.timeout_ms == 150


@pytest.mark.parametrize("code", GREEDY.values(), ids=list(GREEDY))
def test_what_takes_all_memory_is_out_of_memory(image: WarmImage, code: str) -> None:
    vm = VM(image, PATIENT)
    with pytest.raises(errors.OutOfMemory) as caught:
        vm.execute(code)
    assert caught.value.limit == 24 * MIB
    assert vm.entry.size <= 24 * MIB
    vm.reset()
    assert vm.execute("1 + 1") == 2


@pytest.mark.parametrize("code", DEEP.values(), ids=list(DEEP))
def test_what_is_too_deep_meets_the_stack(image: WarmImage, code: str) -> None:
    with pytest.raises(errors.ResourceLimitExceeded) as caught:
        VM(image, PATIENT).execute(code)
    assert caught.value.resource == "stack"


@pytest.mark.parametrize("code", WRONG.values(), ids=list(WRONG))
def test_what_the_engine_refuses_is_an_error_of_the_script(image: WarmImage, code: str) -> None:
    vm = VM(image, PATIENT)
    with pytest.raises((ScriptError, errors.ResourceLimitExceeded)):
        vm.execute(code)
    assert vm.execute("1 + 1") == 2


def test_a_value_that_is_too_large_is_refused(image: WarmImage) -> None:
    with pytest.raises(errors.ResourceLimitExceeded, match="value"):
        VM(image, JAVASCRIPT).execute("'x'.repeat(2e7)")


async def test_host_calls_at_once_are_counted(image: WarmImage) -> None:
    async def slow(n: int) -> int:
        await asyncio.Event().wait()
        return n

    vm = VM(image, PATIENT, functions={"slow": slow})
    with pytest.raises(errors.ResourceLimitExceeded) as caught:
        await run(vm, "for (let i = 0; i < 2000; i++) slow(i).catch(() => 0); await Promise.all([slow(1)])")
    assert (caught.value.resource, caught.value.limit) == ("host calls at once", OUTSTANDING_MAX)


async def test_time_spent_in_the_host_counts(image: WarmImage) -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    vm = VM(image, LIMITS, functions={"slow": slow})
    with pytest.raises(errors.ExecutionTimeout):
        await run(vm, "await slow()")
    assert vm.execute("1 + 1") == 2


async def test_others_go_on_beside_hostile_ones(image: WarmImage) -> None:
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
    "typeof Atomics + typeof fetch + typeof require + typeof gc + typeof bjs",
    "Object.getPrototypeOf(async function () {}).constructor('return typeof require')()",
    "f.caller ?? f.arguments ?? ''",
]


@pytest.mark.parametrize("code", ESCAPES)
def test_there_is_no_way_from_a_host_function_to_its_host(image: WarmImage, code: str) -> None:
    vm = VM(image, PATIENT, functions={"f": lambda: 1})
    try:
        value = vm.execute(code)
    except ScriptError as error:
        assert error.name == "TypeError"  # noqa: PT017 - either is an answer
    else:
        assert value.replace("undefined", "") == ""


def test_a_script_that_changes_the_intrinsics_changes_only_itself(image: WarmImage) -> None:
    vm = VM(image, PATIENT, functions={"f": lambda x: x})
    vm.execute(
        "JSON.stringify = JSON.parse = Object.keys = Reflect.apply = () => { throw 1 }; Array.prototype.push = 1"
    )
    vm.execute("Promise = Map = Error = undefined; Object.defineProperty(Object.prototype, 'host', { value: 1 })")
    assert vm.execute("[{ a: f([1, { b: 2 }]) }]") == [{"a": [1, {"b": 2}]}]


TAMPERED = {
    "toJSON of objects": "Object.prototype.toJSON = () => 'x'; Array.prototype.toJSON = () => 'x'",
    "toJSON of marks": "Array.prototype.toJSON = () => ({ __proto__: null, $: 'b', v: 5 })",
    "descriptors": "Object.prototype.get = () => 5; Object.prototype.writable = false",
    "marks": "Object.prototype.$ = 'd'; Object.prototype.v = 'x'",
    "iterators": "Array.prototype[Symbol.iterator] = () => { throw 9 }; Array.prototype.concat = 1",
    "promises": "Promise.prototype.then = () => { throw 9 }; Promise.resolve = 1; globalThis.Promise = undefined",
    "text": "String.prototype.split = String.prototype.slice = () => { throw 9 }",
    "all of them": "for (const n of Reflect.ownKeys(globalThis)) try { globalThis[n].prototype.toString = 1 } catch {}",
}


@pytest.mark.parametrize("code", TAMPERED.values(), ids=list(TAMPERED))
def test_values_and_errors_cross_as_they_are_whatever_the_prototypes_say(image: WarmImage, code: str) -> None:
    vm = VM(image, PATIENT, functions={"f": lambda x: x})
    vm.execute(f"{code}; 1")
    assert vm.execute("[{ a: f([1, { b: 2 }]), d: new Date(0) }]")[0]["a"] == [1, {"b": 2}]
    with pytest.raises(ScriptError) as caught:
        vm.execute("throw new TypeError('as it is')")
    assert (caught.value.name, caught.value.message) == ("TypeError", "as it is")


def test_a_script_sees_no_function_of_the_prelude(image: WarmImage) -> None:
    vm = VM(image, PATIENT, functions={"f": lambda: 1})
    code = """
    let seen = '';
    Error.captureStackTrace({}); try { Error.prepareStackTrace = (e, calls) => { seen = calls; return '' } } catch {}
    try { Object.defineProperty(Error, 'prepareStackTrace', { value: (e, calls) => { seen = calls } }) } catch {}
    console.log({ get a() { new Error().stack; return 1 } }); f(); typeof seen
    """
    assert vm.execute(code) == "string"


@pytest.mark.parametrize(
    "code",
    [
        "({ get a() { (function f() { Promise.resolve().then(f) })(); return 1 } })",
        "(function f() { Promise.resolve().then(f) })(); throw 1",
        "(function f() { Promise.resolve().then(f); Promise.resolve().then(f) })(); throw 1",
        "Promise.reject({ get message() { (function f() { Promise.resolve().then(f) })() } }); 1",
    ],
)
def test_jobs_do_not_go_on_with_the_next_script(image: WarmImage, code: str) -> None:
    vm = VM(image, LIMITS)
    with pytest.raises((errors.ExecutionTimeout, ScriptError)):
        vm.execute(code)
    if vm.lost:
        with pytest.raises(StateLost):
            vm.execute("1")
        vm.reset()
    assert vm.execute("1") == 1
    assert not vm.entry.call("qjs_is_job_pending")


def test_an_error_that_is_remembered_keeps_no_arguments(image: WarmImage) -> None:
    def refuse(given: object) -> None:
        raise ValueError(f"no {given}")

    vm = VM(image, PATIENT, functions={"refuse": refuse})
    with pytest.raises(errors.HostError) as caught:
        vm.execute("refuse({ aMarkOfThisTest: 1 })")
    assert vm.execute("try { refuse('x'.repeat(1e6)) } catch (e) { e.message.length }") == errors.MESSAGE_MAX
    assert isinstance(caught.value.__cause__, ValueError)
    del caught
    vm.execute("for (let i = 0; i < 9; i++) try { refuse({ aMarkOfThisTest: i, x: 'x'.repeat(1e5) }) } catch {}")
    assert len(vm.imports._errors) == 9
    kept = [each for each in gc.get_objects() if type(each) is dict and "aMarkOfThisTest" in each]
    assert kept == []


def test_arguments_of_calls_that_wait_are_bounded(image: WarmImage) -> None:
    async def later(text: str) -> None: ...

    vm = VM(image, JAVASCRIPT, functions={"later": later})
    step = vm.begin(
        "let no = 0, s = 'x'.repeat(5e6); const all = []; for (let i = 0; i < 9; i++) all.push(later(s).catch(e => "
        "{ no++; console.log(e.name) })); await Promise.all(all)"
    )
    assert isinstance(step, ScriptWaits)
    assert sum(len(call.args[0]) for call in step.calls) <= OUTSTANDING_BYTES_MAX
    assert vm.output.text("stdout") == "ResourceLimitExceeded\n" * (9 - len(step.calls))


def test_a_function_that_is_not_asynchronous_is_not_begun(image: WarmImage) -> None:
    """The way to the host, forged: what blocks would block whoever runs the others."""
    vm = VM(image, PATIENT, functions={"f": lambda: 1})
    with pytest.raises(errors.CapabilityDenied, match="gives no promise"):
        vm.imports._start("f", "[]")


def test_a_function_that_was_not_given_is_not_there_to_call(image: WarmImage) -> None:
    """The prelude's own way to the host, forged: the host looks again at what was given."""
    vm = VM(image, PATIENT, functions={"f": lambda: 1})
    assert vm.execute("f()") == 1
    vm.imports._functions.clear()
    with pytest.raises(errors.CapabilityDenied, match="may not call f"):
        vm.execute("f()")


def test_a_tight_limit_ends_before_a_tick(image: WarmImage) -> None:
    began = time.monotonic()
    with pytest.raises(errors.ExecutionTimeout):
        VM(image, LIMITS.but(timeout_ms=1)).execute("while (true) {}")
    assert time.monotonic() - began < 20
