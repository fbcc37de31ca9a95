"""A warm image: a module whose data segments are the memory of an instance that has begun (specs/javascript.md).

An instance of it starts where that one was. wasmtime maps such data copy-on-write, so an instance costs microseconds
and no memory until it writes. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Iterator

PAGE_BYTES = 65_536
GAP_BYTES = 64
"""Zeros between two segments; fewer belong to the segment, which costs less than another header."""
SEGMENTS_MAX = 50_000
"""wasm's own limit is 100,000 data segments."""

_CUSTOM, _MEMORY, _DATA, _DATA_COUNT = 0, 5, 11, 12


def bake(module: bytes, memory: bytes) -> bytes:
    """`module`, of one memory, with that memory as it is now. ValueError for a module of another form."""
    segments = list(_segments(memory))
    if len(segments) > SEGMENTS_MAX:
        raise ValueError(f"the memory is {len(segments)} pieces, at most {SEGMENTS_MAX} can be baked")
    made = [module[:8]]
    for kind, body in sections(module):
        if kind == _MEMORY:
            made.append(section(kind, b"\x01\x00" + number(len(memory) // PAGE_BYTES)))
        elif kind == _DATA_COUNT:
            made.append(section(kind, number(len(segments))))
        elif kind == _DATA:
            pieces = [number(len(segments))]
            for offset, data in segments:
                pieces += [b"\x00\x41", signed(offset), b"\x0b", number(len(data)), data]
            made.append(section(kind, b"".join(pieces)))
        elif kind != _CUSTOM:
            made.append(section(kind, body))
    return b"".join(made)


def _segments(memory: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of a memory that are not zero, in order."""
    gap = bytes(GAP_BYTES)
    at = 0
    while at < len(memory):
        if memory[at] == 0:
            at += len(memory[at : at + 4096]) - len(memory[at : at + 4096].lstrip(b"\0"))
            continue
        end = memory.find(gap, at)
        end = len(memory) if end < 0 else end
        yield at, memory[at:end]
        at = end


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    """The sections of a module: the kind and the body of each."""
    at = 8
    while at < len(module):
        kind = module[at]
        size, start = read_number(module, at + 1)
        yield kind, module[start : start + size]
        at = start + size


def section(kind: int, body: bytes) -> bytes:
    """A section as a module has it."""
    return bytes([kind]) + number(len(body)) + body


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned LEB128 number there, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def number(value: int) -> bytes:
    """Unsigned LEB128."""
    made = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        made.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(made)


def signed(value: int) -> bytes:
    """Signed LEB128 of what is not negative."""
    made = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        if not value and not byte & 0x40:
            made.append(byte)
            return bytes(made)
        made.append(byte | 0x80)
