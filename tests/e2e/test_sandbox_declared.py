"""Components that a program declares: given to an engine, and found by commands in the module that they load."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable
from capabilities.sandbox.wasm.runtime import wat
from tests.e2e.cli_process import Terminal
from tests.e2e.sandboxed import LEDGER, MANIFEST, MODULE, charging

JOBS = """
import durable

six = durable.Component("Component.toml", "code/six.wasm")

@durable.capability
def charge(amount: int) -> str:
    with open("ledger", "a") as file:
        file.write(f"{durable.call_id()} {amount}\\n")
    return f"charged {amount}"

@durable.function
async def asks(ctx, component: str) -> bool:
    first = await ctx.component(component, "run")
    await ctx.ask("On?", choices=["yes"])
    return first != await ctx.component(component, "run")

@durable.function
async def grants(ctx) -> str:
    return (await ctx.sandbox("await charge(9)", language="javascript", grants=["charge"])).value
"""
SEVEN = MANIFEST.replace("six", "seven")


def declare(directory: Path) -> None:
    """A manifest and its code, as JOBS names them."""
    (directory / "code").mkdir(parents=True)
    (directory / "Component.toml").write_text(MANIFEST)
    (directory / "code" / "six.wasm").write_bytes(MODULE)


@pytest.fixture
def terminal(tmp_path: Path, cached: None) -> Terminal:
    declare(tmp_path / "parts")
    found = Terminal(tmp_path)
    found.write("parts/jobs.py", JOBS)
    return found


def test_commands_find_it_in_the_functions_module(terminal: Terminal) -> None:
    asked = terminal.durable("run", "parts/jobs.py::asks", "six", "--id", "a")
    assert asked.code == 4, asked
    answered = terminal.durable("answer", "exec:a:input:1", "yes")
    assert (answered.code, answered.out) == (0, "true\n"), answered
    assert [line.split()[0] for line in terminal.lines(LEDGER)] == [
        f"exec:a.{k}:charge:{n}" for k in (1, 2) for n in (1, 2, 3)
    ]
    granted = terminal.durable("run", "parts/jobs.py::grants")
    assert (granted.code, granted.out) == (0, "charged 9\n"), granted


def test_one_that_is_not_declared_halts_and_loses_nothing(terminal: Terminal) -> None:
    done = terminal.durable("run", "parts/jobs.py::asks", "seven", "--id", "a")
    done.failed(1, "a is interrupted: component 'seven' is declared by nothing that was loaded here")
    terminal.write("parts/Seven.toml", SEVEN)
    terminal.write("parts/jobs.py", JOBS + 'seven = durable.Component("Seven.toml", "code/six.wasm")\n')
    assert terminal.durable("resume", "a").code == 4
    terminal.write("parts/jobs.py", JOBS + 'other = durable.Component("Component.toml", "code/other.wasm")\n')
    (terminal.directory / "parts/code/other.wasm").write_bytes(wat("(module)"))
    terminal.durable("run", "parts/jobs.py::asks", "six", "--id", "b").failed(1, "'six' is declared twice here")
    (terminal.directory / "parts/code/other.wasm").unlink()
    missing = terminal.durable("run", "parts/jobs.py::asks", "six", "--id", "c")
    assert missing.code == 1
    assert "code/other.wasm cannot be read: No such file" in missing.err
    assert "c" not in {each["id"] for each in terminal.durable("list", "--json").data}


@durable.function(name="declared_twice")
async def twice(ctx: durable.Context) -> bool:
    first, second = ctx.component("six", "run"), ctx.component("six", "run")
    return await first != await second


async def test_an_engine_is_opened_with_it(tmp_path: Path) -> None:
    declare(tmp_path)
    six = durable.Component(tmp_path / "Component.toml", tmp_path / "code/six.wasm")
    async with durable.open(tmp_path / "work.db", components=[six], capabilities=[charging(tmp_path, 0)]) as engine:
        assert await (await engine.start(twice)).result()
        assert isinstance((await engine.sandbox.call("six", "run")).value, int)
        assert (await engine.sandbox.run(component="six")).backend == "wasm"
        with pytest.raises(durable.ComponentNotFound, match="known: six"):
            await engine.sandbox.call("nope", "run")


def test_wrong_use_is_told_at_once(tmp_path: Path) -> None:
    declare(tmp_path)
    manifest, code = tmp_path / "Component.toml", tmp_path / "code/six.wasm"
    six = durable.Component(manifest, code)
    with pytest.raises(durable.BadArguments, match="two components have the id 'six'"):
        durable.open(tmp_path / "work.db", components=[six, six])
    with pytest.raises(durable.BadArguments, match=r"b'' is no durable\.Component"):
        durable.open(tmp_path / "work.db", components=[b""])  # type: ignore[list-item]
    with pytest.raises(durable.InvalidConfiguration, match="the manifest comes first"):
        durable.Component(code, manifest)
    with pytest.raises(durable.InvalidConfiguration, match="is no WebAssembly"):
        durable.Component(manifest, manifest)
    with pytest.raises(durable.InvalidConfiguration, match="cannot be read: No such file"):
        durable.Component("nowhere.toml", code)
    manifest.write_text("component = { id = 'six' }\n[resources]\n")
    with pytest.raises(durable.MissingMemoryConfig, match=r"Component\.toml"):
        durable.Component(manifest, code)
