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


CHANGES = """
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $make (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $remove (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_set_times"
    (func $set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $set_file_times (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "file") (data (i32.const 1100) "dir") (data (i32.const 1200) "made")
  (func $file (param $flags i32) (param $rights i64) (param $descriptor i32) (result i32)
    (call $path_open (i32.const 3) (i32.const 1) (i32.const 1000) (i32.const 4) (local.get $flags) (local.get $rights)
      (i64.const 0) (local.get $descriptor) (i32.const 0)))
  (func $opened (result i32) (drop (call $file (i32.const 0) (i64.const 2) (i32.const 0))) (i32.load (i32.const 0)))
  (func (export "open") (param i32 i64 i32) (result i32) (call $file (local.get 0) (local.get 1) (local.get 2)))
  (func (export "make") (result i32) (call $make (i32.const 3) (i32.const 1200) (i32.const 4)))
  (func (export "unlink") (result i32) (call $unlink (i32.const 3) (i32.const 1000) (i32.const 4)))
  (func (export "remove") (result i32) (call $remove (i32.const 3) (i32.const 1100) (i32.const 3)))
  (func (export "rename") (result i32)
    (call $rename (i32.const 3) (i32.const 1000) (i32.const 4) (i32.const 3) (i32.const 1200) (i32.const 4)))
  (func (export "link") (result i32)
    (call $link (i32.const 3) (i32.const 0) (i32.const 1000) (i32.const 4) (i32.const 3) (i32.const 1200)
      (i32.const 4)))
  (func (export "symlink") (result i32)
    (call $symlink (i32.const 1000) (i32.const 4) (i32.const 3) (i32.const 1200) (i32.const 4)))
  (func (export "times") (result i32)
    (call $set_times (i32.const 3) (i32.const 1) (i32.const 1000) (i32.const 4) (i64.const 5) (i64.const 5)
      (i32.const 5)))
  (func (export "size") (result i32) (call $set_size (call $opened) (i64.const 0)))
  (func (export "file times") (result i32)
    (call $set_file_times (call $opened) (i64.const 5) (i64.const 5) (i32.const 5)))
  (func (export "allocate") (result i32) (call $allocate (call $opened) (i64.const 0) (i64.const 4096)))
  (func (export "write") (result i32)
    (i32.store (i32.const 8) (i32.const 1000)) (i32.store (i32.const 12) (i32.const 4))
    (call $write (call $opened) (i32.const 8) (i32.const 1) (i32.const 16))))
"""
TRUNCATE = 8
"""A flag of `path_open`. Without the right to write, it once emptied files of read-only directories elsewhere."""


def test_no_call_changes_a_directory_that_is_read_only(runtime: Runtime, directory: Path) -> None:
    def state() -> list[tuple[str, int, str]]:
        found = sorted(directory.rglob("*"))
        return [(str(path), path.lstat().st_mtime_ns, path.read_text() if path.is_file() else "") for path in found]

    def call(name: str, *arguments: int, writable: bool = False) -> int:
        wasi = Wasi(preopened=[Preopened(str(directory), "/", writable=writable)])
        limits = COMPONENT.but(fuel=None, timeout_ms=10_000)
        value = CoreCall(runtime, runtime.module(wat(CHANGES)), limits, wasi=wasi).call(name, *arguments).value
        assert isinstance(value, int)
        return value

    before = state()
    for flags, rights, descriptor in itertools.product(range(16), (0, READ, WRITE, READ | WRITE, 2**29 - 1), (0, 1)):
        call("open", flags, rights, descriptor)
        assert state() == before, (flags, rights, descriptor)
    for name in (
        "make",
        "unlink",
        "remove",
        "rename",
        "link",
        "symlink",
        "times",
        "size",
        "file times",
        "allocate",
        "write",
    ):
        assert call(name) != 0, name
        assert state() == before, name
    assert call("open", TRUNCATE, READ | WRITE, 0, writable=True) == 0
    assert (directory / "file").read_text() == ""
