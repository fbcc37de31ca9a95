"""Checkpoints of a worker while it runs a cell: one after another, each whole before it is acknowledged.

Beside them those that the engine asks for (specs/worker-protocol.md, W6a)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from bridge.host.checkpoint_stream import CaptureStream, OnChunks
from bridge.protocol.messages import Checkpoint, CheckpointAck, Message
from durable.core.errors import CheckpointError, ProtocolError, StoreFull
from durable.core.events import BackgroundFailed, Observer
from durable.core.limits import MESSAGE_BYTES_MAX


class Captures:
    """The requests for checkpoints, one at a time; the stream of a reply is opened as the reply comes."""

    def __init__(self, name: str, request: Callable[[bool], Awaitable[Checkpoint]], bytes_max: int) -> None:
        """request: asks the worker; whether it must be idle. bytes_max: of one capture."""
        self._name = name
        self._request = request
        self._bytes_max = bytes_max
        self._stream: CaptureStream | None = None

    def came(self, reply: Checkpoint, pid: int) -> None:
        """The worker's reply, on the receive loop."""
        if reply.stream is not None and self._stream is None:
            self._stream = CaptureStream(pid, reply.stream, self._bytes_max)

    async def ask(self, *, idle: bool) -> tuple[Checkpoint, CaptureStream | None]:
        """The reply, and where its data is read from when that is not in it: the caller's to close."""
        try:
            reply = await self._request(idle)
        except BaseException:
            if self._stream is not None:
                self._stream.close()
            raise
        else:
            return reply, self._stream
        finally:
            self._stream = None

    async def again(self) -> Checkpoint:
        """The worker's own capture where its child could not.

        ProtocolError if that is a stream too: it would wait for the answer, which only a whole capture has, and so
        would its next execution.
        """
        reply, stream = await self.ask(idle=False)
        if stream is not None:
            stream.close()
            raise ProtocolError(f"session {self._name!r} named a pipe for what it was to capture by itself")
        return reply


WAITING_MAX = 64
"""Checkpoints that wait to be kept. An honest worker makes one in ten times what its capture took."""

WAITING_BYTES_MAX = 64 * 2**20
"""Bytes of their messages together. One alone may be larger."""

type OnCheckpoint = Callable[[Checkpoint], Awaitable[None]]


class CheckpointQueue:
    """Checkpoints being kept: each waits for the one before it, and the end of the execution for the last.

    While too much waits the worker is not read, so that no worker can pile up more (specs/worker-protocol.md, W6c).
    """

    def __init__(
        self,
        name: str,
        on_checkpoint: OnCheckpoint,
        on_chunks: OnChunks,
        *,
        send: Callable[[Message], None],
        again: Callable[[], Awaitable[Checkpoint]],
        lost: Callable[[Checkpoint, Exception], None],
        let_go: Callable[[asyncio.Task[None]], None],
        crowded: Callable[[], None],
        observer: Observer,
        bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """again: what the worker captures itself. lost: a checkpoint that the code may be waiting for was not kept.

        crowded: called when `full` changes. bytes_max: of one checkpoint.
        """
        self._name = name
        self._on_checkpoint = on_checkpoint
        self._on_chunks = on_chunks
        self._send = send
        self._again = again
        self._lost = lost
        self._let_go = let_go
        self._crowded = crowded
        self._observer = observer
        self._last: asyncio.Task[None] | None = None
        self._waiting = self._waiting_bytes = 0
        self.full = False
        """Whether more waits than may."""
        self._streamed_id: str | None = None
        self._bytes_max = bytes_max
        self._streams: set[CaptureStream] = set()

    def begin(self) -> None:
        """An execution begins: a failure belongs to the execution whose checkpoint it was."""
        if self._last is not None and self._last.done():
            self._last = None

    def keep(self, message: Checkpoint, size: int, pid: int) -> None:
        """Keep this one, of `size` bytes, after those before. It is not cancelled when the worker ends.

        Raises ProtocolError for one with a stream while another stream is not acknowledged.
        """
        stream = None
        if message.stream is not None:
            if self._streamed_id is not None:
                raise ProtocolError("a second checkpoint with a stream before the first one was acknowledged")
            stream = CaptureStream(pid, message.stream, self._bytes_max)
            self._streamed_id = message.id
        work = self._keep(message, stream, self._last)
        self._last = asyncio.get_running_loop().create_task(work, name=f"{self._name}: checkpoint")
        self._last.add_done_callback(lambda _: self._count(-1, -size))
        self._last.add_done_callback(self._let_go)
        self._count(1, size)

    def _count(self, more: int, more_bytes: int) -> None:
        self._waiting += more
        self._waiting_bytes += more_bytes
        full = self._waiting > WAITING_MAX or (self._waiting > 1 and self._waiting_bytes > WAITING_BYTES_MAX)
        if full != self.full:
            self.full = full
            self._crowded()

    def _acknowledge(self, message: Checkpoint, problem: str = "") -> None:
        if self._streamed_id == message.id:
            self._streamed_id = None
        self._send(CheckpointAck(checkpoint=message.id, problem=problem))

    def worker_ended(self) -> None:
        """Tell the streams that the worker ended: what it has written by now is all there is."""
        for stream in self._streams:
            stream.worker_ended()

    async def kept(self) -> None:
        """Return when the last one is durable. Raises what `on_checkpoint` raised."""
        if self._last is not None and self._last.done():
            self._last.result()
        elif self._last is not None:
            await asyncio.shield(self._last)

    async def over(self) -> None:
        """Return when the last one is durable or failed."""
        if self._last is not None:
            await asyncio.wait([self._last])

    async def _keep(self, message: Checkpoint, stream: CaptureStream | None, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await before
            if stream is not None:
                whole = await self._streamed(message, stream)
                if whole is None:
                    return
                message = whole
            await self._on_checkpoint(message)
        except Exception as error:
            if self._streamed_id == message.id:  # its worker captures nothing else before it hears of this
                self._acknowledge(message, str(error) or type(error).__name__)
            self._lost(message, error)
            raise
        finally:
            if stream is not None:
                stream.close()
        if stream is not None or not message.final:  # the end of an execution waits for nothing
            self._acknowledge(message)

    async def _streamed(self, message: Checkpoint, stream: CaptureStream) -> Checkpoint | None:
        """The checkpoint with its data. Where the child failed: None, or for the last one the worker's own capture."""
        whole = await self._whole(message, stream)
        if whole is not None or not message.final:
            return whole
        again = await self._again()
        return replace(message, data=again.data, problem=again.problem)

    async def asked(self, message: Checkpoint, stream: CaptureStream) -> Checkpoint:
        """The checkpoint that the engine asked for, with its data; where the child failed, the worker's own capture."""
        try:
            whole = await self._whole(message, stream)
        finally:
            stream.close()
        if whole is None:
            return await self._again()
        self._send(CheckpointAck(checkpoint=message.id))
        return whole

    async def _whole(self, message: Checkpoint, stream: CaptureStream) -> Checkpoint | None:
        self._streams.add(stream)
        try:
            data = await stream.read(self._on_chunks, f"capture of {self._name}")
            return replace(message, data=data)
        except (CheckpointError, StoreFull) as error:
            self._observer(BackgroundFailed(f"capture of session {self._name}", str(error)))
            self._acknowledge(message, str(error))
        finally:
            self._streams.discard(stream)
        return None
