"""The store against the oracle: a short stream of its own seed, and the cases that longer ones have found."""

from __future__ import annotations

import os
import random
from pathlib import Path

from .run import run

OPERATIONS = 4_000
"""About ten seconds; `python -m tests.contract.run` does more."""


async def test_the_store_answers_a_random_stream_as_the_oracle_does(tmp_path: Path) -> None:
    given = os.environ.get("CONTRACT_SEED")
    seed = int(given) if given else random.randrange(2**32)
    print(f"seed {seed}")
    await run(tmp_path, seed, OPERATIONS)


async def test_a_fixed_stream_reaches_every_kind_with_each_of_its_status_codes(tmp_path: Path) -> None:
    coverage = await run(tmp_path, 20_261_120, 10_000, every=500)
    assert coverage.missing() == []
    assert coverage.unexpected() == []
