"""An instance of JavaScript through the public API: state, functions by name, reset, isolation (G3-G8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.sandbox import errors
from capabilities.sandbox.javascript.errors import InstanceBusy, InvalidSnapshot, ScriptError
from capabilities.sandbox.limits import JAVASCRIPT
from tests.e2e.sandboxed import LEDGER, charging

pytestmark = pytest.mark.usefixtures("cached")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as made:
        yield made


def add(a: int, b: int = 1) -> int:
    return a + b


async def later(text: str) -> str:
    await asyncio.sleep(0)
    return text.upper()


async def test_state_lives_on_until_it_is_reset(engine: durable.Engine) -> None:
    async with engine.sandbox.javascript(functions={"add": add}) as js:
        await js.execute(
            "let n = x; function twice(v) { return v * 2 } class C { static m(a) { return a } }", {"x": 20}
        )
        assert await js.execute("n += 1; n") == 21
        assert await js.execute_function("twice", [21]) == 42
        assert await js.execute_function("C.m", [{"a": [None, True, 1.5, "ü"]}]) == {"a": [None, True, 1.5, "ü"]}
        with pytest.raises(ScriptError, match="ReferenceError: absent is not defined"):
            await js.execute_function("absent")
        with pytest.raises(ScriptError, match="n is not a function"):
            await js.execute_function("n")
        await js.set_globals({"given": {"deep": [1, 2]}})
        assert (await js.get_global("given"), await js.get_global("n")) == ({"deep": [1, 2]}, 21)
        with pytest.raises(errors.InvalidConfiguration, match="no name of a global"):
            await js.get_global("1; n = 5")
        await js.define_function("later", later)
        assert await js.execute("console.log('out'); await later('hi') + add(1)") == "HI2"
        assert (js.used.stdout, js.used.fuel) == ("out\n", None)
        state = await js.snapshot()
        await js.reset()
        with pytest.raises(ScriptError, match="ReferenceError: n is not defined"):
            await js.get_global("n")
        assert (
            await js.execute("typeof require + typeof process + await later('a') + add(1, 2)") == "undefinedundefinedA3"
        )
        await js.restore(state)
        assert await js.execute("twice(n)") == 42
        with pytest.raises(InvalidSnapshot):
            await js.restore(state[:-1] + bytes([state[-1] ^ 1]))
    with pytest.raises(errors.InvalidConfiguration, match="the instance is not open"):
        await js.execute("1")


async def test_its_functions_are_an_allow_list_with_checked_arguments(engine: durable.Engine) -> None:
    async with engine.sandbox.javascript(functions={"add": add}, modules={"m": "export const x = 5"}) as js:
        for code, says in [
            ("add('x')", "BadArguments"),
            ("add()", "BadArguments"),
            ("add(1, 2, 3)", "BadArguments"),
            ("absent(1)", "ReferenceError: absent"),
        ]:
            assert says in await js.execute(f"try {{ {code} }} catch (e) {{ String(e) }}"), code
        assert await js.execute("import { x } from 'm'; export const y = x + 1", module=True) == {"y": 6}
        with pytest.raises(errors.CapabilityDenied, match="may not import fs: its modules are m"):
            await js.execute("import fs from 'fs'; export default 1", module=True)
        with pytest.raises(errors.InvalidConfiguration, match="no name of a function"):
            await js.define_function("a b", add)


async def test_a_stopped_script_leaves_the_instance_as_it_was(engine: durable.Engine) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with engine.sandbox.javascript(functions={"hang": hang}, limits=JAVASCRIPT.but(timeout_ms=300)) as js:
        await js.execute("let kept = 1")
        with pytest.raises(errors.ExecutionTimeout, match="its timeout is 300 ms"):
            await js.execute("while (true) {}")
        with pytest.raises(ScriptError, match="Error: bad"):
            await js.execute("throw new Error('bad')")
        assert await js.execute("kept") == 1
    async with engine.sandbox.javascript(functions={"hang": hang}) as js:
        started.clear()
        waiting = asyncio.create_task(js.execute("await hang()"))
        await started.wait()
        with pytest.raises(InstanceBusy):
            await js.execute("1")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await js.execute("1 + 1") == 2


async def test_instances_see_nothing_of_each_other(engine: durable.Engine) -> None:
    async def one(n: int) -> Any:
        async with engine.sandbox.javascript() as js:
            await js.execute(f"globalThis.mine = {n}; Object.prototype.polluted = {n}; console.log('{n}')")
            return await js.execute("[mine, ({}).polluted]"), js.used.stdout

    found = await asyncio.gather(*(one(n) for n in range(100)))
    assert [values for values, _ in found] == [[n, n] for n in range(100)]
    assert (
        await engine.sandbox.run("typeof mine + ({}).polluted", language="javascript")
    ).value == "undefinedundefined"


async def test_what_is_granted_is_recorded(engine: durable.Engine, tmp_path: Path) -> None:
    async with engine.sandbox.javascript(grants=["charge", "kv"], execution="e", identity="ana") as js:
        assert await js.execute("await charge(1)") == "charged 1"
        assert await js.execute("await kv.set('k', 1); await charge(2)") == "charged 2"
    assert [line.split()[0] for line in (tmp_path / LEDGER).read_text().splitlines()] == [
        "exec:e:charge:1",
        "exec:e:charge:2",
    ]
    with pytest.raises(errors.InvalidConfiguration, match="say who runs"):
        async with engine.sandbox.javascript(grants=["kv"]):
            raise AssertionError
