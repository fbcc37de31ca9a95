"""A real component: Rust (tests/components/rusty), through the public API. Types, host calls, storage, denials."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.sandbox import errors
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.wit_values import Err, Variant
from durable.core.errors import ExecutionError
from durable.core.events import Event, PermissionsBypassed
from tests.components.rusty.build import HERE, sources
from tests.warm_python import PYTHON

ROOT = Path(__file__).parents[2]
CODE = (HERE / "rusty.wasm").read_bytes()
WORDS = "test:rusty/words@0.1.0"
COUNTED = [{"text": "c", "count": 3}, {"text": "a", "count": 2}, {"text": "b", "count": 2}]
STORAGE = "[permissions.storage]\nmax_size_mb = 1\n"


def manifest(name: str, permissions: str = STORAGE, timeout: int = 20) -> str:
    limits = f"memory = {{ max_bytes = 4194304 }}\ncpu = {{ max_fuel = 10000000, timeout_seconds = {timeout} }}"
    return f'component = {{ id = "{name}" }}\n[resources]\n{limits}\n{permissions}'


@durable.function(name="counts_words")
async def counts_words(ctx: durable.Context, text: str) -> Any:
    counted = await ctx.sandbox(CODE, function=f"{WORDS}#count", inputs={"text": text, "order": "by-count"})
    number = await ctx.component("rusty", f"{WORDS}#classify", "7")
    before = await ctx.sandbox(CODE, function="remember", inputs={"key": "k", "value": text}, grants=["kv"])
    return [counted.value, number, before.value]


pytestmark = pytest.mark.usefixtures("cached")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db") as made:
        await made.sandbox.add(manifest("rusty"), CODE)
        yield made


def test_the_component_is_made_of_its_sources() -> None:
    assert (HERE / "rusty.sources").read_text().strip() == sources(), "run tests/components/rusty/build.py"


@pytest.mark.parametrize(
    ("function", "inputs", "value"),
    [
        ("", {}, 42),
        ("count", {"text": "b a B c c a c", "order": "by-count"}, COUNTED),
        ("count", ["b a B c c a c", "by-name"], sorted(COUNTED, key=lambda each: str(each["text"]))),
        ("count", {"text": "", "order": "by-name"}, []),
        ("parse", {"text": str(-(2**63))}, -(2**63)),
        ("classify", {"text": None}, Variant("none")),
        ("classify", {"text": "9"}, Variant("whole", 9)),
        ("classify", ["grüß\0"], Variant("text", "grüß\0")),
        ("reverse", {"data": bytes(range(256)) * 100}, bytes(reversed(range(256))) * 100),
        ("reverse", {"data": {"base64": "AQI="}}, b"\2\1"),
        ("reverse", {"data": []}, b""),
    ],
)
async def test_values_by_name_and_in_order(engine: durable.Engine, function: str, inputs: Any, value: Any) -> None:
    called = f"{WORDS}#{function}" if function else ""
    known = await engine.sandbox.run(component="rusty", function=called, inputs=inputs)
    given = await engine.sandbox.run(CODE, function=called, inputs=inputs, limits=COMPONENT.but(fuel=10**8))
    assert (known.backend, known.value, given.value) == ("wasm", value, value)
    assert known.fuel


async def test_its_own_error_and_what_stops_it(engine: durable.Engine) -> None:
    with pytest.raises(Err, match="invalid digit") as failed:
        await engine.sandbox.run(component="rusty", function=f"{WORDS}#parse", inputs={"text": "x"})
    assert failed.value.used.fuel
    spinning = asyncio.create_task(engine.sandbox.run(component="rusty", function="spin"))
    with pytest.raises(errors.ComponentTrapped, match="unreachable"):
        await engine.sandbox.run(component="rusty", function="crash")
    assert (await engine.sandbox.run(component="rusty")).value == 42
    with pytest.raises(errors.FuelExhausted):
        await spinning


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (
            {"component": "absent"},
            errors.ComponentNotFound,
            "no component 'absent' is known to this engine",
        ),
        ({"component": "rusty", "function": "absent"}, errors.ExecutionFailed, "absent: there is no function of this"),
        ({"component": "rusty", "function": "a#b"}, errors.ExecutionFailed, f"b.*exported: crash.*{WORDS}#parse"),
        ({"component": "rusty", "inputs": {"x": 1}}, errors.ExecutionFailed, "no parameter 'x'; there are none"),
        ({"component": "rusty", "inputs": [1]}, errors.ExecutionFailed, "it takes 0 arguments"),
        ({"component": "rusty", "language": "python"}, errors.InvalidConfiguration, "is WebAssembly; python was asked"),
        ({"component": "rusty", "grants": ["kv"]}, errors.InvalidConfiguration, "are its manifest's"),
        ({"component": "rusty", "limits": COMPONENT}, errors.InvalidConfiguration, "are its manifest's"),
        ({"component": "rusty", "code": CODE}, durable.BadArguments, "one of two is given"),
        ({}, durable.BadArguments, "one of two is given"),
        ({"code": CODE, "grants": ["kv"]}, errors.InvalidConfiguration, "kv is about what somebody keeps: say who"),
        ({"code": CODE, "identity": "../x"}, durable.InvalidId, "name"),
        ({"code": CODE, "language": "javascript"}, errors.InvalidConfiguration, "ask for `wasm`"),
        (
            {"code": "1", "function": "f", "language": "python"},
            errors.InvalidConfiguration,
            "only WebAssembly and Java",
        ),
        ({"code": "1", "inputs": [1]}, durable.BadArguments, "names and values"),
        ({"code": b"\0asm\x0d\0\1\0\xff"}, errors.ComponentParseFailed, "cannot be loaded"),
        ({"code": b"MZ", "language": "wasm"}, errors.ComponentValidationFailed, "it begins with b'MZ'"),
    ],
)
async def test_wrong_use_says_what_is_wrong(
    engine: durable.Engine, given: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await engine.sandbox.run(**given)


async def test_storage_is_of_each_component_and_each_identity(engine: durable.Engine) -> None:
    await engine.sandbox.add(manifest("other"), CODE)
    ways: list[dict[str, Any]] = [
        {"component": "rusty"},
        {"component": "other"},
        {"code": CODE, "grants": ["kv"], "identity": "rusty"},
        {"code": CODE, "grants": ["kv"], "identity": "ana"},
        {"code": CODE, "grants": ["kv"], "execution": "ana"},
    ]
    for number, way in enumerate(ways):
        inputs = {"key": "k", "value": str(number)}
        ran = await engine.sandbox.run(function="remember", inputs=inputs, **way)
        assert (ran.value, ran.stderr) == (None, "info: remember k\n"), "nobody sees what another one kept"
    for number, way in enumerate(ways[:4]):
        ran = await engine.sandbox.run(function="remember", inputs={"key": "k", "value": "x"}, **way)
        assert ran.value == str(number)
    script: dict[str, Any] = {"language": "javascript", "grants": ["kv"]}
    ran = await engine.sandbox.run("[await kv.get('k'), await kv.list()]", identity="ana", **script)
    assert ran.value == ["x", ["k"]], "the same identity, whatever runs"
    assert (await engine.sandbox.run("await kv.get('k')", identity="bo", **script)).value is None
    replayed = await engine.sandbox.run(
        CODE, function="remember", inputs={"key": "k", "value": "4"}, grants=["kv"], execution="ana"
    )
    assert replayed.value is None, "an execution's calls are answered from its record"


async def test_more_than_its_quota_is_an_error_that_it_is_told(engine: durable.Engine) -> None:
    big = {"key": "big", "value": "x" * 2**20}
    with pytest.raises(
        Err, match=r"ResourceExceeded: storage: 1048578 used, 1048576 allowed; a manifest can allow more"
    ):
        await engine.sandbox.run(component="rusty", function="remember", inputs=big)
    assert (await engine.sandbox.run(component="rusty", function="remember", inputs=["big", "small"])).value is None


async def test_its_executions_share_a_quota_of_memory_and_cpu_time(engine: durable.Engine) -> None:
    shared = (
        manifest("shared")
        .replace("4194304", "4194304, quota_bytes = 4194304")
        .replace("= 20", "= 20, quota_ms_per_s = 1")
    )
    await engine.sandbox.add(shared, CODE)
    ran = await asyncio.gather(*(engine.sandbox.run(component="shared") for _ in range(8)))
    assert [each.value for each in ran] == [42] * 8, "one after the other"
    known = engine.sandbox._known().get("shared").permits.together
    assert (known.quotas.memory, known.quotas.cpu_ms_per_s, known._turns.used) == (4 * 2**20, 1.0, 0)
    assert known._cpu._left < 1, "what they used is known"


async def test_a_denial_names_all_and_is_audited(engine: durable.Engine) -> None:
    await engine.sandbox.add(manifest("poor", ""), CODE)
    with pytest.raises(errors.CapabilityDenied) as denied:
        await engine.sandbox.run(component="poor", function="remember", inputs=["k", "v"])
    found = denied.value
    assert (found.component, found.action, found.reason) == ("poor", "kv.get", "kv is not granted")
    assert str(found) == "poor may not kv.get: kv is not granted"
    await engine.sandbox.run(component="rusty", function="remember", inputs=["k", "v"])
    entries = [each for each in await engine.audit() if each.who.startswith("component/")]
    assert {(each.who, each.what, each.verdict) for each in entries} == {
        ("component/poor", "kv.get", "denied"),
        ("component/rusty", "kv.get", "allowed"),
        ("component/rusty", "kv.set", "allowed"),
    }
    assert [each.ended for each in engine.sandbox.decisions] == ["CAPABILITY_DENIED", ""]
    assert [each.reason for each in engine.sandbox.decisions] == ["component poor", "component rusty"]


async def test_development_mode_is_told_of_and_trust_decides_of_the_rest(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "work.db", observer=seen.append) as engine:
        await engine.sandbox.add(manifest("open", "[permissions]\ntrust = 'development'\n"), CODE)
        assert (await engine.sandbox.run(component="open", function="remember", inputs=["k", "v"])).value is None
        assert [each.session for each in seen if isinstance(each, PermissionsBypassed)] == ["component/open"]
        await engine.sandbox.add(manifest("asks", "[permissions]\ntrust = 'unknown'\n"), CODE)
        with pytest.raises(errors.CapabilityDenied, match=r"asks may not kv\.get: kv is not granted"):
            await engine.sandbox.run(component="asks", function="remember", inputs=["k", "v"])
        reasons = {each.reason for each in await engine.audit()}
        assert reasons == {"development mode: nothing is checked", "kv is not granted"}


async def test_from_a_durable_function_values_are_json(engine: durable.Engine) -> None:
    found = await (await engine.start(counts_words, "b a B c c a c", id="w")).result()
    assert found == [COUNTED, {"tag": "whole", "value": 7}, None]
    await engine.sandbox.add(manifest("rusty", "[permissions]\n"), CODE)
    again = await (await engine.start(counts_words, "b a B c c a c", id="w")).result()
    assert again == found
    with pytest.raises(ExecutionError, match="no parameter 'texd'"):
        await (await engine.start(misspells, id="m")).result()


@durable.function(name="misspells")
async def misspells(ctx: durable.Context) -> Any:
    return await ctx.sandbox(CODE, function=f"{WORDS}#parse", inputs={"texd": "1"})


def test_the_command_line(tmp_path: Path) -> None:
    toml, code = tmp_path / "Component.toml", str(HERE / "rusty.wasm")
    toml.write_text(manifest("rusty", timeout=1))
    poor = tmp_path / "Poor.toml"
    poor.write_text(manifest("poor", ""))

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "-m", "durable.cli", "--store", str(tmp_path / "s.db"), "sandbox", "run", *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    done = run(code)
    assert (done.returncode, done.stdout) == (0, "42\n")
    many = ["--function", f"{WORDS}#count", "--input", "text=b a b", "--input", "order=by-count", "--json"]
    found = json.loads(run(code, *many).stdout)
    assert (found["backend"], found["value"][0]) == ("wasm", {"text": "b", "count": 2})
    keeps = ["--manifest", str(toml), "--function", "remember", "--arg", '"k"']
    assert run(code, *keeps, "--arg", '"first"').returncode == 0
    done = run(code, *keeps, "--arg", '"second"')
    assert (done.returncode, done.stdout, done.stderr) == (0, "first\n", "info: remember k\n"), "it is in the store"
    for args, status, says, kind in [
        (["--function", "absent"], 2, "there is no function of this name", "runtime"),
        (
            ["--manifest", str(poor), "--function", "remember", "--arg", "k", "--arg", "v"],
            1,
            "not granted",
            "permission",
        ),
        (["--function", "spin", "--fuel", "1000"], 1, "used up its fuel of 1000", "timeout"),
        (["--function", "spin", "--timeout", "0.05"], 5, "was stopped after", "timeout"),
        (["--memory", "1"], 1, "memory", "resource"),
    ]:
        done = run(code, *args, "--json")
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["kind"]) == (status, kind), done.stderr
        assert says in error["message"]
    assert run(code, "--manifest", str(tmp_path / "absent.toml")).returncode == 2
    assert run(str(toml), "--manifest", str(toml)).returncode == 2
    assert run(code, "--arg", "1", "--input", "a=1").returncode == 2
