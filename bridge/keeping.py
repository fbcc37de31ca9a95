"""The checkpoints that a worker sends while it runs a cell: one after another, each whole before it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bridge.messages import Checkpoint, CheckpointAck, Message
from bridge.stream import CaptureStream, OnChunks
from durable.core.errors import CheckpointError
from durable.core.events import BackgroundFailed, Observer

type OnCheckpoint = Callable[[Checkpoint], Awaitable[None]]


class Keeping:
    """The last checkpoint that is being kept, which the one after it and the end of the execution wait for."""

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
        observer: Observer,
    ) -> None:
        """again: what the worker captures itself. lost: a checkpoint that the code may be waiting for was not kept."""
        self._name = name
        self._on_checkpoint = on_checkpoint
        self._on_chunks = on_chunks
        self._send = send
        self._again = again
        self._lost = lost
        self._let_go = let_go
        self._observer = observer
        self._last: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """An execution begins: a failure belongs to the execution whose checkpoint it was."""
        if self._last is not None and self._last.done():
            self._last = None

    def keep(self, message: Checkpoint, pid: int) -> None:
        """Keep this one after those before. It is not cancelled when the worker ends: what was captured is kept."""
        stream = None if message.stream is None else CaptureStream(pid, message.stream)
        work = self._keep(message, stream, self._last)
        self._last = asyncio.get_running_loop().create_task(work, name=f"{self._name}: checkpoint")
        self._last.add_done_callback(self._let_go)

    async def kept(self) -> None:
        """Return when the last one is durable. Raises what `on_checkpoint` raised."""
        if self._last is not None:
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
            self._lost(message, error)
            raise
        finally:
            if stream is not None:
                stream.close()
        self._send(CheckpointAck(checkpoint=message.id))

    async def _streamed(self, message: Checkpoint, stream: CaptureStream) -> Checkpoint | None:
        """With its data. Where the child failed: None, or for the last one what the worker captures itself."""
        whole = await self._whole(message, stream)
        if whole is not None or not message.final:
            return whole
        again = await self._again()
        return message.model_copy(update={"data": again.data, "problem": again.problem})

    async def asked(self, message: Checkpoint, stream: CaptureStream) -> Checkpoint:
        """With its data, what the engine asked for; where the child failed, what the worker captures itself."""
        try:
            whole = await self._whole(message, stream)
        finally:
            stream.close()
        if whole is None:
            return await self._again()
        self._send(CheckpointAck(checkpoint=message.id))
        return whole

    async def _whole(self, message: Checkpoint, stream: CaptureStream) -> Checkpoint | None:
        try:
            return message.model_copy(update={"data": await asyncio.to_thread(stream.read, self._on_chunks)})
        except CheckpointError as error:
            self._observer(BackgroundFailed(f"capture of session {self._name}", str(error)))
            self._send(CheckpointAck(checkpoint=message.id, problem=str(error)))
        return None
