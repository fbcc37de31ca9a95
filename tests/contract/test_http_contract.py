"""The served store against the oracle: a foreign client's envelopes, and our own client's batches."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .compare import Opening, compare, replay
from .served import http_opening, remote_opening
from .stream import SEGMENT
from .test_oracle_store import ONCE_DIFFERENT

OPERATIONS = 2_500


@pytest.mark.parametrize(("way", "burst"), [(http_opening, 1), (remote_opening, 8)], ids=["envelopes", "batches"])
async def test_a_served_store_answers_and_pushes_as_the_oracle_does(tmp_path: Path, way: object, burst: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    opening: Opening = way(tmp_path)  # type: ignore[operator]
    await compare(opening, seed, OPERATIONS, 25, burst=burst)


async def test_no_message_is_lost_between_two_streams_of_one_client(tmp_path: Path) -> None:
    opening = remote_opening(tmp_path, stream_s=0.02)
    for _ in range(3):
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        # No reset within: what waits for the next stream would come after it, from a store that is no more.
        await compare(opening, seed, SEGMENT - 1, 25, burst=8)


@pytest.mark.parametrize("way", [http_opening, remote_opening], ids=["envelopes", "batches"])
async def test_what_once_differed_is_equal_over_http_too(tmp_path: Path, way: object) -> None:
    opening: Opening = way(tmp_path)  # type: ignore[operator]
    for name, operations in ONCE_DIFFERENT.items():
        assert await replay(opening, operations) is None, name
