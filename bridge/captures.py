"""What a worker captures because it is asked to, not by its own rule (specs/worker-protocol.md, W6a)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bridge.messages import Checkpoint
from bridge.stream import CaptureStream
from durable.core.errors import CheckpointError


class Captures:
    """One question at a time; the stream of its reply is opened as the reply comes."""

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
        """What the worker captures by itself where its child could not. CheckpointError if that is a stream too."""
        reply, stream = await self.ask(idle=False)
        if stream is not None:
            stream.close()
            raise CheckpointError(f"session {self._name!r} was to capture by itself what its child could not")
        return reply
