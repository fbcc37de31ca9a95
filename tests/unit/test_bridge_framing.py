"""Frames without I/O: fed whole, byte by byte, with trailing data, and wrong (F1-F3)."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocol.framing import GOES_ON, HEADER_BYTES, FrameDecoder, encode
from durable.core.errors import ProtocolError

PAYLOADS = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6)


def stream(payloads: list[bytes], frame_bytes_max: int = 16) -> bytes:
    return b"".join(bytes(buffer) for payload in payloads for buffer in encode(payload, frame_bytes_max))


@given(PAYLOADS, st.lists(st.integers(1, 30), max_size=20))
def test_any_split_of_the_stream_gives_the_same_messages(payloads: list[bytes], sizes: list[int]) -> None:
    data = stream(payloads)
    decoder = FrameDecoder(frame_bytes_max=16)
    got: list[bytes | bytearray] = []
    for size in sizes:
        got += decoder.feed(data[:size])
        data = data[size:]
    got += decoder.feed(data)
    decoder.end()
    assert got == payloads
    assert decoder.pending_bytes == 0


@given(PAYLOADS)
def test_byte_by_byte(payloads: list[bytes]) -> None:
    decoder = FrameDecoder(frame_bytes_max=16)
    data = stream(payloads)
    assert [m for i in range(len(data)) for m in decoder.feed(data[i : i + 1])] == payloads


def test_what_precedes_the_error_counts_however_it_comes() -> None:
    good, bad = stream([b"first", b"second"], 1000), b"\xff\xff\xff\xff"
    for size in (1, 7, 1000):
        decoder, got = FrameDecoder(), list[bytes | bytearray]()
        for at in range(0, len(good), size):
            got += decoder.feed((good + bad)[at : at + size])
        with pytest.raises(ProtocolError):
            decoder.feed(bad)
        assert got == [b"first", b"second"]


def test_an_unfinished_message_is_kept_and_its_end_completes_it() -> None:
    decoder = FrameDecoder()
    first, second = stream([b"first"], 1000), stream([b"second"], 1000)
    assert decoder.feed(first + second[:-1]) == [b"first"]
    assert decoder.pending_bytes == len(second) - 1
    assert decoder.feed(second[-1:]) == [b"second"]


@given(st.binary(max_size=200))
def test_noise_gives_messages_or_one_error_and_never_grows(noise: bytes) -> None:
    decoder = FrameDecoder(frame_bytes_max=32, message_bytes_max=64)
    try:
        decoder.feed(noise)
    except ProtocolError as error:
        assert decoder.pending_bytes == 0
        with pytest.raises(ProtocolError, match=str(error).split("(")[0][:20]):
            decoder.feed(b"")
    else:
        assert decoder.pending_bytes <= 64 + 32 + HEADER_BYTES


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ((17).to_bytes(4, "big"), "a frame of 17 bytes"),
        (GOES_ON.to_bytes(4, "big"), "empty frame"),
        (b"\xff\xff\xff\xff", "a frame of"),
        (((16 | GOES_ON).to_bytes(4, "big") + b"x" * 16) * 3, "a message of more"),
    ],
)
def test_what_is_not_allowed_leaves_a_clear_state(data: bytes, what: str) -> None:
    decoder = FrameDecoder(frame_bytes_max=16, message_bytes_max=40)
    with pytest.raises(ProtocolError, match=what):
        decoder.feed(data)
    assert decoder.pending_bytes == 0
    with pytest.raises(ProtocolError, match=what):
        decoder.feed(stream([b"good"]))
    decoder.end()


def test_a_closed_decoder_holds_nothing_whoever_holds_it() -> None:
    """Those of ended workers waited for Python's collector with all that had come of half a message."""
    decoder = FrameDecoder(frame_bytes_max=2**20)
    decoder.feed((2**20 | GOES_ON).to_bytes(4, "big") + bytes(2**20) + (2**20).to_bytes(4, "big") + bytes(2**19))
    assert decoder.pending_bytes > 2**20
    decoder.close()
    decoder.close()
    assert sum(sys.getsizeof(held) for held in (decoder._buffer, decoder._whole)) < 1_000
    with pytest.raises(ProtocolError, match="given up"):
        decoder.feed(stream([b"good"]))
    decoder.end()


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\5abc", (3 | GOES_ON).to_bytes(4, "big") + b"abc"])
def test_the_end_inside_a_message_is_an_error(data: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(data)
    with pytest.raises(ProtocolError, match="ended inside"):
        decoder.end()


def test_large_payloads_are_sliced_not_copied() -> None:
    buffers = encode(b"x" * 50, frame_bytes_max=20)
    assert [len(one) for one in buffers] == [4, 20, 4, 20, 4, 10]
    assert all(isinstance(one, memoryview) for one in buffers[1::2])


def test_a_message_is_limited_by_how_it_begins() -> None:
    for first, fits in ((b"a", False), (b"b", True)):
        decoder = FrameDecoder(frame_bytes_max=16, limit_of=lambda first: 40 if first.startswith(b"b") else 20)
        frames = b"".join(bytes(part) for part in encode(first + b"x" * 35, 16))
        if fits:
            assert decoder.feed(frames) == [first + b"x" * 35]
        else:
            with pytest.raises(ProtocolError, match="more than 20 bytes"):
                decoder.feed(frames)
