"""Compiling foreign code, within limits; compiled code that is not as it was written (specs/sandbox.md, S8, S12)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities.sandbox import errors
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm import compile_process, compiled_cache
from capabilities.sandbox.wasm import runtime as runtimes
from capabilities.sandbox.wasm.compile_process import SMALL_BYTES, compiled
from capabilities.sandbox.wasm.compiled_cache import Artefacts
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.wasm.runtime import Runtime, wat

LARGE = wat(
    f'(module (memory 1) (data (i32.const 0) "{"x" * 2 * SMALL_BYTES}") (func (export "f") (result i32) (i32.const 7)))'
)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.close()


def leb(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + leb(len(body)) + body


def functions(count: int, body: bytes) -> bytes:
    """A module of so many functions without parameters."""
    codes = leb(count) + (leb(len(body)) + body) * count
    return b"\0asm\1\0\0\0" + section(1, b"\1\x60\0\0") + section(3, leb(count) + bytes(count)) + section(10, codes)


LOCALS = functions(6_000, b"\1" + leb(49_999) + b"\x7e\x0b")
"""Sixty thousand bytes: six thousand functions of fifty thousand locals each."""
PHIS = functions(
    1,
    b"\1"
    + leb(1_000)
    + b"\x7e"
    + b"".join(b"\3\x40\x20" + leb(n % 1_000) + b"\x21\0\x0b" for n in range(90_000))
    + b"\x0b",
)


@pytest.mark.parametrize("code", [LOCALS, PHIS], ids=["locals", "loops"])
def test_what_compiles_for_ever_is_ended(code: bytes) -> None:
    assert len(code) < 1_000_000
    with pytest.raises(errors.ResourceLimitExceeded, match="to compile than is allowed"):
        compiled(code, "bomb", component=False, metered=True, seconds=1)


def test_code_that_is_not_small_is_compiled_elsewhere_and_runs_here(runtime: Runtime) -> None:
    assert len(LARGE) > SMALL_BYTES
    assert CoreCall(runtime, runtime.module(LARGE), COMPONENT).call("f").value == 7
    with pytest.raises(errors.ComponentParseFailed, match="'bad' cannot be loaded"):
        runtime.module(LARGE + section(3, b"\1\7") * 300, "bad")


def test_more_names_than_a_call_can_look_at_are_refused(runtime: Runtime) -> None:
    names = "".join(f'(export "e{n}" (func $f))' for n in range(compile_process.NAMES_MAX + 1))
    with pytest.raises(errors.ComponentValidationFailed, match="imports and exports; at most"):
        runtime.module(wat(f"(module (func $f) {names})"), "named")


def test_more_code_than_is_read_is_refused(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_process, "CODE_BYTES_MAX", 1_000)
    with pytest.raises(errors.ResourceLimitExceeded, match="bytes of code"):
        runtime.module(LARGE)


def test_compiled_code_in_memory_is_bounded(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "MODULES_BYTES_MAX", 100_000)
    for n in range(20):
        runtime.module(wat(f'(module (func (export "f") (result i32) (i32.const {n})))'))
    assert sum(size for _, size in runtime._compiled.values()) <= 100_000
    assert len(runtime._compiled) > 1


def test_each_changed_byte_of_an_artefact_is_seen(tmp_path: Path) -> None:
    cache = Artefacts(tmp_path / "cache")
    cache.keep("a", b"one" * 30)
    cache.keep("b", b"two" * 30)
    file, other = tmp_path / "cache" / "a", tmp_path / "cache" / "b"
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.load("a") is None, at
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert cache.load("a") is None, size
    file.write_bytes(other.read_bytes())
    assert cache.load("a") is None, "one artefact under the name of another"
    file.unlink()
    file.symlink_to(other)
    assert cache.load("a") is None, "a link to another"
    assert cache.refused == 2 * len(whole) + 2
    assert cache.load("b") == b"two" * 30


def test_a_directory_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    Artefacts(directory)
    for mode in (0o770, 0o702):
        directory.chmod(mode)
        with pytest.raises(errors.CacheUnsafe, match=f"mode {mode:o}"):
            Runtime(directory)
    if os.geteuid() == 0:
        directory.chmod(0o700)
        os.chown(directory, 12345, 12345)
        with pytest.raises(errors.CacheUnsafe, match="belongs to user 12345"):
            Runtime(directory)


@pytest.mark.parametrize("how", ["readable", "link", "short"])
def test_a_key_that_others_could_have_is_made_anew(tmp_path: Path, how: str) -> None:
    directory, theirs = tmp_path / "cache", tmp_path / "theirs"
    before = Artefacts(directory)
    before.keep("a", b"code")
    key = directory / "key"
    if how == "readable":
        key.chmod(0o644)
    elif how == "short":
        key.write_bytes(b"k")
    else:
        theirs.write_bytes(bytes(32))
        theirs.chmod(0o600)
        key.unlink()
        key.symlink_to(theirs)
    after = Artefacts(directory)
    assert after._key != before._key
    assert after._key != bytes(32)
    assert (key.stat().st_mode & 0o777, key.is_symlink()) == (0o600, False)
    assert after.load("a") is None


def test_what_is_kept_on_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_cache, "CACHE_BYTES_MAX", 10_000)
    cache = Artefacts(tmp_path / "cache")
    for n in range(20):
        cache.keep(f"a{n}", bytes(1_000))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 10_000 + 32
    assert cache.load("a19") == bytes(1_000)
    assert Artefacts(tmp_path / "cache").load("a19") == bytes(1_000), "the key stays"


RACE = """
import sys
from pathlib import Path
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.runtime import Runtime
sys.stdin.readline()
runtime = Runtime(Path(sys.argv[1]))
print(CoreCall(runtime, runtime.module(bytes.fromhex(sys.argv[2])), COMPONENT).call("f").value, flush=True)
"""


def test_processes_that_begin_a_cache_together_share_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path / "cache"), LARGE.hex()]
    racing = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(4)
    ]
    for each in racing:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    assert [each.communicate(timeout=60)[0] for each in racing] == ["7\n"] * 4
    later = Runtime(tmp_path / "cache")
    later.module(LARGE)
    assert later._artefacts is not None
    assert (later._artefacts.hits, later._artefacts.refused) == (1, 0)
    assert len(list((tmp_path / "cache").iterdir())) == 2, "the key and one artefact"


ENDS = """
import threading
from capabilities.sandbox.wasm.module_call import CoreCall
from capabilities.sandbox.limits import COMPONENT
from capabilities.sandbox.wasm.runtime import Runtime, wat
from tests.unit.test_sandbox_compiling import PRINTS
runtime = Runtime()
call = CoreCall(runtime, runtime.module(wat(PRINTS)), COMPONENT.but(fuel=None, timeout_ms=60_000))
written = threading.Event()
kept = call.output._streams[0].write
def write(data):
    written.set()
    return kept(data)
call.output._streams[0].write = write
threading.Thread(target=call.call, args=("f",), daemon=True).start()
written.wait()
"""
PRINTS = """
(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "hello")
  (func (export "f") (loop (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52))) (br 0))))
"""


def test_a_process_that_ends_while_code_prints_is_not_aborted() -> None:
    """A callback into a Python that ends would unwind through wasmtime, which aborts."""
    ended = subprocess.run([sys.executable, "-c", ENDS], cwd=Path(__file__).parents[2], capture_output=True, timeout=60)
    assert "panicked" not in ended.stderr.decode()
    assert ended.returncode == 0
