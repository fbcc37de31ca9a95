"""Components by their manifests, from an engine and from durable functions (`engine.sandbox.add`, `ctx.component`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from capabilities.sandbox.errors import ComponentNotFound, ExecutionFailed, MissingCpuConfig
from capabilities.sandbox.wasm.runtime import wat
from durable.core.errors import ExecutionError
from tests.e2e.sandboxed import LEDGER, MANIFEST, MODULE, charging
from tests.waiting import in_state


@durable.function(name="asks_six")
async def asks_six(ctx: durable.Context, component: str) -> list[int]:
    return [await ctx.component(component, "run"), await ctx.component(component, "run")]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as found:
        yield found


async def test_a_manifest_is_a_file_or_its_text(engine: durable.Engine, tmp_path: Path) -> None:
    file = tmp_path / "Component.toml"
    file.write_text(MANIFEST)
    assert await engine.sandbox.add(file, MODULE) == "six"
    first = await engine.sandbox.call("six", "run", execution="one")
    again = await engine.sandbox.call("six", "run", execution="one")
    other = await engine.sandbox.call("six", "run")
    assert (again.value, again.used.fuel) == (first.value, first.used.fuel)
    assert other.value != first.value, "another execution draws another random number"
    with pytest.raises(MissingCpuConfig, match=r"Component\.toml has no"):
        await engine.sandbox.add(MANIFEST.replace("cpu = { max_fuel = 100000, timeout_seconds = 60 }", ""), MODULE)
    with pytest.raises(ComponentNotFound):
        await engine.sandbox.call("seven", "run")


async def test_a_durable_function_calls_it_once(
    engine: durable.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.sandbox.components.ADDED_S", 0.1)
    await engine.sandbox.add(MANIFEST, MODULE)
    execution = await engine.start(asks_six, "six", id="f")
    first, second = await execution.result()
    assert first != second
    charged = [line.split()[0] for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert charged == [f"exec:f.{k}:charge:{n}" for k in (1, 2) for n in (1, 2, 3)]
    with pytest.raises(ExecutionError, match="no component 'seven' is known"):
        await (await engine.start(asks_six, "seven", id="g")).result()


async def test_a_replay_that_differs_halts_the_function(engine: durable.Engine) -> None:
    await engine.sandbox.add(MANIFEST, MODULE)
    await engine.sandbox.call("six", "run", execution="h.1")
    changed = MODULE.replace(b'{"amount":2}', b'{"amount":9}')
    assert changed != MODULE
    await engine.sandbox.add(MANIFEST, changed)
    execution = await engine.start(asks_six, "six", id="h")
    assert await in_state(engine, execution, "interrupted", "failed", "lost") == "interrupted"


async def test_the_front_runs_components_as_it_runs_modules(engine: durable.Engine) -> None:
    code = wat("""
      (component
        (core module $m (func (export "run") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))
        (core instance $i (instantiate $m))
        (func (export "run") (param "a" u8) (param "b" u8) (result u16) (canon lift (core func $i "run"))))
    """)
    ran = await engine.sandbox.run(code, language="wasm", inputs={"a": 200, "b": 100})
    assert (ran.backend, ran.value) == ("wasm", 20_000)
    with pytest.raises(ExecutionFailed, match="a: 256 is no u8"):
        await engine.sandbox.run(code, language="wasm", inputs={"a": 256, "b": 1})
