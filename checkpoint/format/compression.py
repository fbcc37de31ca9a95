"""How a chunk is kept: as itself, or compressed in a frame where a sample says that it pays (specs/checkpoint.md).

What is kept says by its first bytes which it is: data that begins like a frame is always put into one. The address of a
chunk is that of the data, so the same data has one address however it is kept.
"""

from __future__ import annotations

import sys
import threading
import zlib

from checkpoint.format.payload import PAGE_BYTES_MAX, chunk_digest
from durable.core.errors import CheckpointError, CheckpointTampered

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

type Bytes = bytes | memoryview

FRAME = b"\xd5zc1"
"""The beginning of a frame; the CRC-32 of the rest follows, since not every bit of zstd's own format says something."""

_HEAD_BYTES = len(FRAME) + 4

COMPRESS_BYTES_MIN = 512
SAMPLES_MAX = 3
SAMPLE_BYTES = 4 * 2**10
"""Of a chunk of a megabyte some places tell what the rest is like, for a hundredth of the cost."""

PAYS_FACTOR = 0.75
"""A frame is kept when it is smaller than this part of the data: reading it back costs time too."""

LEVEL = 1

SMALL_BYTES_MAX = 64 * 2**10
"""Up to here each thread keeps its compressor: to make one takes as long as compressing so much."""

SIZE_MAX = PAGE_BYTES_MAX
"""The largest chunk there is; a frame that holds more is refused when it has given so much."""


def packed(data: Bytes) -> Bytes:
    """The bytes to keep of a chunk: the data itself, or less."""
    view = memoryview(data)
    own = bytes(view[:4]) == FRAME
    if not own and (len(view) < COMPRESS_BYTES_MIN or not _sample_pays(view)):
        return data
    body = _compressed(view)
    frame = FRAME + zlib.crc32(body).to_bytes(4, "big") + body
    return frame if own or len(frame) < PAYS_FACTOR * len(view) else data


def _sample_pays(view: memoryview) -> bool:
    if len(view) <= SAMPLES_MAX * SAMPLE_BYTES:
        return True
    step = (len(view) - SAMPLE_BYTES) // (SAMPLES_MAX - 1)
    sample = b"".join(view[start : start + SAMPLE_BYTES] for start in range(0, SAMPLES_MAX * step, step))
    return len(_compressed(sample)) < PAYS_FACTOR * len(sample)


_kept = threading.local()


def _compressed(data: Bytes) -> bytes:
    if len(data) > SMALL_BYTES_MAX:
        return zstd.compress(data, LEVEL)
    compressor: zstd.ZstdCompressor | None = vars(_kept).pop("compressor", None)  # not kept over an error
    compressor = compressor or zstd.ZstdCompressor(LEVEL)
    body = compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)
    _kept.compressor = compressor
    return body


def unpacked(kept: Bytes, digest: bytes, size: int) -> Bytes:
    """The data of a chunk, verified: its size in bytes and its address. CheckpointTampered.

    A frame gives no more than was asked for: no small input becomes a large output here.
    """
    data = _unframed(kept, size) if bytes(kept[:4]) == FRAME else kept
    if data is None or len(data) != size or chunk_digest(data) != digest:
        raise CheckpointTampered(f"chunk {digest.hex()} of the checkpoint was changed")
    return data


def check_kept(kept: Bytes, digest: str) -> None:
    """Refuse (CheckpointError) what somebody else wants to keep under an address that is not that of its data."""
    data = _unframed(kept, SIZE_MAX) if bytes(kept[:4]) == FRAME else kept
    if data is None or chunk_digest(data).hex() != digest:
        raise CheckpointError(f"blob {digest[:80]} does not have that digest")


def _unframed(frame: Bytes, size_max: int) -> bytes | None:
    """The contents of one whole frame; None when it is not one, or holds more."""
    view = memoryview(frame)
    body = view[_HEAD_BYTES:]
    if zlib.crc32(body).to_bytes(4, "big") != view[len(FRAME) : _HEAD_BYTES]:
        return None
    decompressor = zstd.ZstdDecompressor()
    try:
        data = decompressor.decompress(body, max_length=size_max + 1)
    except zstd.ZstdError:
        return None
    return data if decompressor.eof and not decompressor.unused_data and len(data) <= size_max else None
