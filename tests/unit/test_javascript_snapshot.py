"""Snapshots of an instance: all its state, in few bytes, and nothing else (specs/javascript.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities.javascript import snapshot
from capabilities.javascript.errors import InvalidSnapshot, StateLost
from capabilities.javascript.image import bake
from capabilities.javascript.vm import VM
from capabilities.javascript.warm import Warm, forget, warm
from capabilities.sandbox import errors
from capabilities.sandbox.limits import JAVASCRIPT, MIB
from capabilities.sandbox.runtime import Runtime

LIMITS = JAVASCRIPT.but(timeout_ms=20_000, memory=32 * MIB)


@pytest.fixture(scope="module")
def image(sandbox_cache: Path) -> Iterator[Warm]:
    runtime = Runtime(sandbox_cache, metered=False)
    yield warm(runtime)
    forget(runtime)
    runtime.close()


CODE = """
let n = 41;
const seen = new Map([['a', [1]]]);
const add = (x => y => x + y)(n);
function* count() { yield 1; yield 2; yield 3 }
const half = count(); half.next();
let told; const pending = new Promise(resolve => { told = resolve }); let heard = '';
pending.then(word => { heard = word });
const big = 'x'.repeat(4000000);
0
"""


def test_all_state_lives_on_in_another_instance(image: Warm) -> None:
    first = VM(image, LIMITS, functions={"f": lambda: "old"})
    first.execute(CODE)
    data = snapshot.take(first)
    assert len(data) < 100_000
    second = VM(image, LIMITS, functions={"f": lambda: "new"})
    snapshot.restore(second, data)
    assert second.execute("[n, seen.get('a'), add(1), half.next().value, big.length, f()]") == [
        41, [1], 42, 2, 4_000_000, "new",
    ]  # fmt: skip
    second.execute("told('word')")
    assert second.execute("heard") == "word"
    assert first.execute("half.next().value") == 2


def test_nothing_is_almost_nothing(image: Warm) -> None:
    assert len(snapshot.take(VM(image, LIMITS))) < 5_000


def test_what_is_no_snapshot_changes_nothing(image: Warm) -> None:
    vm = VM(image, LIMITS)
    vm.execute("let kept = 1")
    data = bytearray(snapshot.take(vm))
    data[-3] ^= 1
    for wrong in (bytes(data), b"", b"nonsense" * 10, bytes(data[:40])):
        with pytest.raises(InvalidSnapshot):
            snapshot.restore(vm, wrong)
    assert vm.execute("kept") == 1


def test_more_memory_than_is_allowed_is_refused(image: Warm) -> None:
    vm = VM(image, LIMITS)
    vm.execute("const big = new Uint8Array(10000000).fill(1)")
    with pytest.raises(InvalidSnapshot, match="are allowed"):
        snapshot.restore(VM(image, LIMITS.but(memory=4 * MIB)), snapshot.take(vm))


def test_lost_state_is_not_saved(image: Warm) -> None:
    vm = VM(image, LIMITS.but(timeout_ms=50))
    with pytest.raises(errors.ExecutionTimeout):
        vm.execute("function p() { return Promise.resolve().then(p) }; await p()")
    with pytest.raises(StateLost):
        snapshot.take(vm)


def test_the_image_is_what_was_baked(image: Warm, sandbox_cache: Path) -> None:
    assert VM(image, LIMITS).entry.whole()[: 1 << 20] == image.base[: 1 << 20]
    runtime = Runtime(sandbox_cache, metered=False)
    try:
        assert warm(runtime).base == image.base
    finally:
        forget(runtime)
        runtime.close()


def test_a_module_of_another_form_keeps_its_other_sections() -> None:
    module = b"\0asm\x01\0\0\0" + b"\x05\x03\x01\x00\x01" + b"\x0b\x07\x01\x00\x41\x00\x0b\x01a"
    baked = bake(module, b"\0" * 70_000 + b"b" * 5 + b"\0" * (2 * 65_536 - 70_005))
    assert baked[:13] == b"\0asm\x01\0\0\0" + b"\x05\x03\x01\x00\x02"
    assert baked.endswith(b"bbbbb")
