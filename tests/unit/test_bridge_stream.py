"""A stream of a capture that lies, as the engine reads it (specs/worker-protocol.md W6a). Real pipes, no worker."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.stream import BLOCK_BYTES_MAX, CaptureStream, no_chunks
from durable.core.errors import CheckpointError


def length(size: int, width: int) -> bytes:
    return size.to_bytes(width, "big")


def block(data: bytes) -> bytes:
    return length(len(data), 4) + data


END = bytes(4)


def read(sent: bytes, taken: list[bytes] | None = None) -> bytes:
    """What the engine has of it, and of the blocks in `taken`."""
    reader, writer = os.pipe()
    stream = CaptureStream(os.getpid(), reader)

    def send() -> None:
        try:
            os.write(writer, sent)
        finally:
            os.close(writer)

    def take(chunks: Iterator[bytearray]) -> None:
        for chunk in chunks:
            if taken is not None:
                taken.append(bytes(chunk))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        return bytes(stream.read(take))
    finally:
        stream.close()
        os.close(reader)
        thread.join()


def test_blocks_come_before_the_payload() -> None:
    taken: list[bytes] = []
    assert read(block(b"one") + block(b"three") + END + length(4, 8) + b"rest", taken) == b"rest"
    assert taken == [b"one", b"three"]
    assert read(END + length(0, 8)) == b""


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "ended before"),
        (b"\x00\x00", "ended before"),
        (length(5, 4) + b"four", "1 bytes missing"),
        (block(b"one"), "ended before"),
        (block(b"one") + END + length(9, 8) + b"short", "4 bytes missing"),
        (END + length(2, 8) + b"long", "more than it said"),
        (length(BLOCK_BYTES_MAX + 1, 4), "a chunk of 67108865 bytes"),
        (END + length(2**63, 8), "a checkpoint of 9223372036854775808 bytes"),
    ],
)
def test_a_stream_that_lies_is_refused(sent: bytes, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        read(sent)


def test_what_is_not_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(END + length(0, 8))
    with (tmp_path / "file").open("rb") as file:
        stream = CaptureStream(os.getpid(), file.fileno())
        with pytest.raises(CheckpointError, match="not a pipe"):
            stream.read(no_chunks)
        stream.close()
    stream = CaptureStream(os.getpid(), 2**19)
    with pytest.raises(CheckpointError, match="cannot be opened"):
        stream.read(no_chunks)


def test_who_keeps_nothing_refuses_the_first_chunk() -> None:
    reader, writer = os.pipe()
    stream = CaptureStream(os.getpid(), reader)
    os.write(writer, block(b"one"))
    with pytest.raises(CheckpointError, match="nobody here takes"):
        stream.read(no_chunks)
    stream.close()
    os.close(reader)
    os.close(writer)
