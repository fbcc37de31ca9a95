"""Scripts in QuickJS: values, state, functions, errors (specs/javascript.md)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from capabilities.sandbox import errors
from capabilities.sandbox.error_kinds import kind_of
from capabilities.sandbox.javascript.errors import InstanceBusy, ScriptError, ScriptSyntaxError
from capabilities.sandbox.javascript.run import run, run_function
from capabilities.sandbox.javascript.values import Foreign
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import WarmImage, forget, warm
from capabilities.sandbox.limits import JAVASCRIPT, MIB
from capabilities.sandbox.wasm.runtime import Runtime

LIMITS = JAVASCRIPT.but(timeout_ms=20_000, memory=32 * MIB)


@pytest.fixture(scope="module")
def image(sandbox_cache: Path) -> Iterator[WarmImage]:
    runtime = Runtime(sandbox_cache, metered=False)
    yield warm(runtime)
    forget(runtime)
    runtime.close()


@pytest.fixture
def vm(image: WarmImage) -> VM:
    return VM(image, LIMITS)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", 2),
        ("-3", -3),
        ("2 ** 31", 2**31),
        ("0.5", 0.5),
        ("'a' + 'é' + '\\u{1F600}'", "aé😀"),
        ("'a\\ud800b\\0c'", "a\ud800b\0c"),
        ("true", True),
        ("null", None),
        ("undefined", None),
        ("2n ** 70n", 2**70),
        ("[1, [2, {a: 'b'}], , 3]", [1, [2, {"a": "b"}], None, 3]),
        ("({'$': 1, b: 2})", {"$": 1, "b": 2}),
        ("JSON.parse('{\"__proto__\": 1}')", {"__proto__": 1}),
        ("new Date(86400000)", datetime(1970, 1, 2, tzinfo=UTC)),
        ("new Map([[1, 'a'], ['b', [2]]])", {1: "a", "b": [2]}),
        ("new Set([1, 2])", [1, 2]),
        ("new Uint8Array([0, 127, 255])", b"\0\x7f\xff"),
        ("(x => x)", Foreign("function", "")),
        ("Symbol('s')", Foreign("symbol", "s")),
        ("let o = {}; o.o = o; o", {"o": Foreign("cycle", "")}),
        ("let a = 1; await Promise.resolve(a + 1)", 2),
        ("(async () => { await null; return 3 })()", 3),
    ],
)
def test_a_value_comes_back_as_pythons_own(vm: VM, code: str, value: Any) -> None:
    assert vm.execute(code) == value


def test_numbers_without_json(vm: VM) -> None:
    nan, negative, infinite = vm.execute("[NaN, -0, -Infinity]")
    assert math.isnan(nan)
    assert math.copysign(1, negative) == -1
    assert infinite == -math.inf


VALUES = [
    0,
    -1.5,
    2**53 + 1,
    "text \0 \ud800",
    None,
    True,
    b"\0\xff",
    [1, [2]],
    {"a": {"$": "x", "__proto__": 1}},
    datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC),
    {1: "int key"},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_goes_in_comes_out(vm: VM, value: Any) -> None:
    assert vm.execute("given", {"given": value}) == value


def test_what_has_no_form_in_javascript_is_refused(vm: VM) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="object cannot be given to JavaScript"):
        vm.execute("x", {"x": object()})


def test_state_lives_on_until_a_reset(vm: VM) -> None:
    vm.execute("let n = 1; function add(a, b) { n++; return a + b }")
    assert vm.execute_function("add", [2, 3]) == 5
    assert vm.get_global("n") == 2
    vm.set_globals({"n2": {"deep": [1]}})
    assert vm.execute("n2.deep[0] + n") == 3
    vm.reset()
    assert vm.execute("typeof n + typeof add + typeof n2") == "undefinedundefinedundefined"


def test_globals_of_instances_are_their_own(image: WarmImage, vm: VM) -> None:
    vm.execute("Object.prototype.leak = 1; globalThis.shared = 1")
    assert VM(image, LIMITS).execute("typeof shared + typeof ({}).leak") == "undefinedundefined"


def test_a_function_by_a_name_that_is_none(vm: VM) -> None:
    with pytest.raises(ScriptError, match="nope is not defined"):
        vm.execute_function("nope")
    with pytest.raises(ScriptError, match="a is not a function"):
        vm.execute("var a = 1; a") and vm.execute_function("a")
    with pytest.raises(errors.InvalidConfiguration, match="no name of a function"):
        vm.execute_function("f(); g")


def test_a_runtime_error_has_the_scripts_own_stack(vm: VM) -> None:
    with pytest.raises(ScriptError) as caught:
        vm.execute("function f() {\n  throw new TypeError('deep')\n}\nf()", name="cell.js")
    assert (caught.value.name, caught.value.message, kind_of(caught.value)) == ("TypeError", "deep", "runtime")
    assert caught.value.stack.split("\n")[0].strip() == "at f (cell.js:2:13)"
    assert vm.execute("1 + 1") == 2


def test_code_that_is_no_javascript_runs_nothing(vm: VM) -> None:
    with pytest.raises(ScriptSyntaxError) as caught:
        vm.execute("globalThis.ran = 1; {{{")
    assert kind_of(caught.value) == "syntax"
    assert vm.execute("typeof ran") == "undefined"


def test_json_that_is_none_is_an_error_of_the_run(vm: VM) -> None:
    with pytest.raises(ScriptError) as caught:
        vm.execute("JSON.parse('{')")
    assert (caught.value.name, kind_of(caught.value)) == ("SyntaxError", "runtime")


@pytest.mark.parametrize(("thrown", "message"), [("null", "null"), ("5", "5"), ("{get message() { throw 1 }}", "")])
def test_whatever_is_thrown_is_an_error(vm: VM, thrown: str, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        vm.execute(f"throw {thrown}")
    assert caught.value.message == message


def test_output_is_captured_by_stream_and_bounded(image: WarmImage) -> None:
    vm = VM(image, LIMITS.but(output=20))
    vm.execute("console.log('one', {a: [1, 'x']}); console.error('bad')")
    assert vm.output.text("stdout") == 'one { a: [ 1, "x" ] }'[:20]
    assert vm.output.text("stderr") == "bad\n"
    vm.execute("1")
    assert vm.output.text("stdout") == ""


def test_output_before_an_error_is_kept_with_it(vm: VM) -> None:
    with pytest.raises(ScriptError) as caught:
        vm.execute("console.log('before'); nope()")
    assert caught.value.used.stdout == "before\n"


def test_a_rejection_that_nobody_looks_at_is_told(vm: VM) -> None:
    vm.execute("Promise.reject(new Error('lost')); Promise.reject(1).catch(() => 0); 1")
    assert vm.output.text("stderr") == "Uncaught (in promise) Error: lost\n"


def test_no_time_and_no_chance_unless_granted(image: WarmImage) -> None:
    code = "[Date.now(), performance.now(), Math.random(), Math.random()]"
    first, second = VM(image, LIMITS).execute(code), VM(image, LIMITS).execute(code)
    assert first == second
    assert first[:2] == [0, 0]
    granted = [VM(image, LIMITS, clock=lambda: 1.5, entropy=True).execute(code) for _ in range(2)]
    assert granted[0][0] == 1500
    assert granted[0][2] != granted[1][2]


def test_modules_are_those_that_were_given(image: WarmImage) -> None:
    modules = {"lib/a.js": "import {b} from './b.js'; export const a = b + 1", "lib/b.js": "export const b = 1"}
    vm = VM(image, LIMITS, modules=modules)
    assert vm.execute("import {a} from 'lib/a.js'; export const c = a + 1; export default [c]", module=True) == {
        "c": 3,
        "default": [3],
    }
    assert vm.execute("(await import('lib/b.js')).b") == 1
    with pytest.raises(errors.CapabilityDenied, match=r"may not import fs: its modules are lib/a.js, lib/b.js"):
        vm.execute("import 'fs'", module=True)


def greet(name: str, times: int = 1) -> str:
    return f"hi {name} " * times


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return n * 2


def broken() -> None:
    raise ValueError("boom")


def denied() -> None:
    raise errors.CapabilityDenied("the script", "read", "/etc", "it was not granted")


async def hanging() -> None:
    await asyncio.Event().wait()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "host.greet": greet,
    "double": double,
    "broken": broken,
    "denied": denied,
    "hanging": hanging,
}


@pytest.fixture
def served(image: WarmImage) -> VM:
    return VM(image, LIMITS.but(host_call_ms=50), functions=FUNCTIONS)


def test_a_host_function_has_its_arguments_checked(served: VM) -> None:
    assert served.execute("host.greet('ana', 2)") == "hi ana hi ana "
    with pytest.raises(errors.HostError, match=r"times: Input should be a valid integer"):
        served.execute("host.greet('ana', 'often')")
    with pytest.raises(errors.HostError, match=r"host.greet\(\): missing a required argument"):
        served.execute("host.greet()")


def test_an_error_of_a_host_function_can_be_caught_by_the_script(served: VM) -> None:
    assert served.execute("try { broken() } catch (e) { [e.name, e.message] }") == ["ValueError", "boom"]
    with pytest.raises(errors.HostError) as caught:
        served.execute("broken()")
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_is_not_permitted_is_a_permission_error(served: VM) -> None:
    with pytest.raises(errors.CapabilityDenied) as caught:
        served.execute("denied()")
    assert kind_of(caught.value) == "permission"
    assert served.execute("try { denied() } catch (e) { e.name }") == "PermissionError"


async def test_a_script_waits_for_what_is_asynchronous(served: VM) -> None:
    assert await run(served, "(await Promise.all([1, 2, 3].map(n => double(n)))).join()") == "2,4,6"
    await run(served, "async function twice(n) { return double(await double(n)) }")
    assert await run_function(served, "twice", [3]) == 12
    assert await run(served, "let seen = 0; double(5).then(n => { seen = n }); 1") == 1
    assert served.get_global("seen") == 10


async def test_a_host_call_has_a_time_of_its_own(served: VM) -> None:
    assert await run(served, "await hanging().catch(e => e.message)") == "hanging was not over within 50 ms"


async def test_an_instance_runs_one_script_at_a_time(image: WarmImage) -> None:
    vm = VM(image, LIMITS, functions=FUNCTIONS)
    waiting = asyncio.create_task(run(vm, "await hanging()"))
    await asyncio.sleep(0)
    with pytest.raises(InstanceBusy):
        await run(vm, "1")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await run(vm, "2") == 2


async def test_a_cancelled_script_stops_and_its_instance_lives(served: VM) -> None:
    printed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(stream: str, text: str) -> None:
        loop.call_soon_threadsafe(printed.set)

    served.on_output = told
    spinning = asyncio.create_task(run(served, "console.log(1); while (true) {}"))
    await printed.wait()
    spinning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await spinning
    assert served.lost == ""


async def test_waiting_for_nothing_is_an_error(served: VM) -> None:
    with pytest.raises(ScriptError, match="nothing will settle"):
        await run(served, "await new Promise(() => {})")


async def test_a_hundred_at_once_keep_their_own(image: WarmImage) -> None:
    async def one(n: int) -> tuple[Any, str]:
        vm = VM(image, LIMITS, functions={"double": double})
        value = await run(vm, "globalThis.mine = n; console.log('I am', n); await double(n) + mine", {"n": n})
        return value, vm.output.text("stdout")

    assert await asyncio.gather(*map(one, range(100))) == [(3 * n, f"I am {n}\n") for n in range(100)]


def test_fuel_is_counted_alike_in_a_metered_runtime(sandbox_cache: Path) -> None:
    runtime = Runtime(sandbox_cache)
    try:
        limits = LIMITS.but(fuel=50_000_000)
        used = []
        for _ in range(2):
            vm = VM(warm(runtime), limits)
            vm.execute("let s = 0; for (let i = 0; i < 1000; i++) s += i; s")
            used.append(vm.used().fuel)
        assert used[0] == used[1]
        assert used[0] is not None
        assert used[0] > 10_000
        with pytest.raises(errors.FuelExhausted):
            vm.execute("while (true) {}")
    finally:
        forget(runtime)
        runtime.close()
