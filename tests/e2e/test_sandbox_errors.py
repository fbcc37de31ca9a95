"""How foreign code fails, as a caller meets it: class, own words, what it had printed (specs/sandbox.md, F6, F7)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.sandbox.wasm.runtime import wat
from durable.functions.failures import rebuild
from durable.sandbox import components
from durable.sandbox.sandbox import Sandbox
from tests.e2e.isolated import need

SPIN = "console.log('half'); while (true) {}"


pytestmark = pytest.mark.usefixtures("cached")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db") as made:
        yield made


CASES: dict[str, tuple[str, dict[str, Any], type[durable.SandboxError], dict[str, Any]]] = {
    "time": (SPIN, {"timeout_ms": 50}, durable.ExecutionTimeout, {"timeout_ms": 50, "fuel_limit": None}),
    "fuel": (SPIN, {"fuel": 1_000_000}, durable.FuelExhausted, {"fuel_limit": 1_000_000, "fuel_used": 1_000_000}),
    "memory": (
        "console.log('half'); let a = []; while (true) a.push(new Array(1000).fill(0))",
        {"memory": 8 << 20},
        durable.OutOfMemory,
        {"resource": "memory", "limit": 8 << 20},
    ),
    "stack": (
        "console.log('half'); function f() { f() }; f()",
        {},
        durable.ResourceLimitExceeded,
        {"resource": "stack"},
    ),
    "denied": (
        "console.log('half'); await import('fs')",
        {},
        durable.CapabilityDenied,
        {"action": "import", "resource": "fs"},
    ),
    "thrown": (
        "console.log('half'); null.x",
        {},
        durable.ScriptError,
        {"name": "TypeError", "stack": "    at <eval> (script.js:1:21)"},
    ),
    "wasm": (
        # wat('(module (func (export "run") unreachable))')
        "wasm_base64:AGFzbQEAAAABBAFgAAADAgEABwcBA3J1bgAACgUBAwAACw==",
        {"fuel": 1000, "memory": 1 << 20},
        durable.ComponentTrapped,
        {"fuel_consumed": 1},
    ),
}


@durable.function
async def caught(ctx: durable.Context, which: str) -> dict[str, Any]:
    code, limits, kind, about = CASES[which]
    try:
        await ctx.sandbox(code, limits=durable.SandboxLimits.javascript(**limits))
    except kind as error:
        found = {name: getattr(error, name) for name in about}
        return {
            "about": found,
            "type": getattr(error, "exception_type", "not an ExecutionError"),
            "printed": error.printed,
        }
    return {}


@durable.function
async def uncaught(ctx: durable.Context, which: str) -> None:
    code, limits, _, _ = CASES[which]
    await ctx.sandbox(code, limits=durable.SandboxLimits.javascript(**limits))


@pytest.mark.parametrize("which", CASES)
async def test_each_cause_is_its_own_class_in_a_durable_function(engine: durable.Engine, which: str) -> None:
    _, _, kind, about = CASES[which]
    found = await (await engine.start(caught, which)).result()
    assert found["about"] == about
    assert found["type"] == f"durable.{kind.__name__}"
    assert found["printed"] == (["", ""] if which == "wasm" else ["half\n", ""])


async def test_the_record_has_the_scripts_own_words(engine: durable.Engine) -> None:
    execution = await engine.start(uncaught, "thrown")
    with pytest.raises(durable.ScriptError, match="cannot read property 'x' of null") as raised:
        await execution.result()
    error: Any = raised.value
    assert error.traceback == "TypeError: cannot read property 'x' of null\n    at <eval> (script.js:1:21)\n"
    assert error.printed == ("half\n", "")
    assert error.used.memory > 0
    with pytest.raises(durable.CpuLimitExceeded) as stopped:
        await (await engine.start(uncaught, "time")).result()
    late: Any = stopped.value
    assert late.used.elapsed_ms >= 50
    assert "File" not in late.traceback  # no frame is the user's


async def test_a_components_failure_is_typed_too(engine: durable.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable.sandbox.components.ADDED_S", 0.1)
    manifest = """
    component = { id = "spins" }
    [resources]
    memory = { max_bytes = 1048576 }
    cpu = { max_fuel = 1000, timeout_seconds = 60 }
    """
    await engine.sandbox.add(manifest, wat('(module (func (export "run") (loop br 0)))'))
    with pytest.raises(durable.FuelExhausted) as raised:
        await (await engine.start(component, "spins", "run")).result()
    error: Any = raised.value
    assert (error.component, error.fuel_limit) == ("spins", 1000)
    with pytest.raises(durable.ComponentNotFound, match="known: spins"):
        await (await engine.start(component, "nope", "run")).result()


@durable.function
async def component(ctx: durable.Context, id: str, function: str) -> Any:
    return await ctx.component(id, function)


async def test_python_keeps_what_it_printed_however_it_ends(engine: durable.Engine) -> None:
    need("profile isolated")
    run = engine.sandbox.run
    with pytest.raises(durable.ExecutionError, match="ZeroDivisionError") as failed:
        await run("print('half')\n1 / 0", language="python")
    assert failed.value.printed == ("half\n", "")
    spin = "import sys\nprint('half', flush=True)\nprint('e', file=sys.stderr, flush=True)\nwhile True: pass"
    with pytest.raises(durable.ExecutionTimeout) as late:
        await run(spin, language="python", limits=durable.SandboxLimits.javascript(timeout_ms=1000))
    assert late.value.printed == ("half\n", "e\n")
    dies = "import os\nprint('half', flush=True)\nos.kill(os.getpid(), 9)"
    with pytest.raises(durable.WorkerDied) as died:
        await run(dies, language="python")
    assert died.value.printed == ("half\n", "")
    flood = await run("print('x' * 100_000)", language="python", limits=durable.SandboxLimits.javascript(output=1000))
    assert len(flood.stdout) == 1000


async def test_what_cannot_be_run_is_refused_before_anything_runs(engine: durable.Engine) -> None:
    run: Any = engine.sandbox.run
    with pytest.raises(durable.BadArguments, match="not NoneType"):
        await run(None)
    with pytest.raises(durable.BadArguments, match=r"grants=\['kv'\]"):
        await run("1", grants="kv")
    with pytest.raises(durable.BadArguments, match="names and values, not list"):
        await run("1", inputs=[1])
    with pytest.raises(durable.InvalidId):
        await run("1", execution="a:b c")
    with pytest.raises(durable.InvalidId):
        await engine.sandbox.call("nope", "run", execution="a:b c")
    with pytest.raises(durable.NotEncodable, match="input 'a'"):
        await run("1", inputs={"a": object()}, language="python")
    assert engine.sandbox.statistics["javascript"].count == 0
    module = bytearray(wat('(module (func (export "run") (result i32) i32.const 7))'))
    assert (await run(module)).value == 7


def _below(kind: type[durable.SandboxError]) -> list[type[durable.SandboxError]]:
    return [kind, *(each for one in kind.__subclasses__() for each in _below(one))]


async def test_a_record_of_any_of_them_is_read_as_its_class(engine: durable.Engine) -> None:
    for kind in _below(durable.SandboxError):
        if kind.__module__.startswith("durable.functions"):
            continue  # made of a record already
        record = {"message": json.dumps({"type": "error", "exception_type": f"durable.{kind.__name__}"})}
        found: Any = rebuild("rejected", record, "x")
        assert isinstance(found, kind), kind
        assert all(hasattr(found, name) for name in (*kind.about, "used", "printed"))


ADDS_ONE = """
component = { id = "answers" }
[resources]
memory = { max_bytes = 1048576 }
cpu = { max_fuel = 1000, timeout_seconds = 60 }
"""


async def test_a_function_waits_for_the_component_that_its_program_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = wat('(module (func (export "run") (result i32) i32.const 42))')
    asked, waits = asyncio.Event(), Sandbox.added

    async def added(sandbox: Sandbox, component: str) -> None:
        asked.set()
        await waits(sandbox, component)

    monkeypatch.setattr(Sandbox, "added", added)
    monkeypatch.setattr(components, "ADDED_S", 60.0)
    async with durable.open(tmp_path / "work.db", serve=False) as client:
        execution = await client.start(component, "answers", "run", id="early")
    async with durable.open(tmp_path / "work.db") as engine:  # goes on with it before the next line
        execution = await engine.get("early")
        await asked.wait()
        await engine.sandbox.add(ADDS_ONE.replace("answers", "another"), answers)
        await engine.sandbox.add(ADDS_ONE, answers)
        assert await execution.result() == 42
