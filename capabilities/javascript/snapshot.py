"""An instance between two scripts, as bytes: what of its memory is not as its image has it (specs/javascript.md)."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from typing import Any

from capabilities.javascript.errors import InvalidSnapshot
from capabilities.javascript.image import PAGE
from capabilities.javascript.vm import VM

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\xd5js1"
BLOCK = 4096
LEVEL = 1
_SUM_BYTES = 16


def take(vm: VM) -> bytes:
    """The state of an instance that runs nothing. Reads its memory only: a forked child may.

    InstanceBusy, StateLost.
    """
    vm.still()
    memory, base = memoryview(vm.entry.whole()), memoryview(vm.warm.base)
    zero = bytes(BLOCK)
    changed = []
    for at in range(0, len(memory), BLOCK):
        before = base[at : at + BLOCK] if at < len(base) else zero
        if memory[at : at + BLOCK] != before:
            changed.append(at // BLOCK)
    head = {"image": vm.warm.digest, "size": len(memory), "names": sorted(vm.imports.names), "made": vm.prepared}
    blocks = b"".join(memory[at * BLOCK : (at + 1) * BLOCK] for at in changed)
    table = struct.pack(f"<{len(changed) + 1}I", len(changed), *changed)
    kept = zstd.compress(json.dumps(head).encode() + b"\n" + table + blocks, LEVEL)
    return MAGIC + hashlib.sha256(kept).digest()[:_SUM_BYTES] + kept


def restore(vm: VM, data: bytes) -> None:
    """Give a fresh instance this state; its host functions are its own. InvalidSnapshot changes nothing."""
    head, blocks, content = _read(data)
    if head["image"] != vm.warm.digest:
        raise InvalidSnapshot("the snapshot is of another version of the engine; run what made it again")
    size = head["size"]
    if size > vm.limits.memory:
        raise InvalidSnapshot(f"the snapshot has {size} bytes of memory, {vm.limits.memory} are allowed")
    vm.reset()
    entry = vm.entry
    if size > entry.size:
        entry.grow((size - entry.size) // PAGE)
    for place, block in enumerate(blocks):
        entry.write(block * BLOCK, content[place * BLOCK : (place + 1) * BLOCK], whole=True)
    vm.went_on(prepared=head["made"] and sorted(vm.imports.names) == head["names"])


def _read(data: bytes) -> tuple[dict[str, Any], list[int], bytes]:
    kept = data[len(MAGIC) + _SUM_BYTES :]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(kept).digest()[:_SUM_BYTES] != data[len(MAGIC) :][:_SUM_BYTES]:
        raise InvalidSnapshot("these bytes are no snapshot of JavaScript, or not as they were written")
    try:
        body = zstd.decompress(kept)
        first, rest = body.split(b"\n", 1)
        head = json.loads(first)
        (count,) = struct.unpack_from("<I", rest)
        blocks = list(struct.unpack_from(f"<{count}I", rest, 4))
        content = rest[4 + 4 * count :]
        size = int(head["size"])
    except (zstd.ZstdError, ValueError, KeyError, TypeError, struct.error) as error:
        raise InvalidSnapshot(f"the snapshot cannot be read: {error}") from None
    if len(content) != count * BLOCK or size % PAGE or any((block + 1) * BLOCK > size for block in blocks):
        raise InvalidSnapshot("the snapshot's parts do not fit each other")
    return head, blocks, content
