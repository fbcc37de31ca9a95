"""What scripts find around them: timers, texts, copies, the console, modules (specs/javascript.md, G1-G9)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from capabilities.javascript.errors import ScriptError, ScriptSyntaxError
from capabilities.javascript.run import run
from capabilities.javascript.values import Foreign
from capabilities.javascript.vm import VM
from capabilities.javascript.warm import warm
from capabilities.sandbox.artefacts import users_cache
from capabilities.sandbox.runtime import Runtime


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    found = Runtime(users_cache(), metered=False)
    yield found
    found.close()


@pytest.fixture
def vm(runtime: Runtime) -> Iterator[VM]:
    found = VM(warm(runtime))
    yield found
    found.close()


def printed(vm: VM, code: str) -> str:
    vm.execute(code)
    return vm.output.text("stdout")


def test_timers_run_in_their_order_and_nobody_waits(vm: VM) -> None:
    code = "setTimeout((x) => console.log(x), 86400000, 'late'); setTimeout(() => console.log('soon'), 10); 5"
    assert vm.execute(code) == 5
    assert vm.output.text("stdout") == "soon\nlate\n"
    assert printed(vm, "const id = setTimeout(() => console.log('no'), 1); clearTimeout(id)") == ""


def test_intervals_end_with_the_script(vm: VM) -> None:
    assert printed(vm, "setInterval(() => console.log('never'), 1); 1") == ""
    code = (
        "await new Promise((done) => { let n = 0; setInterval(() => { console.log(n); if (++n === 3) done() }, 10) })"
    )
    assert printed(vm, code) == "0\n1\n2\n"
    assert printed(vm, "1") == ""


def test_an_error_in_a_timer_is_the_script_s(vm: VM) -> None:
    with pytest.raises(ScriptError, match="told"):
        vm.execute("setTimeout(() => { throw new Error('told') }, 5)")


def test_a_timer_waits_for_host_calls(runtime: Runtime) -> None:
    async def slow() -> str:
        await asyncio.sleep(0)
        return "answered"

    vm = VM(warm(runtime), functions={"slow": slow})
    code = "await Promise.race([slow(), new Promise((_, no) => setTimeout(no, 1))])"
    assert asyncio.run(run(vm, code)) == "answered"
    vm.close()


@pytest.mark.parametrize("text", ["", "plain", "héllo", "😀 ü", "\ufeffx"])
def test_texts_are_bytes_and_back(vm: VM, text: str) -> None:
    assert vm.execute("new TextEncoder().encode(t)", {"t": text}) == text.encode()
    assert vm.execute("new TextDecoder('utf-8', {ignoreBOM: true}).decode(b)", {"b": text.encode()}) == text


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"a\xf0\x9f", b"\xe2\x82x", b"\xf5\x80", b"\x80a"]
)
def test_what_is_no_text_is_marked(vm: VM, data: bytes) -> None:
    assert vm.execute("new TextDecoder().decode(b)", {"b": data}) == data.decode("utf-8", "replace")
    with pytest.raises(ScriptError, match="UTF-8"):
        vm.execute("new TextDecoder('utf-8', {fatal: true}).decode(b)", {"b": data})


def test_copies_share_nothing(vm: VM) -> None:
    code = """
    const a = { list: [1, , 3], when: new Date(5), map: new Map([[{k: 1}, new Set([2])]]) };
    a.bytes = new Uint8Array([1, 2]);
    a.self = a;
    const b = structuredClone(a);
    b.list[0] = 9; b.bytes[0] = 9;
    [a.list[0], a.bytes[0], b.self === b, b.when.getTime(), [...b.map.values()][0].has(2)]
    """
    assert vm.execute(code) == [1, 1, True, 5, True]
    with pytest.raises(ScriptError, match="cloned"):
        vm.execute("structuredClone({ f() {} })")


def test_the_console_has_its_methods(vm: VM) -> None:
    code = """
    console.table([{ a: 1, b: 2 }, { a: 3 }]); console.group('g'); console.log('in'); console.groupEnd();
    console.log('out');
    console.count(); console.count(); console.countReset(); console.count('c'); console.time(); console.timeEnd();
    console.dir({ a: 1 }); console.assert(true, 'no'); console.trace('here'); console.assert(false, 'yes')
    """
    assert printed(vm, code) == (
        "(index) | a | b\n0 | 1 | 2\n1 | 3 | \ng\n  in\nout\ndefault: 1\ndefault: 2\nc: 1\ndefault: 0ms\n{ a: 1 }\n"
    )
    assert vm.output.text("stderr") == "Trace: here\nAssertion failed yes\n"


def test_chance_is_the_same_for_every_instance(runtime: Runtime) -> None:
    def drawn() -> Any:
        vm = VM(warm(runtime))
        found = vm.execute("[crypto.randomUUID(), crypto.getRandomValues(new Uint8Array(4))]")
        vm.close()
        return found

    first = drawn()
    assert first == drawn()
    assert first[0][14] == "4"
    assert first[0][19] in "89ab"


def test_keys_that_python_takes_for_one_stay_apart(vm: VM) -> None:
    found = vm.execute("new Map([[1, 'a'], [true, 'b'], [1n, 'c'], [0, 'd'], [false, 'e'], [-0, 'f']])")
    assert found == {
        1: "a",
        Foreign("boolean", "true"): "b",
        Foreign("bigint", "1"): "c",
        0: "f",
        Foreign("boolean", "false"): "e",
    }


def test_large_numbers_and_far_dates_come_back(vm: VM) -> None:
    assert vm.execute("[2n ** 70000n, -(2n ** 70n)]") == [2**70000, -(2**70)]
    assert vm.execute("x + 1n", {"x": 2**70000}) == 2**70000 + 1
    assert vm.execute("x", {"x": -(2**60)}) == -(2**60)
    found = vm.execute("[new Date(8.64e15), new Date(-1e14), new Date(0), new Date(NaN)]")
    assert found == [Foreign("date", "+275760-09-13T00:00:00.000Z"), Foreign("date", "-001199-02-15T14:13:20.000Z"),
                     datetime(1970, 1, 1, tzinfo=UTC), None]  # fmt: skip


def test_modules_by_relative_names_and_of_data(runtime: Runtime) -> None:
    modules = {"./sub.js": "export default 5; export const a = 1", "d.json": '{"a": [1, null]}', "t.txt": "text `"}
    vm = VM(warm(runtime), modules=modules)
    code = "import x from './sub.js'; import d from './d.json' with { type: 'json' }; import t from 't.txt';"
    assert vm.execute(f"{code} export default [x, d, t]", module=True) == {"default": [5, {"a": [1, None]}, "text `"]}
    with pytest.raises(ScriptSyntaxError, match="Could not find export"):
        vm.execute("import { missing } from './sub.js'; export default missing", module=True)
    vm.close()
    vm = VM(warm(runtime), modules={"bad.json": "{"})
    with pytest.raises(ScriptError, match="no JSON"):
        vm.execute("import x from 'bad.json'; export default x", module=True)
    vm.close()


def test_await_is_a_name_where_it_is_one(vm: VM) -> None:
    assert vm.execute("var await = 3; await + 1") == 4
    assert vm.execute("await Promise.resolve(2)") == 2
    with pytest.raises(ScriptSyntaxError):
        vm.execute("await = = 1")


def test_an_error_without_a_name_has_its_class_s(vm: VM) -> None:
    with pytest.raises(ScriptError, match=r"^E: boom"):
        vm.execute("class E { constructor(m) { this.message = m } } throw new E('boom')")


@pytest.mark.parametrize("what", ["Array.prototype", "Object.prototype"])
def test_accessors_in_prototypes_keep_nothing_from_its_caller(vm: VM, what: str) -> None:
    trap = (
        f"for (let i = 0; i < 4; i++) Object.defineProperty({what}, i, {{ set() {{ throw 1 }}, configurable: true }});"
    )
    assert vm.execute(f"{trap} [1, {{ a: [2] }}]") == [1, {"a": [2]}]
    with pytest.raises(ScriptError, match="told"):
        vm.execute("throw new Error('told')")
    assert vm.execute(f"typeof Object.getOwnPropertyDescriptor({what}, 0).set") == "function"


def test_memory_is_not_shared(vm: VM) -> None:
    assert vm.execute("[typeof SharedArrayBuffer, typeof Atomics]") == ["undefined", "undefined"]


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_a_host_function_raises_at_its_program_is_an_error_of_its(runtime: Runtime, kind: type) -> None:
    def sync() -> None:
        raise kind("why")

    async def later() -> None:
        raise kind("why")

    vm = VM(warm(runtime), functions={"sync": sync, "later": later})
    assert vm.execute("try { sync() } catch (e) { `${e}` }") == f"RuntimeError: sync raised {kind.__name__}: why"
    caught = asyncio.run(run(vm, "try { await later() } catch (e) { `${e}` }"))
    assert caught == f"RuntimeError: later raised {kind.__name__}: why"
    vm.close()
