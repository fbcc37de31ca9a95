"""The number of items in a payload, told before it is decoded (specs/worker-protocol.md, H3)."""

from __future__ import annotations

import random
import tracemalloc

import msgspec
import pytest

from bridge.protocol.decoded_size import Oversized, check_size
from bridge.protocol.messages import parse_from_worker
from durable.core.errors import ProtocolError

_encode = msgspec.msgpack.encode


def made(draw: random.Random, depth: int) -> tuple[object, int]:
    """A random value, and how many items it has, its own among them."""
    kind = draw.randrange(9 if depth else 7)
    if kind == 0:
        return draw.choice((None, True, 0, -1, -32, 127)), 1
    if kind == 1:
        return draw.choice((200, 60_000, 2**31, 2**63, -100, -30_000, -(2**31), -(2**63))), 1
    if kind == 2:
        return draw.random(), 1
    if kind in (3, 4):
        return "x" * draw.choice((0, 1, 2, 4, 8, 31, 32, 300, 70_000)), 1
    if kind == 5:
        return b"x" * draw.choice((0, 300, 70_000)), 1
    if kind == 6:
        return msgspec.msgpack.Ext(5, b"x" * draw.choice((1, 2, 4, 8, 16, 20, 300))), 1
    inner = [made(draw, depth - 1) for _ in range(draw.choice((0, 3, 15, 16, 40)))]
    if kind == 7:
        return [value for value, _ in inner], 1 + sum(count for _, count in inner)
    return {f"k{n}": value for n, (value, _) in enumerate(inner)}, 1 + len(inner) + sum(count for _, count in inner)


@pytest.mark.parametrize("seed", range(40))
def test_every_item_counts_once(seed: int) -> None:
    value, count = made(random.Random(seed), 3)
    payload = _encode(value)
    check_size(payload, count)
    if len(payload) > count > 1:
        with pytest.raises(Oversized):
            check_size(payload, count - 1)


@pytest.mark.parametrize("size", [1_000, 1_001, 5_000])
def test_runs_of_small_items_count_too(size: int) -> None:
    items: tuple[object, ...] = (1.5, 200, 60_000, "x", [], 2**40)
    for item in items:
        payload = _encode([item] * size)
        check_size(payload, size + 1)
        if len(payload) > size + 1:
            with pytest.raises(Oversized):
                check_size(payload, size)


def test_what_is_no_msgpack_is_passed_to_the_decoder() -> None:
    check_size(b"\xc6\xff\xff\xff\xff" + b"x" * 100, 10)
    check_size(b"\xdb", 1)


def test_a_message_that_would_take_gigabytes_is_refused_before_it_does() -> None:
    fields = {"type": "namespace_reply", "id": "w1", "timestamp": 1, "request": "e1", "value": [{}] * 2**22}
    payload = _encode(fields)
    del fields
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="more than"):
        parse_from_worker(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_largest_honest_value_passes() -> None:
    from bridge.worker.namespace.values import to_json

    value = to_json({str(n): n for n in range(700_000)})  # 16 bytes an item, and the keys: just below VALUE_BYTES_MAX
    parse_from_worker(_encode({"type": "namespace_reply", "id": "w1", "timestamp": 1, "request": "e1", "value": value}))
