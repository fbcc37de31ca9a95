"""Surroundings of scripts: timers, texts, copies, the console, modules (specs/javascript.md, G1-G9)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from capabilities.sandbox.javascript.errors import ScriptError, ScriptSyntaxError
from capabilities.sandbox.javascript.run import run
from capabilities.sandbox.javascript.values import Foreign
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import warm
from capabilities.sandbox.wasm.compiled_cache import users_cache
from capabilities.sandbox.wasm.runtime import Runtime


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


MODULES: dict[str, str | bytes] = {
    "data": '{"a": 1}',
    "code.js": "export const c = 1",
    "self.js": "import me from './self.js' with { type: 'text' }; export default me.length",
    "itself.json": "import x from './itself.json' with { type: 'json' }; export default 5",
    "deep.json": "[" * 100_000,
    "picture.png": b"\x89PNG\xff",
    "notes.txt": "été".encode(),
}


@pytest.mark.parametrize(
    ("code", "gives"),
    [
        ("import d from 'data' with { type: 'json' }; export default d", {"a": 1}),
        ("import d from 'data' with { type: 'text' }; export default d", '{"a": 1}'),
        ("import d from './code.js' with { type: 'bytes' }; export default d", b"export const c = 1"),
        ("import p from 'picture.png'; export default p", b"\x89PNG\xff"),
        ("import n from 'notes.txt'; export default n", "été"),
        ("import n from 'self.js'; export default n", 74),
        ("const { default: d } = await import('data', { with: { type: 'json' } }); export default d", {"a": 1}),
        ("import { c } from 'code.js'; import t from 'data' with {'type': 'text',}; export default c + t[0]", "1{"),
    ],
)
def test_import_attributes_say_what_a_module_is(runtime: Runtime, code: str, gives: Any) -> None:
    vm = VM(warm(runtime), modules=MODULES)
    assert vm.execute(code, module=True) == {"default": gives}
    vm.close()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import d from 'code.js' with { type: 'json' }", "no JSON"),
        ("import d from 'code.js' with { type: 'css' }", "json, text, bytes"),
        ("import 'code.js' with { integrity: 'x' }", "no other attribute"),
        (
            "import d from 'itself.json'",
            "no JSON",
        ),  # it imported itself until the stack was gone, and with it all state
        ("import d from 'deep.json'", "no JSON"),
    ],
)
def test_a_module_that_is_not_what_it_is_imported_as_is_refused(runtime: Runtime, code: str, says: str) -> None:
    vm = VM(warm(runtime), modules=MODULES)
    vm.execute("globalThis.kept = 5")
    with pytest.raises(ScriptSyntaxError, match=says):
        vm.execute(f"{code}; export default 1", module=True)
    assert vm.execute("kept") == 5
    vm.close()


def test_recursion_may_be_three_thousand_functions_deep(vm: VM) -> None:
    assert vm.execute("function f(n) { return n ? 1 + f(n - 1) : 0 } f(3000)") == 3000
    assert vm.execute("let d = 0; function g() { d++; g() } try { g() } catch (e) { e.name }") == "RangeError"
    assert vm.execute("d > 3000") is True


def test_a_weak_reference_holds_as_long_as_jobs_run(vm: VM) -> None:
    code = "globalThis.w = new WeakRef({ a: 1 }); await 0; await 0; w.deref().a"
    assert vm.execute(code) == 1
    assert vm.execute("typeof w.deref()") == "undefined"


@pytest.mark.parametrize(
    ("url", "href"),  # what Node 20 gives
    [
        ("'https://u:p@EX.com:443/a/./b/../c?x=1#h'", "https://u:p@ex.com/a/c?x=1#h"),
        ("'../x?y', 'http://a/b/c/d#e'", "http://a/b/x?y"),
        ("'//h:81', 'https://a/b'", "https://h:81/"),
        ("'?q', 'foo://h/d/e'", "foo://h/d/e?q"),
        ("'http://münchen.de/ä?ö#ü'", "http://xn--mnchen-3ya.de/%C3%A4?%C3%B6#%C3%BC"),
        ("'http://0x7f.1/'", "http://127.0.0.1/"),
        ("'http://[1:2:0:0:5:0:0:8]/'", "http://[1:2::5:0:0:8]/"),
        ("'file:///c|/x/../..'", "file:///c:/"),
        ("'mailto:a b@c'", "mailto:a b@c"),
        ("' ht\\ntp:\\\\a\\\\b '", "http://a/b"),
    ],
)
def test_urls_are_read_as_the_web_does(vm: VM, url: str, href: str) -> None:
    assert vm.execute(f"new URL({url}).href") == href


@pytest.mark.parametrize(
    "url", ["", "/p", "http://", "http://a b", "http://a:99999", "http://256.256.256.256", "http://[::1"]
)
def test_what_is_no_url_is_a_type_error(vm: VM, url: str) -> None:
    assert vm.execute("try { new URL(u) } catch (e) { e.name + URL.canParse(u) }", {"u": url}) == "TypeErrorfalse"


def test_what_stands_in_for_the_language_looks_as_it_does(vm: VM) -> None:
    """Found by test262: lengths, constructors, tags, other kinds of `this`."""
    code = """
      const wrong = [], say = (what, right) => { if (!right) wrong.push(what) };
      const methods = [[WeakRef.prototype, 'deref', 0], [Number.prototype, 'toLocaleString', 0],
        [BigInt.prototype, 'toLocaleString', 0], [String.prototype, 'localeCompare', 1],
        ...['toLocaleLowerCase', 'toLocaleUpperCase'].map(name => [String.prototype, name, 0]),
        ...['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString'].map(name => [Date.prototype, name, 0])];
      for (const [of, name, length] of methods) {
        const { value, writable, enumerable, configurable } = Object.getOwnPropertyDescriptor(of, name);
        say(`${name} is a property`, writable && !enumerable && configurable);
        say(`${name}.length`, value.length === length && value.name === name && !('prototype' in value));
        try { value.call(); say(`${name} of undefined`, false) } catch (e) { say(name, e instanceof TypeError) }
        try { Reflect.construct(Object, [], value); say(`new ${name}`, false) } catch { }
      }
      const tag = Object.getOwnPropertyDescriptor(WeakRef.prototype, Symbol.toStringTag);
      say('tag', tag.value === 'WeakRef' && !tag.writable);
      say('constructor', WeakRef.prototype.constructor === WeakRef && new WeakRef([]) instanceof WeakRef);
      try { WeakRef({}); say('without new', false) } catch (e) { say('without new', e instanceof TypeError) }
      const made = Object.assign(function () {}, { prototype: null });
      say('fallback', Object.getPrototypeOf(Reflect.construct(WeakRef, [{}], made)) === WeakRef.prototype);
      say('subclass', new (class Own extends WeakRef { more() { return this.deref().a } })({ a: 3 }).more() === 3);
      wrong"""
    assert vm.execute(code) == []
    with closing(VM(vm.warm, entropy=True)) as chance:
        assert chance.execute("[Math.random.name, Math.random.length, 'prototype' in Math.random]") == [
            "random",
            0,
            False,
        ]


def test_parts_and_parameters_of_a_url_are_one(vm: VM) -> None:
    code = """
    const u = new URL('http://a:80/b?x=1&y=%20+#h');
    u.searchParams.append('z', 'é&'); u.searchParams.delete('x'); u.port = '81'; u.hash = ''; u.pathname = '/p q';
    u.hostname = 'b.org'; u.protocol = 'https'; u.username = 'me@';
    [u.href, u.origin, `${new URLSearchParams({ a: 1, b: 'x y' })}`, [...u.searchParams.keys()],
     JSON.stringify([u]).length]
    """
    href = "https://me%40@b.org:81/p%20q?y=++&z=%C3%A9%26"
    assert vm.execute(code) == [href, "https://b.org:81", "a=1&b=x+y", ["y", "z"], len(href) + 4]


def test_events_and_aborts_reach_who_listens(vm: VM) -> None:
    code = """
    const seen = [], target = new EventTarget(), stop = new AbortController();
    target.addEventListener('x', (e) => { seen.push(e.detail); e.preventDefault() }, { once: true });
    target.addEventListener('x', { handleEvent: () => seen.push('o') }, { signal: stop.signal });
    seen.push(target.dispatchEvent(new CustomEvent('x', { detail: 7, cancelable: true })));
    stop.signal.onabort = () => seen.push('on'); stop.abort(); stop.abort();
    seen.push(target.dispatchEvent(new Event('x')), stop.signal.reason.name, AbortSignal.any([stop.signal]).aborted);
    const late = AbortSignal.timeout(5000);
    await new Promise((done) => late.addEventListener('abort', done));
    [...seen, late.reason.name]
    """
    assert vm.execute(code) == [7, "o", False, "on", True, "AbortError", True, "TimeoutError"]


@pytest.mark.parametrize(
    ("code", "text"),  # what Node 20 gives for en-US and UTC
    [
        ("(1234567.891).toLocaleString()", "1,234,567.891"),
        ("(1.005).toLocaleString('en-US', { maximumFractionDigits: 2 })", "1.01"),
        ("(-1234.5).toLocaleString('en-US', { style: 'currency', currency: 'USD' })", "-$1,234.50"),
        ("(0.125).toLocaleString('en', { style: 'percent', minimumFractionDigits: 1 })", "12.5%"),
        ("new Intl.NumberFormat('en-US', { notation: 'compact' }).format(999950)", "1M"),
        ("(2n ** 70n).toLocaleString()", "1,180,591,620,717,411,303,424"),
        ("new Date(0).toLocaleString()", "1/1/1970, 12:00:00 AM"),
        ("new Date(9e11).toLocaleDateString('en-US', { weekday: 'long', year: 'numeric', month: 'long' })",
         "Thursday, July 1998"),
        ("new Date(9e11).toLocaleTimeString('en-US', { hour: 'numeric', minute: '2-digit', hour12: false })", "16:00"),
        ("new Intl.DateTimeFormat('en-US', { dateStyle: 'full', timeStyle: 'short' }).format(9e11)",
         "Thursday, July 9, 1998 at 4:00 PM"),
        ("['z', 'ä', 'B', 'a', 'b', 'ß', 'A', '_'].sort((x, y) => x.localeCompare(y)).join('')", "_aAäbBßz"),
        ("['a10', 'a9'].sort(new Intl.Collator('en', { numeric: true }).compare).join()", "a9,a10"),
        ("[1, 2, 3, 11, 23].map((n) => new Intl.PluralRules('en', { type: 'ordinal' }).select(n)).join()",
         "one,two,few,other,few"),
        ("new Intl.ListFormat('en').format(['a', 'b', 'c'])", "a, b, and c"),
        ("new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(-1, 'day')", "yesterday"),
    ],
)  # fmt: skip
def test_texts_for_people_are_those_of_en_us(vm: VM, code: str, text: str) -> None:
    assert vm.execute(code) == text


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("(1).toLocaleString('de-DE')", "the locale de-DE is not there: this sandbox has en-US only"),
        ("new Date(0).toLocaleString('en-US', { timeZone: 'Europe/Berlin' })", "Europe/Berlin is not there"),
        ("(1).toLocaleString('en-US', { style: 'unit', unit: 'liter' })", "unit"),
        ("new Intl.Segmenter('en')", "Intl.Segmenter is not there"),
        ("'a'.localeCompare('b', 'sv')", "sv"),
    ],
)
def test_what_is_not_there_of_locales_says_so(vm: VM, code: str, says: str) -> None:
    with pytest.raises(ScriptError, match=says):
        vm.execute(code)


def test_texts_of_other_encodings_and_in_pieces(vm: VM) -> None:
    code = "const d = new TextDecoder(); [d.decode(b.slice(0, 2), { stream: true }), d.decode(b.slice(2))]"
    assert vm.execute(code, {"b": "a€".encode()}) == ["a", "€"]
    assert vm.execute("new TextDecoder('utf-16le').decode(b)", {"b": "a😀".encode("utf-16-le")}) == "a😀"
    assert vm.execute("new TextDecoder('latin1').decode(b)", {"b": b"\x80\xe9"}) == "€é"
    with pytest.raises(ScriptError, match="shift_jis is not there"):
        vm.execute("new TextDecoder('shift_jis')")


def test_the_console_takes_directions(vm: VM) -> None:
    assert printed(vm, "console.log('%s is %d%% of %o', 'a', 5.5, { b: 1 }, 'more'); console.log('100%', 1)") == (
        "a is 5.5% of { b: 1 } more\n100% 1\n"
    )


def test_a_key_that_is_undefined_is_not_null_s(vm: VM) -> None:
    assert vm.execute("new Map([[undefined, 1]])") == {None: 1}
    assert vm.execute("new Map([[undefined, 1], [null, 2]])") == {Foreign("undefined", "undefined"): 1, None: 2}


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
