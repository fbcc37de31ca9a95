"""Code and values that are nested too deep: an error that the script can catch, and its state lives on (J4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wasmtime import Engine, FuncType, Instance, Linker, Module, Store, wat2wasm

from capabilities.sandbox.javascript.stack_padding import padded
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import WarmImage, forget, warm
from capabilities.sandbox.limits import JAVASCRIPT
from capabilities.sandbox.wasm.runtime import Runtime

PATIENT = JAVASCRIPT.but(timeout_ms=60_000, memory=256 * 1024 * 1024)

LISTS = "let d = []; for (let i = 0; i < 1e5; i++) d = [d];"
MAPS = "let d = new Map(); for (let i = 0; i < 1e5; i++) d = new Map([[1, d]]);"
OBJECTS = "let d = {}; for (let i = 0; i < 1e5; i++) d = { d };"

TEXT_AND_VALUES = {
    "JSON.parse of lists": "JSON.parse('['.repeat(1e5) + ']'.repeat(1e5))",
    "JSON.parse of objects": "JSON.parse('{\"a\":'.repeat(1e5) + '1' + '}'.repeat(1e5))",
    "JSON.parse of a text that never ends": "JSON.parse('['.repeat(1e5))",
    "JSON.parse with a reviver": "JSON.parse('['.repeat(2e4) + ']'.repeat(2e4), (key, value) => value)",
    "JSON.stringify of lists": f"{LISTS} JSON.stringify(d)",
    "JSON.stringify of objects": f"{OBJECTS} JSON.stringify(d)",
    "JSON.stringify with a replacer without end": "JSON.stringify(1, (key, value) => [value])",
    "structuredClone": f"{LISTS} structuredClone(d)",
    "structuredClone of maps": f"{MAPS} structuredClone(d)",
    "toString": f"{LISTS} d.toString()",
    "join": f"{LISTS} d.join()",
    "toLocaleString": f"{LISTS} d.toLocaleString()",
    "flat": f"{LISTS} d.flat(Infinity)",
}

SOURCE = {
    "brackets": ("(", "1", ")"),
    "lists": ("[", "1", "]"),
    "objects": ("({a:", "1", "})"),
    "computed names": ("({[", "1", "]:1})"),
    "calls": ("f(", "1", ")"),
    "members": ("a[", "1", "]"),
    "optional members": ("a?.[", "1", "]"),
    "imports": ("import(", "1", ")"),
    "templates": ("`${", "1", "}`"),
    "tagged templates": ("f`${", "1", "}`"),
    "spreads": ("[...", "1", "]"),
    "not": ("!", "1", ""),
    "minus": ("- ", "1", ""),
    "typeof": ("typeof ", "1", ""),
    "void": ("void ", "1", ""),
    "delete": ("delete ", "1", ""),
    "powers": ("1**", "1", ""),
    "new": ("new ", "a", ""),
    "conditions": ("1?", "1", ":1"),
    "assignments": ("a=", "1", ""),
    "arrow functions": ("a=>", "1", ""),
    "async arrow functions": ("async a => ", "1", ""),
    "functions": ("function f(){", "", "}"),
    "function expressions": ("(function(){", "", "})"),
    "parameters": ("(a=", "1", ")=>1"),
    "getters": ("({ get a() { return ", "1", "} })"),
    "classes": ("(class { x = ", "1", "})"),
    "classes of classes": ("(class extends ", "Object", "{})"),
    "static blocks": ("(class { static { ", "1", "} })"),
    "blocks": ("{", "", "}"),
    "ifs": ("if(1)", "1", ""),
    "tries": ("try{", "1", "}finally{}"),
    "switches": ("switch(1){case 1:", "", "}"),
    "withs": ("with(1)", "1", ""),
}

CHAINS = {
    "proxies: keys": "Object.keys(p)",
    "proxies: prototype": "Object.getPrototypeOf(p)",
    "proxies: prototype set": "Object.setPrototypeOf(p, null)",
    "proxies: extensible": "Object.isExtensible(p)",
    "proxies: not extensible": "Object.preventExtensions(p)",
    "proxies: frozen": "Object.freeze(p)",
    "proxies: get": "p.x",
    "proxies: set": "p.x = 1",
    "proxies: has": "'x' in p",
    "proxies: delete": "delete p.x",
    "proxies: define": "Object.defineProperty(p, 'x', { value: 1 })",
    "proxies: descriptor": "Object.getOwnPropertyDescriptor(p, 'x')",
    "proxies: call": "p()",
    "proxies: new": "new p()",
    "proxies: instanceof": "({}) instanceof p",
    "proxies: loop": "for (const name in p);",
}

MAPPED = "let it = [1].values(); for (let i = 0; i < 1e5; i++) it = it.map((each) => each);"
ITERATORS = {
    "map": "it.map((each) => each)",
    "filter": "it.filter(() => true)",
    "take": "it.take(5)",
    "drop": "it.drop(0)",
    "flatMap": "it.flatMap((each) => [each])",
}

OTHERS = {
    **{
        f"iterators: {name}": f"let it = [1].values(); for (let i = 0; i < 1e5; i++) it = {step}; it.next()"
        for name, step in ITERATORS.items()
    },
    "iterators: return": f"{MAPPED} it.return()",
    "iterators: from": (
        "const outer = (inner) => Iterator.from({ __proto__: null, next: () => inner.next() });"
        "let it = [].values(); for (let i = 0; i < 1e5; i++) it = outer(it); it.next()"
    ),
    "generators": "function* g(n) { if (n) yield* g(n - 1); yield 1 } [...g(1e5)]",
    "spreads of generators": "let o = { *[Symbol.iterator]() { yield* [...o] } }; [...o]",
    "recursion": "(function f() { f() })()",
    "evals": "globalThis.f = () => eval('f()'); f()",
    "constructors": "class A { constructor() { this.a = new A() } } new A()",
    "texts of themselves": "let a = { toString() { return `${this}` } }; `${a}`",
    "replacements": "function f() { return 'a'.replace(/a/, f) } f()",
    "orders": "function f() { return [2, 1].sort(f) } f()",
}

DEEP = {
    **TEXT_AND_VALUES,
    **{
        f"source: {name}": f"eval({before!r}.repeat(2e4) + {inside!r} + {after!r}.repeat(2e4))"
        for name, (before, inside, after) in SOURCE.items()
    },
    "source: new Function": "new Function('('.repeat(2e4) + '1' + ')'.repeat(2e4))",
    **{
        name: f"let p = class {{}}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {{}}); {use}"
        for name, use in CHAINS.items()
    },
    **OTHERS,
}

PARAMETERS = "eval('async () => '.repeat(2e4) + '1')"
"""Met while it reads parameters, the engine tells of its stack as of a parameter that is missing."""

EXPRESSIONS = {
    "groups": "'(?:'.repeat(1e5) + ')'.repeat(1e5)",
    "captures": "'('.repeat(1e5) + ')'.repeat(1e5)",
    "looks ahead": "'(?='.repeat(1e5) + ')'.repeat(1e5)",
    "looks behind": "'(?<='.repeat(1e5) + ')'.repeat(1e5)",
    "quantifiers": "'(?:'.repeat(1e4) + 'a' + ')*'.repeat(1e4)",
}


@pytest.fixture(scope="module")
def image(sandbox_cache: Path) -> Iterator[WarmImage]:
    runtime = Runtime(sandbox_cache, metered=False)
    yield warm(runtime)
    forget(runtime)
    runtime.close()


@pytest.mark.parametrize("code", DEEP.values(), ids=list(DEEP))
def test_a_script_catches_what_is_too_deep_and_its_state_lives_on(image: WarmImage, code: str) -> None:
    vm = VM(image, PATIENT)
    vm.execute("let kept = 41")
    assert vm.execute(f"try {{ {code}; 'went through' }} catch (error) {{ error.name + ': ' + error.message }}") == (
        "RangeError: Maximum call stack size exceeded"
    )
    assert vm.execute("kept + 1") == 42


def test_functions_without_parameters_that_are_too_deep_are_an_error_of_syntax(image: WarmImage) -> None:
    vm = VM(image, PATIENT)
    vm.execute("let kept = 41")
    assert vm.execute(f"try {{ {PARAMETERS} }} catch (error) {{ error.name }}") == "SyntaxError"
    assert vm.execute("kept + 1") == 42


@pytest.mark.parametrize("source", EXPRESSIONS.values(), ids=list(EXPRESSIONS))
def test_a_script_catches_a_regular_expression_that_is_too_deep(image: WarmImage, source: str) -> None:
    vm = VM(image, PATIENT)
    assert vm.execute(f"try {{ new RegExp({source}) }} catch (error) {{ error.name }}") == "SyntaxError"
    assert vm.execute("1 + 1") == 2


@pytest.mark.parametrize("depth", [100, 500])
def test_what_people_write_is_not_too_deep(image: WarmImage, depth: int) -> None:
    vm = VM(image, PATIENT)
    assert vm.execute("(" * depth + "1" + ")" * depth) == 1
    assert vm.execute("[" * depth + "1" + "]" * depth + ".flat(Infinity)[0]") == 1
    assert vm.execute("f = " + "(a => " * (depth // 4) + "a" + ")" * (depth // 4) + "; 1") == 1
    assert (
        vm.execute(f"JSON.stringify(JSON.parse('['.repeat({depth * 10}) + ']'.repeat({depth * 10}))).length")
        == depth * 20
    )


def test_a_padded_function_has_a_larger_frame_on_the_stack_in_memory_and_gives_it_back() -> None:
    module = wat2wasm("""(module
        (import "host" "nothing" (func))
        (global $stack (export "stack") (mut i32) (i32.const 5000))
        (func $end (param i32) (param f64) (param i64) (result i64)
          (i64.add (local.get 2) (i64.extend_i32_u (global.get $stack))))
        (func (export "end") (param i64) (result i64)
          (call $end (i32.const 1) (f64.const 2) (local.get 0)))
        (func (export "deep") (param i32) (result i32)
          (if (result i32) (local.get 0)
            (then (call 3 (i32.sub (local.get 0) (i32.const 1))))
            (else (global.get $stack)))))""")
    engine = Engine()

    def made(data: bytes) -> tuple[Store, Instance]:
        store, linker = Store(engine), Linker(engine)
        linker.define_func("host", "nothing", FuncType([], []), lambda: None)
        return store, linker.instantiate(store, Module(engine, data))

    store, plain = made(bytes(module))
    assert plain.exports(store)["end"](store, 7) == 5007  # type: ignore[operator]
    store, wide = made(padded(bytes(module), {1: 64, 3: 4096 - 64}))
    exports = wide.exports(store)
    assert exports["end"](store, 7) == 5007 - 64  # type: ignore[operator]
    assert exports["deep"](store, 0) == 5000 - 4032  # type: ignore[operator]
    assert exports["stack"].value(store) == 5000  # type: ignore[union-attr]
