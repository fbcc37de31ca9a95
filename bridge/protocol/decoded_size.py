"""The size of a msgpack payload once it is decoded, judged before it is (specs/worker-protocol.md, H3).

A byte of msgpack can become 72 bytes of Python: what is within its limit of bytes may not fit into memory.
"""

from __future__ import annotations

import re

from durable.core.limits import VALUE_BYTES_MAX

ITEM_BYTES = 16
"""Bytes of VALUE_BYTES_MAX that any item of a list or map costs: bounds the memory for many small ones."""

ITEMS_MAX = 2 * VALUE_BYTES_MAX // ITEM_BYTES + 10_000
"""Items of one message: keys and items of the largest value that a worker sends, and the message's own fields."""


class Oversized(ValueError):
    """The payload has more items than fit."""


def _lengths() -> tuple[tuple[int, int], ...]:
    """For each first byte of an item: bytes of its head with what follows, and how many bytes say the rest's length."""
    table = [(1, 0)] * 256
    for length in range(32):
        table[0xA0 + length] = (1 + length, 0)
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        table[first] = (1 + width, width)
    for first, width in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):
        table[first] = (2 + width, width)
    for first, size in ((0xCA, 5), (0xCB, 9), (0xCC, 2), (0xCD, 3), (0xCE, 5), (0xCF, 9)):
        table[first] = (size, 0)
    for first, size in ((0xD0, 2), (0xD1, 3), (0xD2, 5), (0xD3, 9), (0xDC, 3), (0xDD, 5), (0xDE, 3), (0xDF, 5)):
        table[first] = (size, 0)
    for step, size in enumerate((3, 4, 6, 10, 18)):
        table[0xD4 + step] = (size, 0)
    return tuple(table)


_LENGTHS = _lengths()


RUN_MAX = 1_000
_RUN = re.compile(
    rb"(?>[\x00-\xa0\xc0-\xc3\xe0-\xff]|[\xcc\xd0\xa1].|[\xcd\xd1\xa2\xdc\xde].{2}|"
    rb"[\xca\xce\xd2\xdd\xdf\xa4].{4}|[\xcb\xcf\xd3\xa8].{8}){%d}" % RUN_MAX,
    re.DOTALL,
)
"""A run of so many items of the commonest kinds: passed without Python, which takes three times as long."""


def check_size(payload: bytes | bytearray, items_max: int = ITEMS_MAX) -> None:
    """Raises Oversized for a payload with more items. Whether it is msgpack at all is the decoder's to say."""
    at = items = 0
    end = len(payload)
    if end <= items_max:
        return  # an item has at least a byte
    while at < end and items <= items_max:
        run = _RUN.match(payload, at)
        if run is not None:
            at = run.end()
            items += RUN_MAX
            continue
        at, passed = _pass(payload, at)
        items += passed
    if items > items_max:
        raise Oversized(f"more than {items_max:,} items")


def _pass(payload: bytes | bytearray, at: int) -> tuple[int, int]:
    """Where the next items end, and how many those are: any, until there may be a run again."""
    lengths, end = _LENGTHS, len(payload)
    for passed in range(RUN_MAX):
        if at >= end:
            return at, passed
        size, width = lengths[payload[at]]
        if width:
            size += int.from_bytes(payload[at + 1 : at + 1 + width], "big")
        at += size
    return at, RUN_MAX
