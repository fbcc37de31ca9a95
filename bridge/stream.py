"""The data of a checkpoint that a worker's forked child sends through a pipe of its own (specs/worker-protocol.md)."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterator

from durable.core.errors import CheckpointError
from durable.core.limits import MESSAGE_BYTES_MAX

HEADER_BYTES = 8
BLOCK_BYTES = 4
BLOCK_BYTES_MAX = 64 * 2**20
"""The largest chunk that there is."""

type OnChunks = Callable[[Iterator[bytearray]], None]
"""Keeps the chunks of a stream, in a thread, before what names them has come. CheckpointError when it cannot."""

READ_BYTES = 2**20

PROGRESS_S_MAX = 60
"""Twice what the child's alarm allows it: longer without a byte means that somebody else holds the pipe open."""


def no_chunks(chunks: Iterator[bytearray]) -> None:
    """Where nobody keeps them."""
    for _chunk in chunks:
        raise CheckpointError("nobody here takes a checkpoint in chunks")


class CaptureStream:
    """The engine's end. Made while the worker is not reaped, so that its pid is its own."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._fd = -1
        self._problem = ""
        self._bytes = 0
        try:
            self._fd = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            if not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
                self._problem = "the worker named something that is not a pipe"
        except OSError as error:
            self._problem = f"the worker's pipe cannot be opened: {error.strerror}"

    def read(self, on_chunks: OnChunks) -> bytearray:
        """The payload, when `on_chunks` had all blocks before it. CheckpointError.

        For a thread to wait for: the child ends it, or the child's alarm does.
        """
        if self._problem:
            raise CheckpointError(self._problem)
        chunks = self._chunks()
        on_chunks(chunks)
        for _more in chunks:
            raise CheckpointError("a chunk of the checkpoint was not taken")
        data = self._counted(int.from_bytes(self._take(HEADER_BYTES), "big"))
        if self._ready_bytes(memoryview(bytearray(1))):
            raise CheckpointError("the worker's child sent more than it said")
        return data

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _chunks(self) -> Iterator[bytearray]:
        while size := int.from_bytes(self._take(BLOCK_BYTES), "big"):
            if size > BLOCK_BYTES_MAX:
                raise CheckpointError(f"a chunk of {size} bytes; at most {BLOCK_BYTES_MAX} are allowed")
            yield self._counted(size)

    def _counted(self, size: int) -> bytearray:
        self._bytes += size
        if self._bytes > MESSAGE_BYTES_MAX:
            raise CheckpointError(f"a checkpoint of {self._bytes} bytes; at most {MESSAGE_BYTES_MAX} are allowed")
        return self._take(size)

    def _take(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._ready_bytes(view[:READ_BYTES])
            if not count:
                raise CheckpointError(
                    f"the worker's child ended before its checkpoint was whole; {len(view)} bytes missing"
                )
            view = view[count:]
        return data

    def _ready_bytes(self, into: memoryview) -> int:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            if not poll.poll(PROGRESS_S_MAX * 1000):
                raise CheckpointError(f"the worker's child sent nothing for {PROGRESS_S_MAX} s")
            try:
                return os.readv(self._fd, [into])
            except BlockingIOError:
                continue
