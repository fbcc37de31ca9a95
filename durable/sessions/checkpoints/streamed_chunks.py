"""Large chunks of a capture that is still being made: hashed, packed and written before what names them has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from checkpoint.blobs.directory import INLINE_BYTES_MAX, Blobs
from checkpoint.format.compression import Bytes, packed
from checkpoint.format.payload import chunk_digest

THREADS_MAX = 2
"""Threads that hash and compress, which the interpreter lets run side by side: as many as keep up with a disk."""

AHEAD_MAX = 16
"""Chunks that wait for those threads; then the worker's child waits."""


class Arrived(NamedTuple):
    """A chunk of `size` bytes: in the blobs, durable, or, where it is small, as it is to be kept in a row."""

    size: int
    row: Bytes | None


class Arrivals:
    """The chunks that the last capture of a session streamed. One capture at a time."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.chunks: dict[bytes, Arrived] = {}
        """By digest; whole when `take` returned."""

    def take(self, chunks: Iterator[bytearray]) -> None:
        """Keep all; large ones are durable when it returns. Blocks. CheckpointError."""
        self.chunks = {}
        first = next(chunks, None)
        if first is None:
            return
        with ThreadPoolExecutor(THREADS_MAX, "chunks") as pool:
            self._blobs.put_many(self._large(pool, first, chunks))

    def _large(
        self, pool: ThreadPoolExecutor, first: bytearray, chunks: Iterator[bytearray]
    ) -> Iterator[tuple[str, Bytes]]:
        ahead: deque[Future[tuple[bytes, int, Bytes]]] = deque((pool.submit(_prepared, first),))
        while ahead:
            while len(ahead) < AHEAD_MAX and (chunk := next(chunks, None)) is not None:
                ahead.append(pool.submit(_prepared, chunk))
            digest, size, kept = ahead.popleft().result()
            small = len(kept) <= INLINE_BYTES_MAX
            self.chunks[digest] = Arrived(size, kept if small else None)
            if not small:
                yield digest.hex(), kept


def _prepared(chunk: bytearray) -> tuple[bytes, int, Bytes]:
    view = memoryview(chunk)
    return chunk_digest(view), len(view), packed(view)
