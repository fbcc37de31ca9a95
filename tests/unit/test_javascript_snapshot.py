"""Snapshots of an instance: all its state, in few bytes, and nothing else (specs/javascript.md)."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from capabilities.sandbox import errors
from capabilities.sandbox.javascript import snapshot
from capabilities.sandbox.javascript.bake_image import bake
from capabilities.sandbox.javascript.errors import InvalidSnapshot, StateLost
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import WarmImage, forget, warm
from capabilities.sandbox.limits import JAVASCRIPT, MIB
from capabilities.sandbox.wasm.runtime import Runtime

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = JAVASCRIPT.but(timeout_ms=20_000, memory=32 * MIB)


@pytest.fixture(scope="module")
def image(sandbox_cache: Path) -> Iterator[WarmImage]:
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


def test_all_state_lives_on_in_another_instance(image: WarmImage) -> None:
    first = VM(image, LIMITS, functions={"f": lambda: "old"})
    first.execute(CODE)
    data = snapshot.take(first)
    assert len(data) < 150_000  # of 4 MB: what a collection touches of the surroundings is in it
    second = VM(image, LIMITS, functions={"f": lambda: "new"})
    snapshot.restore(second, data)
    assert second.execute("[n, seen.get('a'), add(1), half.next().value, big.length, f()]") == [
        41, [1], 42, 2, 4_000_000, "new",
    ]  # fmt: skip
    second.execute("told('word')")
    assert second.execute("heard") == "word"
    assert first.execute("half.next().value") == 2


def test_nothing_is_almost_nothing(image: WarmImage) -> None:
    assert len(snapshot.take(VM(image, LIMITS))) < 5_000


def test_what_is_no_snapshot_changes_nothing(image: WarmImage) -> None:
    vm = VM(image, LIMITS)
    vm.execute("let kept = 1")
    data = bytearray(snapshot.take(vm))
    data[-3] ^= 1
    for wrong in (bytes(data), b"", b"nonsense" * 10, bytes(data[:40])):
        with pytest.raises(InvalidSnapshot):
            snapshot.restore(vm, wrong)
    assert vm.execute("kept") == 1


def forged(head: object, table: bytes = struct.pack("<I", 0), content: bytes = b"") -> bytes:
    """With a right sum, which anybody can make."""
    kept = zstd.compress(json.dumps(head).encode() + b"\n" + table + content, 1)
    return snapshot.MAGIC + hashlib.sha256(kept).digest()[:16] + kept


def test_forged_snapshots_are_refused_whole(image: WarmImage) -> None:
    vm = VM(image, LIMITS)
    vm.execute("let kept = 1")
    good = {"image": image.digest, "size": len(image.base), "names": [], "made": True}
    heads: list[object] = [[], 5, None, {}, {**good, "size": -65536}, {**good, "size": 2**40}, {**good, "size": 5}]
    heads += [{**good, "size": True}, {**good, "names": 5}, {**good, "made": None}, {**good, "image": [1]}]
    wrong = [forged(head) for head in heads]
    wrong += [
        forged(good, struct.pack("<I", 2**31)),
        forged(good, struct.pack("<II", 1, 2**20), bytes(4096)),
        forged(good, b""),
    ]
    wrong.append(forged(json.loads("[" * 500 + "]" * 500)))
    for each in wrong:
        with pytest.raises(InvalidSnapshot):
            snapshot.restore(vm, each)
    assert vm.execute("kept") == 1


def test_a_forged_snapshot_that_ends_too_early_leaves_it_fresh(image: WarmImage) -> None:
    vm = VM(image, LIMITS)
    vm.execute("let kept = 'x'.repeat(1e5)")
    kept = snapshot.take(vm)[20:]
    for size in (0, 5, len(kept) // 2, len(kept) - 5):
        cut = kept[:size]
        with pytest.raises(InvalidSnapshot):
            snapshot.restore(vm, snapshot.MAGIC + hashlib.sha256(cut).digest()[:16] + cut)
    assert vm.execute("1 + 1") == 2


def test_a_snapshot_is_never_unpacked_beyond_its_limit(image: WarmImage) -> None:
    bomb = forged({}, content=bytes(400 * MIB))
    assert len(bomb) < 1 * MIB
    tracemalloc.start()
    try:
        with pytest.raises(InvalidSnapshot):
            snapshot.restore(VM(image, LIMITS), bomb)
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


def test_a_forged_memory_gets_no_further_than_a_script(image: WarmImage) -> None:
    """A snapshot is memory, whoever wrote it: what comes of it is an error of the sandbox, or a value (J6)."""
    chance = random.Random(5)
    vm = VM(image, LIMITS.but(timeout_ms=200), functions={"f": lambda x: x})
    vm.execute("let a = [1, 'x', new Map([[1, 2]])]")
    data = zstd.decompress(snapshot.take(vm)[20:])
    head, rest = data.split(b"\n", 1)
    (count,) = struct.unpack_from("<I", rest)
    start = 4 + 4 * count
    for _ in range(60):
        changed = bytearray(rest)
        for _ in range(chance.choice((1, 10, 200))):
            changed[chance.randrange(start, len(rest))] = chance.randrange(256)
        other = VM(image, LIMITS.but(timeout_ms=200), functions={"f": lambda x: x})
        snapshot.restore(other, forged(json.loads(head), bytes(changed[:start]), bytes(changed[start:])))
        try:
            other.execute("console.log(a); f(a)")
        except errors.SandboxError:
            pass
        assert VM(image, LIMITS).execute("1 + 1") == 2


def test_more_memory_than_is_allowed_is_refused(image: WarmImage) -> None:
    vm = VM(image, LIMITS)
    vm.execute("const big = new Uint8Array(10000000).fill(1)")
    with pytest.raises(InvalidSnapshot, match="are allowed"):
        snapshot.restore(VM(image, LIMITS.but(memory=4 * MIB)), snapshot.take(vm))


def test_lost_state_is_not_saved(image: WarmImage) -> None:
    vm = VM(image, LIMITS.but(timeout_ms=50))
    with pytest.raises(errors.ExecutionTimeout):
        vm.execute("function p() { return Promise.resolve().then(p) }; await p()")
    with pytest.raises(StateLost):
        snapshot.take(vm)


def test_the_image_is_what_was_baked(image: WarmImage, sandbox_cache: Path) -> None:
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
