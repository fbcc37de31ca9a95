"""An instance between two scripts, as bytes: what of its memory is not as its image has it (specs/javascript.md)."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from capabilities.sandbox.javascript.bake_image import PAGE_BYTES
from capabilities.sandbox.javascript.errors import InvalidSnapshot
from capabilities.sandbox.javascript.vm import VM

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\xd5js1"
BLOCK_BYTES = 4096
LEVEL = 1
_SUM_BYTES = 16
READ_BYTES = 64 * 1024
"""Bytes decompressed at a time."""
HEAD_BYTES_MAX, BLOCKS_MAX = 2**20, 2**20
"""Of names, and of 4 GiB: what is forged decompresses to no more before it is refused."""


def take(vm: VM) -> bytes:
    """The state of an instance that runs nothing. Reads its memory only: a forked child may.

    InstanceBusy, StateLost.

    In place, and compressed as it is read: a process that may not hold its memory twice can save it all the same.
    """
    vm.still()
    memory, base = vm.entry.view(), memoryview(vm.warm.base)
    zero = bytes(BLOCK_BYTES)
    changed = []
    for at in range(0, len(memory), BLOCK_BYTES):
        before = base[at : at + BLOCK_BYTES] if at < len(base) else zero
        if memory[at : at + BLOCK_BYTES] != before:
            changed.append(at // BLOCK_BYTES)
    head = {"image": vm.warm.digest, "size": len(memory), "names": sorted(vm.imports.names), "made": vm.prepared}
    table = struct.pack(f"<{len(changed) + 1}I", len(changed), *changed)
    first = json.dumps(head).encode() + b"\n" + table
    into = zstd.ZstdCompressor(LEVEL)
    into.set_pledged_input_size(len(first) + len(changed) * BLOCK_BYTES)
    parts = [
        into.compress(first),
        *(into.compress(memory[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES]) for at in changed),
    ]
    kept = b"".join([*parts, into.flush()])
    return MAGIC + hashlib.sha256(kept).digest()[:_SUM_BYTES] + kept


def restore(vm: VM, data: bytes) -> None:
    """Give a fresh instance this state; its host functions are its own. InvalidSnapshot changes nothing, but one that
    was forged to end too early leaves it fresh.
    """
    kept = _Kept(data)
    head, blocks = kept.head()
    if head["image"] != vm.warm.digest:
        raise InvalidSnapshot("the snapshot is of another version of the engine; run what made it again")
    size = head["size"]
    if size > vm.limits.memory:
        raise InvalidSnapshot(f"the snapshot has {size} bytes of memory, {vm.limits.memory} are allowed")
    vm.reset()
    entry = vm.entry
    if size > entry.size:
        entry.grow((size - entry.size) // PAGE_BYTES)
    try:
        for block in blocks:
            entry.write(block * BLOCK_BYTES, kept.take(BLOCK_BYTES), whole=True)
    except InvalidSnapshot:
        vm.reset()
        raise
    vm.went_on(prepared=head["made"] and sorted(vm.imports.names) == head["names"])


class _Kept:
    """A snapshot's bytes, decompressed as they are taken, checked before the first is."""

    def __init__(self, data: bytes) -> None:
        kept = data[len(MAGIC) + _SUM_BYTES :]
        if data[: len(MAGIC)] != MAGIC or hashlib.sha256(kept).digest()[:_SUM_BYTES] != data[len(MAGIC) :][:_SUM_BYTES]:
            raise InvalidSnapshot("these bytes are no snapshot of JavaScript, or not as they were written")
        self._from = zstd.ZstdDecompressor()
        self._input = kept
        self._buffer = b""
        self._left = 0
        with _readable():
            self._left = zstd.get_frame_info(kept).decompressed_size or 0

    def head(self) -> tuple[dict[str, Any], list[int]]:
        """The snapshot's head, and the blocks that follow."""
        with _readable():
            while b"\n" not in self._buffer:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise ValueError("its head has no end")
                self._more()
            first = self.take(self._buffer.index(b"\n") + 1)
            head = _sound(json.loads(first))
            size = head["size"]
            (count,) = struct.unpack("<I", self.take(4))
            if count * BLOCK_BYTES > self._left or count > BLOCKS_MAX:
                raise ValueError("it ends too early")
            blocks = list(struct.unpack(f"<{count}I", self.take(4 * count)))
        if (
            self._left != count * BLOCK_BYTES
            or size % PAGE_BYTES
            or any((block + 1) * BLOCK_BYTES > size for block in blocks)
        ):
            raise InvalidSnapshot("the snapshot's parts do not fit each other")
        return head, blocks

    def take(self, size: int) -> bytes:
        """The next bytes."""
        while len(self._buffer) < size:
            self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        self._left -= size
        return found

    def _more(self) -> None:
        with _readable():
            if self._from.eof or (self._from.needs_input and not self._input):
                raise ValueError("it ends too early")
            self._buffer += self._from.decompress(self._input, READ_BYTES)
            self._input = b""


def _sound(head: Any) -> dict[str, Any]:
    if (
        not isinstance(head, dict)
        or not isinstance(head.get("image"), str)
        or type(head.get("size")) is not int
        or head["size"] < 0
        or not isinstance(head.get("names"), list)
        or not isinstance(head.get("made"), bool)
    ):
        raise ValueError("its head is no head")
    return head


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (zstd.ZstdError, ValueError, TypeError, RecursionError, struct.error) as error:
        raise InvalidSnapshot(f"the snapshot cannot be read: {error}") from None
