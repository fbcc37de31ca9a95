"""A stream of a capture that lies, as the engine reads it (specs/worker-protocol.md W6a). Real pipes, no worker."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
import threading
import tracemalloc
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge.host.checkpoint_stream as stream_module
from bridge.host.checkpoint_queue import CheckpointQueue
from bridge.host.checkpoint_stream import BLOCK_BYTES_MAX, READ_BYTES, CaptureStream, no_chunks
from bridge.protocol.messages import Checkpoint, CheckpointAck, Message
from durable.core.errors import CheckpointError, ProtocolError


def length(size: int, width: int) -> bytes:
    return size.to_bytes(width, "big")


def block(data: bytes) -> bytes:
    return length(len(data), 4) + data


END = bytes(4)


def _unread(pipe: int) -> int:
    """Bytes that are in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


async def read(sent: bytes, taken: list[bytes] | None = None) -> bytes:
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
        return bytes(await stream.read(take))
    finally:
        stream.close()
        os.close(reader)
        thread.join()


async def test_blocks_come_before_the_payload() -> None:
    taken: list[bytes] = []
    assert await read(block(b"one") + block(b"three") + END + length(4, 8) + b"rest", taken) == b"rest"
    assert taken == [b"one", b"three"]
    assert await read(END + length(0, 8)) == b""


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
async def test_a_stream_that_lies_is_refused(sent: bytes, why: str) -> None:
    with pytest.raises((CheckpointError, ProtocolError), match=why):
        await read(sent)


async def test_what_is_not_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(END + length(0, 8))
    with (tmp_path / "file").open("rb") as file:
        stream = CaptureStream(os.getpid(), file.fileno())
        with pytest.raises(CheckpointError, match="not a pipe"):
            await stream.read(no_chunks)
        stream.close()
    stream = CaptureStream(os.getpid(), 2**19)
    with pytest.raises(CheckpointError, match="cannot be opened"):
        await stream.read(no_chunks)


async def test_who_keeps_nothing_refuses_the_first_chunk() -> None:
    reader, writer = os.pipe()
    stream = CaptureStream(os.getpid(), reader)
    os.write(writer, block(b"one"))
    with pytest.raises(CheckpointError, match="nobody here takes"):
        await stream.read(no_chunks)
    stream.close()
    os.close(reader)
    os.close(writer)


async def test_what_is_held_grows_with_what_came_and_not_with_what_was_announced() -> None:
    """L1: twelve bytes announced 4 GiB, and had them."""
    reader, writer = os.pipe()
    stream = CaptureStream(os.getpid(), reader)
    os.write(writer, END + length(2**32 - 1, 8))
    tracemalloc.start()
    reading = asyncio.create_task(stream.read(no_chunks))
    try:
        os.write(writer, b"x" * 60_000)
        while _unread(reader):  # noqa: ASYNC110  # the thread has no event to tell
            await asyncio.sleep(0)
        assert tracemalloc.get_traced_memory()[1] < 4 * READ_BYTES
    finally:
        tracemalloc.stop()
        stream.worker_ended()
        with pytest.raises(CheckpointError, match="the worker ended"):
            await reading
        stream.close()
        os.close(reader)
        os.close(writer)


async def test_no_more_is_taken_than_the_worker_may_hold() -> None:
    reader, writer = os.pipe()
    stream = CaptureStream(os.getpid(), reader, 1_000)
    os.write(writer, block(b"x" * 999) + length(2, 4))
    with pytest.raises(ProtocolError, match="a checkpoint of 1001 bytes; at most 1000"):
        await stream.read(lambda chunks: deque(chunks, 0).clear())
    stream.close()
    os.close(reader)
    os.close(writer)


async def test_pipes_that_nobody_writes_to_hold_up_no_other_thread_of_the_engine() -> None:
    """L2: a few of them took all threads of the loop's executor."""
    pipes = [os.pipe() for _ in range(40)]
    streams = [CaptureStream(os.getpid(), reader) for reader, _ in pipes]
    reading = [asyncio.create_task(stream.read(no_chunks)) for stream in streams]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
    for stream in streams:
        stream.worker_ended()
    refused = await asyncio.gather(*reading, return_exceptions=True)
    assert all(isinstance(error, CheckpointError) for error in refused)
    for stream, (reader, writer) in zip(streams, pipes, strict=True):
        stream.close()
        os.close(reader)
        os.close(writer)


async def test_a_trickle_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WAITED_S_MAX", 0.05)
    reader, writer = os.pipe()
    stream = CaptureStream(os.getpid(), reader)
    os.write(writer, END)
    with pytest.raises(CheckpointError, match="sent nothing for"):
        await stream.read(no_chunks)
    stream.close()
    os.close(reader)
    os.close(writer)


async def test_a_named_pipe_without_a_writer_ends_with_its_worker(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    place = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    stream = CaptureStream(os.getpid(), place)
    reading = asyncio.create_task(stream.read(no_chunks))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(CheckpointError):
        await reading
    assert stream._fd == -1
    os.close(place)


async def test_what_came_whole_and_cannot_be_kept_is_answered() -> None:
    """Its worker captures nothing more before that, and its execution would not end."""
    reader, writer = os.pipe()
    os.write(writer, bytes(4) + bytes(8))
    os.close(writer)
    said: list[Message] = []

    async def full(_checkpoint: Checkpoint) -> None:
        raise OSError("no room")

    async def again() -> Checkpoint:
        raise AssertionError

    keeping = CheckpointQueue(
        "s",
        full,
        no_chunks,
        send=said.append,
        again=again,
        lost=lambda _checkpoint, _error: None,
        let_go=lambda task: None,
        crowded=lambda: None,
        observer=lambda _event: None,
    )
    keeping.keep(Checkpoint(id="c1", execution_id="s@1", statement=1, stream=reader), 0, os.getpid())
    with pytest.raises(OSError, match="no room"):
        await keeping.kept()
    os.close(reader)
    assert [(one.checkpoint, one.problem) for one in said if isinstance(one, CheckpointAck)] == [("c1", "no room")]
