"""The data of a checkpoint that a worker's forked child sends through a pipe (specs/worker-protocol.md, W6a).

Whoever holds the worker's socket may name any descriptor and announce any size: what is held here grows with the bytes
that came, and a reader waits in a thread of its own, for a bounded time.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import threading
from collections.abc import Callable, Iterator
from time import monotonic

from durable.core.errors import CheckpointError, ProtocolError
from durable.core.limits import MESSAGE_BYTES_MAX

HEADER_BYTES = 8
BLOCK_BYTES = 4
BLOCK_BYTES_MAX = 64 * 2**20
"""The largest chunk that there is."""

type OnChunks = Callable[[Iterator[bytearray]], None]
"""Keeps the chunks of a stream, in a thread, before what names them has come. CheckpointError when it cannot."""

READ_BYTES = 2**20
"""Read at once, and held before a byte came."""

PROGRESS_S_MAX = 60
"""Twice what the child's alarm allows it: longer without a byte means that somebody else holds the pipe open."""

WAITED_S_MAX = 300
"""Waiting for bytes in all, beside a second for each WAITED_BYTES: a trickle ends too."""

WAITED_BYTES = 2**20


def no_chunks(chunks: Iterator[bytearray]) -> None:
    """Where nobody keeps them."""
    for _chunk in chunks:
        raise CheckpointError("nobody here takes a checkpoint in chunks")


async def in_own_thread[T](name: str, call: Callable[[], T]) -> T:
    """The call's result, from a thread that nothing else uses: the loop's executor has few, which others wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  # the call's own
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


class CaptureStream:
    """The engine's end. Made while the worker is not reaped, so that its pid is its own.

    bytes_max: of the whole, at most what the worker itself may hold.
    """

    def __init__(self, pid: int, descriptor: int, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._fd = -1
        self._problem = ""
        self._bytes = 0
        self._bytes_max = min(bytes_max, MESSAGE_BYTES_MAX)
        self._waited_s = 0.0
        self._ended = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._over = False
        self._closing = threading.Lock()
        self._reading = False
        try:
            self._fd = _pipe(f"/proc/{pid}/fd/{descriptor}")
        except _NoPipe:
            self._problem = "the worker named something that is not a pipe"
        except OSError as error:
            self._problem = f"the worker's pipe cannot be opened: {error.strerror}"

    async def read(self, on_chunks: OnChunks, name: str = "capture") -> bytearray:
        """The payload, when `on_chunks` had all blocks before it.

        CheckpointError where it did not come whole, ProtocolError for what no honest worker sends.
        """
        if self._problem:
            raise CheckpointError(self._problem)
        self._reading = True
        return await in_own_thread(name, lambda: self._read(on_chunks))

    def worker_ended(self) -> None:
        """Nobody writes any more: what is in the pipe is all there is."""
        with self._closing:
            self._wake()

    def close(self) -> None:
        """Idempotent. A thread that still reads ends first, and closes then."""
        with self._closing:
            if self._reading:
                self._over = True
                self._wake()
            else:
                self._close()

    def _read(self, on_chunks: OnChunks) -> bytearray:
        try:
            chunks = self._chunks()
            on_chunks(chunks)
            for _more in chunks:
                raise CheckpointError("a chunk of the checkpoint was not taken")
            data = self._counted(int.from_bytes(self._take(HEADER_BYTES), "big"))
            if self._ready_bytes(memoryview(bytearray(1))):
                raise CheckpointError("the worker's child sent more than it said")
            return data
        finally:
            with self._closing:
                self._reading = False
                if self._over:
                    self._close()

    def _wake(self) -> None:
        if self._ended >= 0:
            os.eventfd_write(self._ended, 1)

    def _close(self) -> None:
        for fd in (self._fd, self._ended):
            if fd >= 0:
                os.close(fd)
        self._fd = self._ended = -1

    def _chunks(self) -> Iterator[bytearray]:
        while size := int.from_bytes(self._take(BLOCK_BYTES), "big"):
            if size > BLOCK_BYTES_MAX:
                raise ProtocolError(f"a chunk of {size} bytes; at most {BLOCK_BYTES_MAX} are allowed")
            yield self._counted(size)

    def _counted(self, size: int) -> bytearray:
        self._bytes += size
        if self._bytes > self._bytes_max:
            raise ProtocolError(f"a checkpoint of {self._bytes} bytes; at most {self._bytes_max} are allowed")
        return self._take(size)

    def _take(self, size: int) -> bytearray:
        """So many bytes. At most twice what came is held, or READ_BYTES."""
        data = bytearray(min(size, READ_BYTES))
        filled = 0
        while filled < size:
            if filled == len(data):
                data.extend(bytes(min(size - filled, filled)))
            with memoryview(data) as whole, whole[filled : filled + READ_BYTES] as view:
                count = self._ready_bytes(view)
            if not count:
                raise CheckpointError(
                    f"the worker's child ended before its checkpoint was whole; {size - filled} bytes missing"
                )
            filled += count
        return data

    def _ready_bytes(self, into: memoryview) -> int:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        while True:
            left_s = min(PROGRESS_S_MAX, WAITED_S_MAX + self._bytes / WAITED_BYTES - self._waited_s)
            began = monotonic()
            ready = dict(poll.poll(max(0.0, left_s) * 1000))
            self._waited_s += monotonic() - began
            if not ready:
                raise CheckpointError(f"the worker's child sent nothing for {max(0.0, left_s):.0f} s")
            if self._over or self._fd not in ready:
                raise CheckpointError("the worker ended before its checkpoint was whole")
            try:
                return os.readv(self._fd, [into])
            except BlockingIOError:
                continue


class _NoPipe(Exception):
    """Something else, which is not opened: opening a device can do something."""


def _pipe(path: str) -> int:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISFIFO(os.fstat(place).st_mode):
            raise _NoPipe
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    finally:
        os.close(place)
