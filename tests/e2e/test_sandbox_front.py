"""Foreign code through the engine's front: three backends, durable calls, the command line."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.sandbox import errors
from capabilities.sandbox.javascript import engine_file
from capabilities.sandbox.javascript.errors import ScriptError
from capabilities.sandbox.limits import COMPONENT, JAVASCRIPT, MIB
from capabilities.sandbox.wasm.runtime import wat
from durable.core.clock import now_ms
from durable.core.errors import ExecutionError
from durable.sandbox import sandbox_calls
from durable.sessions.ownership.session_confinement import directory_of
from durable.store.port import StoreFace
from durable.store.upkeep.gc import collect
from tests.e2e import scripted
from tests.e2e.isolated import need
from tests.e2e.sandboxed import LEDGER, charging
from tests.waiting import first_prompt
from tests.warm_python import PYTHON

ROOT = Path(__file__).parents[2]
MODULE = wat('(module (func (export "run") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))')

SPIN = wat('(module (func (export "run") (loop br 0)))')


pytestmark = pytest.mark.usefixtures("cached")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as made:
        yield made


async def test_javascript_and_wasm_by_what_they_look_like(engine: durable.Engine) -> None:
    ran = await engine.sandbox.run("console.log('hi'); const y = x * 2; y", inputs={"x": 21})
    assert (ran.backend, ran.value, ran.stdout) == ("javascript", 42, "hi\n")
    ran = await engine.sandbox.run("console.log('hi'); 42;", limits=durable.SandboxLimits.restrictive())
    assert (ran.value, ran.stdout) == (42, "")
    assert (ran.memory_limit, ran.near_out_of_memory) == (64 * MIB, False)
    ran = await engine.sandbox.run(MODULE, inputs={"n": 21})
    assert (ran.backend, ran.value) == ("wasm", 42)
    assert (ran.memory_limit, ran.near_out_of_memory) == (COMPONENT.memory, None), "it has none that can be seen"
    assert ran.fuel is not None
    with pytest.raises(ScriptError, match="ReferenceError: x is not defined"):
        await engine.sandbox.run("const y = x; y")
    with pytest.raises(errors.ExecutionFailed, match="no main: the code exports none of run, main, _start"):
        await engine.sandbox.run(wat("(module)"))
    spin = wat('(module (func (export "main") (loop br 0)))')
    with pytest.raises(errors.FuelExhausted):
        await engine.sandbox.run(spin, limits=COMPONENT.but(fuel=1000, timeout_ms=30_000))
    assert [each.ended for each in engine.sandbox.decisions][:2] == ["", ""]
    assert engine.sandbox.statistics["wasm"].count == 3


async def test_python_in_a_worker_of_its_own(engine: durable.Engine) -> None:
    need("profile isolated")
    code = "import os\nprint(x)\nsorted(os.environ) and {'x': x * 2}"
    ran = await engine.sandbox.run(code, inputs={"x": 21})
    assert (ran.backend, ran.value, ran.stdout) == ("python", {"x": 42}, "21\n")
    with pytest.raises(ExecutionError, match="ZeroDivisionError"):
        await engine.sandbox.run("1 / 0", language="python")
    with pytest.raises(errors.ExecutionTimeout):
        await engine.sandbox.run("while True: pass", limits=JAVASCRIPT.but(timeout_ms=300, memory=256 * MIB))
    ran = await engine.sandbox.run("print('x'); 6 * 7", language="python", limits=durable.SandboxLimits.restrictive())
    assert (ran.value, ran.stdout) == (42, "")
    with pytest.raises(errors.ResourceLimitExceeded, match="code: 102401 was asked for, 102400 is allowed"):
        await engine.sandbox.run("#" * 102_401, language="python")
    with pytest.raises(durable.LimitExceeded, match="cpu") as caught:
        await engine.sandbox.run("while True: pass", limits=JAVASCRIPT.but(cpu_ms=300, memory=256 * MIB))
    assert isinstance(caught.value, durable.ResourceExceeded)
    assert (caught.value.resource, caught.value.limit) == ("cpu", 0.3)
    assert await engine.store.reads.sessions() == []


async def test_a_run_of_python_is_no_session_and_its_calls_are_audited_as_its_own(engine: durable.Engine) -> None:
    need("profile isolated")
    left = {"session": "sandbox-left-1", "engine": "killed", "options": {"profile": "isolated", "run": "r"}}
    await engine.store.request("session.open", left)
    directory = directory_of(engine.store, "sandbox-left-1")
    directory.mkdir(parents=True)
    assert (await engine.sandbox.run("bool(now())", language="python", grants=["now"], execution="own")).value
    elsewhere = "fetch('http://a.b/')"
    with pytest.raises(ExecutionError, match="'execution/own' may not use fetch"):
        await engine.sandbox.run(elsewhere, language="python", grants=["fetch:c.d"], execution="own")
    with pytest.raises(errors.InvalidConfiguration, match="is a session"):
        await engine.sandbox.run("1", language="python", grants=["kv"], execution="own")
    entries = await engine.audit("execution/own")
    assert [(each.execution, each.what, each.verdict) for each in entries] == [
        ("own", "fetch", "denied"),
        ("own", "now", "allowed"),
    ]
    assert await engine.store.reads.sessions() == []
    assert list(directory.parent.iterdir()) == []


async def test_python_that_ignores_interrupts_ends_at_its_limit(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("profile isolated")
    monkeypatch.setattr("durable.sessions.execution.interrupt.INTERRUPT_GRACE_S", 3600.0)
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    limits = JAVASCRIPT.but(timeout_ms=1000, memory=256 * MIB)
    async with asyncio.timeout(60):
        with pytest.raises(errors.ExecutionTimeout):
            await engine.sandbox.run(deaf, language="python", limits=limits)
    assert await engine.store.reads.sessions() == []


async def test_what_is_granted_is_recorded_and_what_is_not_is_not_there(engine: durable.Engine, tmp_path: Path) -> None:
    code = "await charge(5)"
    ran = await engine.sandbox.run(code, language="javascript", grants=["charge"], execution="granted")
    assert ran.value == "charged 5"
    assert await engine.sandbox.run(code, language="javascript", grants=["charge"], execution="granted") is not ran
    assert (tmp_path / LEDGER).read_text() == "exec:granted:charge:1 5\n"
    with pytest.raises(ScriptError, match="charge is not defined"):
        await engine.sandbox.run(code, language="javascript")
    with pytest.raises(durable.BadArguments, match="no capability 'nope'"):
        await engine.sandbox.run(code, language="javascript", grants=["nope"])


SLOWLY = wat("""
(module
  (import "durable" "call" (func $call (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "charge{\\"amount\\":1}")
  (func (export "run") (param $n i32) (result i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (call $call (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 12))))
""")
"""It comes by the same call after as many steps as its input says."""


async def test_another_run_under_the_same_id_is_no_replay(
    engine: durable.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(code: str, **inputs: Any) -> Any:
        ran = await engine.sandbox.run(code, language="javascript", inputs=inputs, grants=["charge"], execution="s")
        return ran.value

    caught = "try { await charge(n) } catch { 'handled' }"
    assert await script(caught, n=5) == "charged 5"
    with pytest.raises(durable.NonDeterminism, match="the same call with other arguments"):
        await script(caught, n=6)
    with pytest.raises(durable.Conflict, match="'s' has calls of other code recorded"):
        await script("try { await charge(5) } catch { 'handled' }")

    async def module(by: durable.Engine, n: int, code: bytes = SLOWLY) -> Any:
        return (await by.sandbox.run(code, inputs={"n": n}, grants=["charge"], execution="m")).value

    first = await module(engine, 10)
    with pytest.raises(durable.NonDeterminism, match=r"this call after \d+ units of fuel"):
        await module(engine, 11)
    with pytest.raises(durable.Conflict, match="'m' has calls of other code recorded"):
        await module(engine, 10, SLOWLY + b"\0\x02\x01x")
    monkeypatch.setattr("capabilities.sandbox.wasm.runtime._CONFIGURATION", "of another version")
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as other:
        assert await module(other, 11) == first, "what another meter counted is not compared"
    assert (tmp_path / LEDGER).read_text() == "exec:s:charge:1 5\nexec:m:charge:1 1\n"


@pytest.mark.parametrize("die_at", [2, 3])
async def test_a_script_that_is_killed_goes_on_where_it_was(tmp_path: Path, die_at: int) -> None:
    code = (
        f"import asyncio, pathlib; from tests.e2e.scripted import main; asyncio.run(main(pathlib.Path('.'), {die_at}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = await asyncio.create_subprocess_exec(PYTHON, "-c", code, cwd=tmp_path, env=environment)
    assert await run.wait() == -signal.SIGKILL
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, 0)]) as engine:
        execution = await engine.start(scripted.scripted, id=scripted.EXECUTION)
        found = await asyncio.wait_for(execution.result(), 60)
    assert found["stdout"] == "half way\n"
    assert found["value"]["same"]
    assert found["value"]["charged"] == ["charged 1", "charged 2", "charged 3"]
    done = [line.split()[1] for line in (tmp_path / LEDGER).read_text().splitlines()]
    # The one whose record the kill forestalled is performed again, with the same key; the others once.
    assert sorted(done) == sorted(["1", "2", "3", str(die_at)])


async def test_host_calls_of_one_execution_are_counted_and_their_arguments_bounded(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    const said = [];
    for (let i = 0; i < 5; i++) try { await kv.get('x' + i) } catch (e) { said.push(e.name) }
    said
    """
    monkeypatch.setattr(sandbox_calls, "CALLS_MAX", 3)
    assert (await engine.sandbox.run(code, language="javascript", grants=["kv"], identity="counted")).value == [
        "ResourceLimitExceeded"
    ] * 2
    monkeypatch.setattr(sandbox_calls, "CALLS_MAX", 100)
    monkeypatch.setattr(sandbox_calls, "RECORDED_BYTES_MAX", 200)
    long = "await kv.get('x'.repeat(300))"
    with pytest.raises(errors.ResourceLimitExceeded, match="arguments of host calls"):
        await engine.sandbox.run(long, language="javascript", grants=["kv"], identity="counted")


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "sum.js").write_text("console.log('adding'); [1, 2].reduce((a, b) => a + b) + n")

    def durable_sandbox(*args: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-m", "durable.cli", "sandbox", *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    done = durable_sandbox("run", str(tmp_path / "sum.js"), "--input", "n=4")
    assert (done.returncode, done.stdout) == (0, "adding\n7\n")
    (tmp_path / "plain.js").write_text("n = [1] + 1")  # either language
    assert durable_sandbox("run", str(tmp_path / "plain.js")).stdout == "11\n"
    (tmp_path / "add.mjs").write_text("export {}\nglobalThis.add = (a, b) => a + b")
    added = durable_sandbox("run", str(tmp_path / "add.mjs"), "--function", "add", "--arg", "40", "--arg", "2")
    assert added.stdout == "42\n"
    health = json.loads(durable_sandbox("health", "--json").stdout)
    assert [each["name"] for each in health if each["can"]][-2:] == ["javascript", "wasm"]


@pytest.mark.parametrize(
    ("code", "limits", "resource", "limit"),
    [
        ("let a = []; while (true) a.push({})", JAVASCRIPT.but(memory=16 * MIB), "memory", 16 * MIB),
        ("while (true);", JAVASCRIPT.but(timeout_ms=200), "execution", 200),
        ("while (true);", JAVASCRIPT.but(cpu_ms=100), "cpu", 100),
        (SPIN, COMPONENT.but(fuel=1000, timeout_ms=30_000), "cpu", 1000),
        (SPIN, COMPONENT.but(fuel=None, timeout_ms=20), "execution", 20),
    ],
)
async def test_a_limit_is_one_kind_of_error_whatever_ran(
    engine: durable.Engine, code: str | bytes, limits: durable.SandboxLimits, resource: str, limit: int
) -> None:
    with pytest.raises(durable.LimitExceeded) as caught:
        await engine.sandbox.run(code, limits=limits)
    assert (caught.value.resource, caught.value.limit) == (resource, limit)
    assert (await engine.sandbox.run("1 + 1", language="javascript")).value == 2


async def test_modules_and_functions_of_javascript(engine: durable.Engine) -> None:
    run: Any = engine.sandbox.run
    modules = {"lib": "export const twice = (x) => x * 2; export default 7"}
    code = "import seven, { twice } from 'lib';\nexport const answer = twice(seven) * n;"
    assert (await run(code, modules=modules, inputs={"n": 3})).value == {"answer": 42}
    assert (await run("(await import('lib')).twice(4)", modules=modules, language="javascript")).value == 8
    with pytest.raises(errors.CapabilityDenied, match="may not import other: its modules are lib"):
        await run("import x from 'other'", modules=modules)
    called = await run("const add = (a, b) => a + b;", function="add", inputs=[40, 2])
    assert called.value == 42
    waits = "async function f(a) { await charge(a); return a }"
    assert (await run(waits, function="f", inputs=[2], grants=["charge"])).value == 2
    with pytest.raises(ScriptError, match="nope"):
        await run("1", function="nope", language="javascript")
    with pytest.raises(errors.InvalidConfiguration, match="are JavaScript's"):
        await run("1", modules=modules, language="python")


@durable.function
async def imports(ctx: durable.Context) -> Any:
    ran = await ctx.sandbox("import n from 'lib'; export const f = (x) => x * n", modules={"lib": "export default 2"})
    called = await ctx.sandbox("function f(x) { return x * 2 }", function="f", inputs=[21], language="javascript")
    return [ran.value["f"]["kind"], called.value]


async def test_they_are_there_in_durable_functions(engine: durable.Engine) -> None:
    assert await (await engine.start(imports)).result() == ["function", 42]


async def test_a_module_as_text_and_what_is_none(engine: durable.Engine) -> None:
    text = f"wasm_base64:{base64.b64encode(MODULE).decode()}"
    assert (await engine.sandbox.run(text, inputs=[4])).value == 8
    with pytest.raises(errors.ComponentLoadFailed, match="bad base64"):
        await engine.sandbox.run("wasm_base64:@@")
    with pytest.raises(errors.ComponentLoadFailed, match="it is text"):
        await engine.sandbox.run("1 + 1", language="wasm")


async def test_what_is_not_installed_says_so_and_no_other_backend_runs_it(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = engine_file.read
    monkeypatch.setattr(engine_file, "read", lambda: read(tmp_path / "absent.wasm"))
    with pytest.raises(errors.SandboxUnavailable, match=r"javascript cannot be run here: .*durable sandbox install"):
        await engine.sandbox.run("const x = 1;")
    with pytest.raises(errors.SandboxUnavailable, match="javascript cannot be run here"):
        async with engine.sandbox.javascript():
            raise AssertionError
    assert (await engine.sandbox.health())["javascript"].startswith("JavaScript needs its engine")
    assert (await engine.sandbox.health())["wasm"] == ""
    assert [(each.backend, each.ended) for each in engine.sandbox.decisions] == [("javascript", "SANDBOX_UNAVAILABLE")]


async def test_the_backend_is_switched_while_it_runs(engine: durable.Engine) -> None:
    assert engine.sandbox.choice == "auto"
    engine.sandbox.switch("wasm")
    with pytest.raises(errors.ComponentLoadFailed, match="it is text"):
        await engine.sandbox.run("const x = 1; x")
    assert (await engine.sandbox.run("const x = 1; x", language="javascript")).value == 1
    engine.sandbox.switch("auto")
    for _ in range(101):
        await engine.sandbox.run("const x = 1; x")
    assert len(engine.sandbox.decisions) == 100
    assert {(each.backend, each.reason, each.length) for each in engine.sandbox.decisions} == {
        ("javascript", "it looks like JavaScript", 14)
    }
    found = engine.sandbox.statistics
    assert (found["javascript"].count, found["wasm"].count, found["wasm"].success_rate) == (102, 1, 0.0)
    assert found["javascript"].healthy
    assert not found["wasm"].healthy
    assert found["javascript"].average_ms > 0
    with pytest.raises(errors.InvalidConfiguration, match="it is one of auto, python, javascript, wasm"):
        engine.sandbox.switch("node")


@pytest.mark.parametrize("variable", ["DURABLE_SANDBOX", "MCP_SANDBOX_BACKEND"])
async def test_either_variable_sets_it_and_an_unknown_word_names_the_choices(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "javascript")
    assert (await engine.sandbox.run("1")).backend == "javascript"
    assert engine.sandbox.decisions[0].reason == "this is what the sandbox is set to"
    monkeypatch.setenv(variable, "hybrid")
    async with durable.open(tmp_path / "other.db") as other:
        with pytest.raises(errors.InvalidConfiguration, match=f"{variable} is 'hybrid'; it is one of auto"):
            await other.sandbox.run("1")


@durable.function
async def keeps(ctx: durable.Context) -> Any:
    keep = "await kv.set('k', 1); await write_file('f', 'x'); (await kv.usage()).keys"
    kept = await ctx.sandbox(keep, language="javascript", grants=["kv", "write_file"])
    await ctx.ask("Go on?", schema=bool)
    return kept.value


@pytest.mark.parametrize("kind", ["file", "database"])
async def test_what_a_run_kept_is_there_until_its_execution_is_forgotten(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def forgotten(store: StoreFace) -> tuple[int, int]:
        assert store.local is not None
        found = [done async for done in collect(store.local, before=now_ms() + 1)]
        seen = await asyncio.to_thread(store.local.sweep_run_files, dry_run=True)
        assert await asyncio.to_thread(store.local.sweep_run_files) == seen
        return found[-1].namespaces, seen

    url = None if kind == "file" else request.getfixturevalue("postgres_server").url()
    async with durable.open(url or tmp_path / "work.db") as engine:
        execution = await engine.start(keeps, id="report")
        prompt = await first_prompt(engine)
        assert await forgotten(engine.store) == (0, 0)
        (kept,) = (each for place in tmp_path.rglob("executions") for each in place.iterdir())
        assert (kept.name, (kept / "f").read_text()) == ("report.1", "x")
        await engine.answer(prompt.id, True)
        assert await execution.result() == 1
        assert await forgotten(engine.store) == (1, 1)
        assert not kept.exists()
        usage = await engine.store.request("kv.usage", {"namespace": "session/execution/report.1"})
        assert usage.data == {"used": 0, "keys": 0}


@pytest.mark.parametrize("execution", ["..", "@1", "a" * 241])
async def test_an_id_that_is_no_directorys_name_runs_nothing(engine: durable.Engine, execution: str) -> None:
    with pytest.raises(durable.InvalidId, match="at most 240 characters"):
        await engine.sandbox.run("1", language="javascript", grants=["charge"], execution=execution)
