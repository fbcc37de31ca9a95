"""Directories as granted and no others: read-only, `..`, links and absolute paths (WASI preview 1)."""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path

import pytest

from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.module_call import CoreCall, Preopened, Wasi
from capabilities.sandbox.wasm.runtime import Runtime, wat

READ, WRITE, CREATE = 2, 64, 1
PATHS = ["file", "../secret", "link", "/etc/passwd", "made", "dir/../../secret"]


def module() -> bytes:
    text = "".join(f'(data (i32.const {1000 + 100 * n}) "{path}")' for n, path in enumerate(PATHS))
    return wat(f"""
    (module
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      {text}
      (func (export "open") (param $at i32) (param $size i32) (param $flags i32) (param $rights i64) (result i32)
        (call $open (i32.const 3) (i32.const 1) (local.get $at) (local.get $size) (local.get $flags)
          (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 0)))
      (func (export "environ") (result i32)
        (drop (call $environ (i32.const 0) (i32.const 4))) (i32.load (i32.const 0)))
      (func (export "args") (result i32) (drop (call $args (i32.const 0) (i32.const 4))) (i32.load (i32.const 0)))
      (func (export "stdin") (result i32)
        (i32.store (i32.const 8) (i32.const 100)) (i32.store (i32.const 12) (i32.const 10))
        (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 16))) (i32.load (i32.const 16))))
    """)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "given"
    (found / "dir").mkdir(parents=True)
    (found / "file").write_text("yes")
    (tmp_path / "secret").write_text("no")
    os.symlink(tmp_path / "secret", found / "link")
    return found


def opened(runtime: Runtime, wasi: Wasi, path: str, flags: int = 0, rights: int = READ) -> bool:
    call = CoreCall(runtime, runtime.module(module()), COMPONENT.but(fuel=None, timeout_ms=10_000), wasi=wasi)
    return call.call("open", 1000 + 100 * PATHS.index(path), len(path), flags, rights).value == 0


def test_a_directory_is_what_was_granted_and_nothing_around_it(runtime: Runtime, directory: Path) -> None:
    readable = Wasi(preopened=[Preopened(str(directory), "/")])
    assert opened(runtime, readable, "file")
    for path in ("../secret", "link", "/etc/passwd", "dir/../../secret"):
        assert not opened(runtime, readable, path), path
    assert not opened(runtime, readable, "made", CREATE, READ | WRITE)
    assert not opened(runtime, readable, "file", 0, READ | WRITE)
    writable = Wasi(preopened=[Preopened(str(directory), "/", writable=True)])
    assert opened(runtime, writable, "made", CREATE, READ | WRITE)
    assert not opened(runtime, writable, "../secret", 0, READ | WRITE)
    assert not opened(runtime, Wasi(), "file")


RACES = """
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 1000) "swapped/file")
  (func (export "first") (result i32)
    (if (call $open (i32.const 3) (i32.const 1) (i32.const 1000) (i32.const 12) (i32.const 0) (i64.const 2)
      (i64.const 0) (i32.const 0) (i32.const 0)) (then (return (i32.const 0))))
    (i32.store (i32.const 8) (i32.const 100)) (i32.store (i32.const 12) (i32.const 6))
    (drop (call $read (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 16)))
    (drop (call $close (i32.load (i32.const 0))))
    (i32.load8_u (i32.const 100))))
"""


def test_a_link_that_is_put_in_place_of_a_directory_leads_nowhere(runtime: Runtime, directory: Path) -> None:
    (directory / "dir" / "file").write_text("inside")
    (directory.parent / "out").mkdir()
    (directory.parent / "out" / "file").write_text("outside")
    ended = threading.Event()

    def swap() -> None:
        for target in itertools.cycle(("dir", "../out")):
            if ended.is_set():
                return
            os.symlink(target, directory / "new")
            os.replace(directory / "new", directory / "swapped")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        wasi = Wasi(preopened=[Preopened(str(directory), "/")])
        call = CoreCall(runtime, runtime.module(wat(RACES)), COMPONENT.but(fuel=None, timeout_ms=10_000), wasi=wasi)
        found = {call.call("first").value for _ in range(2_000)}
        while ord("i") not in found:
            found.add(call.call("first").value)
    finally:
        ended.set()
        swapping.join()
    assert found <= {0, ord("i")}


def test_environment_arguments_and_input_are_those_that_are_given(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "no")
    for wasi, expected in [(Wasi(), (0, 0)), (Wasi(argv=["a", "b"], env={"LANG": "C"}), (1, 2))]:
        call = CoreCall(runtime, runtime.module(module()), COMPONENT, wasi=wasi)
        assert (call.call("environ").value, call.call("args").value) == expected
        assert call.call("stdin").value == 0
