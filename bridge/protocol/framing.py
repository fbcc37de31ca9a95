"""Frames without I/O (specs/worker-protocol.md F1-F3): bytes in, whole messages' payloads out."""

from __future__ import annotations

from collections.abc import Callable

from durable.core.errors import ProtocolError
from durable.core.limits import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX

HEADER_BYTES = 4
GOES_ON = 0x8000_0000
"""Top bit of the length: the message continues in the next frame."""


def encode(payload: bytes, frame_bytes_max: int = FRAME_BYTES_MAX) -> list[bytes | memoryview]:
    """The buffers to write for one message; a large payload is sliced, not copied."""
    size = len(payload)
    if size <= frame_bytes_max:
        return [size.to_bytes(HEADER_BYTES, "big") + payload]
    view = memoryview(payload)
    buffers: list[bytes | memoryview] = []
    for start in range(0, size, frame_bytes_max):
        part = view[start : start + frame_bytes_max]
        more = GOES_ON if start + frame_bytes_max < size else 0
        buffers.append((len(part) | more).to_bytes(HEADER_BYTES, "big"))
        buffers.append(part)
    return buffers


class FrameDecoder:
    """Collects bytes into messages. After a ProtocolError, or `close`, it is empty and refuses everything."""

    def __init__(
        self,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        limit_of: Callable[[bytearray], int] | None = None,
    ) -> None:
        """limit_of: what a message may have in all, by the payload of its first frame; at most message_bytes_max."""
        self._frame_bytes_max = frame_bytes_max
        self._message_bytes_max = message_bytes_max
        self._limit_of = limit_of
        self._buffer = bytearray()
        self._whole = bytearray()
        """The payload so far of a message that goes on; grows with what comes."""
        self._failed: str | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._buffer) + len(self._whole)

    def feed(self, data: bytes) -> list[bytes | bytearray]:
        """The payloads of the messages that `data` completes, in order. Raises ProtocolError (F1).

        Where messages precede what is wrong in `data`, they are returned, and `check` raises: what a session sees does
        not depend on the portions that the kernel hands over.
        """
        self.check()
        if not self._buffer and not self._whole and len(data) >= HEADER_BYTES:
            size = int.from_bytes(data[:HEADER_BYTES], "big")
            if size == len(data) - HEADER_BYTES and size <= self._frame_bytes_max:
                return [data[HEADER_BYTES:]]  # the usual case: one read, one message
        self._buffer += data
        messages: list[bytes | bytearray] = []
        at = 0
        available = len(self._buffer)
        while available - at >= HEADER_BYTES:
            word = int.from_bytes(self._buffer[at : at + HEADER_BYTES], "big")
            size = word & ~GOES_ON
            try:
                self._check(size, goes_on=word >= GOES_ON)
            except ProtocolError:
                if messages:
                    return messages
                raise
            end = at + HEADER_BYTES + size
            if available < end:
                break
            start, at = at + HEADER_BYTES, end
            with memoryview(self._buffer) as received:
                if word < GOES_ON and not self._whole:
                    messages.append(bytes(received[start:end]))
                    continue
                self._whole += received[start:end]
            if word < GOES_ON:
                messages.append(self._whole)
                self._whole = bytearray()
        if at:
            del self._buffer[:at]
        return messages

    def check(self) -> None:
        """Raises ProtocolError when something was wrong."""
        if self._failed is not None:
            raise ProtocolError(self._failed)

    def end(self) -> None:
        """The stream ended. Raises ProtocolError if that was inside a message (F2)."""
        if self.pending_bytes and self._failed is None:
            self._fail(f"the stream ended inside a message ({self.pending_bytes} bytes of it had come)")

    def close(self) -> None:
        """Nothing more is fed: let go of what came of an unfinished message, whoever still holds this."""
        if self._failed is None:
            self._failed = "the stream was given up"
        self._buffer, self._whole = bytearray(), bytearray()

    def _check(self, size: int, *, goes_on: bool) -> None:
        if size > self._frame_bytes_max:
            self._fail(f"a frame of {size} bytes; at most {self._frame_bytes_max} are allowed")
        limit = self._message_bytes_max
        if self._whole and self._limit_of is not None:
            limit = min(limit, self._limit_of(self._whole))
        if len(self._whole) + size > limit:
            self._fail(f"a message of more than {limit} bytes")
        if goes_on and size == 0:
            self._fail("an empty frame that goes on")

    def _fail(self, what: str) -> None:
        self._failed = what
        self._buffer.clear()
        self._whole.clear()
        raise ProtocolError(what)
