"""A large capture on its way into the store: chunks are hashed and packed while others are written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from checkpoint.blobs.directory import INLINE_BYTES_MAX, Blobs
from checkpoint.engine_side.seal import Hashed
from checkpoint.format.compression import Bytes, packed
from checkpoint.format.payload import chunk_digest, decode_payload

HASHERS_MAX = 1
"""Beside the thread that writes, and the one that lets the disk begin: it is faster than the disk by itself."""


def bring(data: bytes | bytearray | memoryview, blobs: Blobs) -> tuple[Hashed, list[tuple[str, bytes]]]:
    """Make the large chunks of a payload durable; the payload for `seal`, and the small chunks, as they are kept.

    A chunk is kept by its own address, so that it may be before the payload is checked: of one that is refused there
    are at most blobs that nothing uses. CheckpointError. Blocks.
    """
    payload = decode_payload(data)
    chunks: dict[bytes, memoryview] = {}
    small: list[tuple[str, bytes]] = []

    def large(pool: ThreadPoolExecutor) -> Iterator[tuple[str, Bytes]]:
        for digest, chunk, kept in pool.map(_addressed, payload.chunks):
            if chunks.setdefault(digest, chunk) is not chunk:
                continue
            if len(kept) > INLINE_BYTES_MAX:
                yield digest.hex(), kept
            else:
                small.append((digest.hex(), bytes(kept)))

    with ThreadPoolExecutor(HASHERS_MAX, "checkpoint") as pool:
        try:
            blobs.put_many(large(pool))
        finally:
            pool.shutdown(cancel_futures=True)
    return Hashed(payload, chunks), small


def _addressed(chunk: memoryview) -> tuple[bytes, memoryview, Bytes]:
    return chunk_digest(chunk), chunk, packed(chunk)
