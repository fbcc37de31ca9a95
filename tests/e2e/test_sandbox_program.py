"""Programs of WASI through the public ways: what they are given, how they end (specs/sandbox.md, S10)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wasmtime import wat2wasm

import durable
from capabilities.sandbox.front import Directories

from .cli_process import Terminal

EXITS = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\\10\\00\\00\\00\\03\\00\\00\\00bye")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
    (call $exit (i32.const STATUS))))"""

TELLS = """(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $asizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $esizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $out (param $at i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $size))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "run") (result i32)
    (drop (call $asizes (i32.const 16) (i32.const 20)))
    (drop (call $args (i32.const 1000) (i32.const 2000)))
    (call $out (i32.const 2000) (i32.load (i32.const 20)))
    (drop (call $esizes (i32.const 24) (i32.const 28)))
    (drop (call $env (i32.const 3000) (i32.const 4000)))
    (call $out (i32.const 4000) (i32.load (i32.const 28)))
    (i32.load (i32.const 16))))"""

FILES = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "there.txtnew.txt")
  (func (export "read") (result i32)
    (call $open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 9) (i32.const 0) (i64.const 2) (i64.const 0)
      (i32.const 0) (i32.const 100)))
  (func (export "write") (result i32)
    (call $open (i32.const 3) (i32.const 0) (i32.const 17) (i32.const 7) (i32.const 1) (i64.const 64) (i64.const 0)
      (i32.const 0) (i32.const 100))))"""

POLLS = """(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run") (result i32)
    (i64.store (i32.const 0) (i64.const 7)) (i32.store8 (i32.const 8) (i32.const KIND))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 48) (i64.const 9)) (i64.store (i32.const 72) (i64.const 1000))
    (if (call $poll (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 400)) (then (return (i32.const -1))))
    (i32.add (i32.mul (i32.load (i32.const 400)) (i32.const 100)) (i32.load (i32.const 200)))))"""


@pytest.fixture
async def engine() -> AsyncIterator[durable.Engine]:
    async with durable.open(":memory:") as engine:
        yield engine


def program(text: str, **values: object) -> bytes:
    for name, value in values.items():
        text = text.replace(name, str(value))
    return bytes(wat2wasm(text))


async def test_a_program_that_ends_itself_well_has_ended_well(engine: durable.Engine) -> None:
    """L16"""
    ran = await engine.sandbox.run(program(EXITS, STATUS=0))
    assert (ran.value, ran.stdout) == (None, "bye")
    with pytest.raises(durable.ComponentExited, match="3") as ended:
        await engine.sandbox.run(program(EXITS, STATUS=3))
    assert ended.value.printed == ("bye", "")


async def test_a_program_has_its_name_its_arguments_and_its_environment(engine: durable.Engine) -> None:
    """L17"""
    ran = await engine.sandbox.run(program(TELLS), args=["one", "zwei ü"], env={"A": "1", "B": ""})
    assert ran.value == 3
    assert ran.stdout == "program\0one\0zwei ü\0A=1\0B=\0"
    bare = await engine.sandbox.run(program(TELLS))
    assert (bare.value, bare.stdout) == (1, "program\0")


async def test_directories_are_those_that_are_named_and_read_only_unless_asked(
    engine: durable.Engine, tmp_path: Path
) -> None:
    (tmp_path / "there.txt").write_text("there")
    files = program(FILES)

    async def did(function: str, directories: Directories | None) -> int:
        value: int = (await engine.sandbox.run(files, function=function, directories=directories)).value
        return value

    assert await did("read", None) != 0
    assert await did("read", {"data": tmp_path}) == 0
    assert await did("write", {"data": str(tmp_path)}) != 0
    assert not (tmp_path / "new.txt").exists()
    assert await did("write", {"data": (tmp_path, "rw")}) == 0
    assert (tmp_path / "new.txt").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"args": "one"},
        {"args": ["a\0b"]},
        {"env": {"A=B": "1"}},
        {"env": {"": "1"}},
        {"directories": {"data": "/no/such/place"}},
        {"directories": {"data": ("/", "w")}},
    ],
)
async def test_what_cannot_be_given_is_refused(engine: durable.Engine, given: dict[str, object]) -> None:
    with pytest.raises(durable.InvalidConfiguration):
        await engine.sandbox.run(program(TELLS), **given)  # type: ignore[arg-type]


async def test_scripts_have_none_of_it(engine: durable.Engine) -> None:
    with pytest.raises(durable.InvalidConfiguration, match="WebAssembly"):
        await engine.sandbox.run("1 + 1", language="javascript", args=["one"])


@durable.function
async def inside(ctx: durable.Context, code: str) -> str:
    ran = await ctx.sandbox(base64.b64decode(code), args=["one"], env={"A": "1"})
    return ran.stdout


async def test_a_durable_function_gives_it_too(engine: durable.Engine) -> None:
    execution = await engine.start(inside, base64.b64encode(program(TELLS)).decode())
    assert await execution.result() == "program\0one\0A=1\0"


def test_the_command_gives_it_too(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    (tmp_path / "tells.wasm").write_bytes(program(TELLS))
    (tmp_path / "files.wasm").write_bytes(program(FILES))
    done = terminal.durable("sandbox", "run", "tells.wasm", "--argv", "one", "--env", "A=1", "--json")
    assert (done.code, done.data["stdout"]) == (0, "program\0one\0A=1\0")
    done = terminal.durable("sandbox", "run", "files.wasm", "--function", "write", "--dir", "out=.:rw", "--json")
    assert (done.code, done.data["value"]) == (0, 0)
    terminal.durable("sandbox", "run", "tells.wasm", "--env", "A").failed(2, "--env 'A' is not NAME=VALUE")


@pytest.mark.parametrize(("kind", "first"), [(1, 7), (2, 7), (0, 7)])
async def test_a_poll_with_files_in_it_is_answered(engine: durable.Engine, kind: int, first: int) -> None:
    """L18: one event, of what was ready first."""
    assert (await engine.sandbox.run(program(POLLS, KIND=kind))).value == 100 + first
