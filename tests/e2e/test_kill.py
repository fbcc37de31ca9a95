"""Short campaigns of real SIGKILLs; the long ones are commands (tests/e2e/campaign.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.campaign import campaign


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("job", "checkpoint", "seed"), [("function", "auto", 11), ("session", "statement", 12), ("session", "auto", 13)]
)
async def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    tmp_path: Path, place: str, job: str, checkpoint: str, seed: int
) -> None:
    happened = await campaign(tmp_path, job, 6, seed, checkpoint, place)
    assert happened["engine"] + happened["worker"] >= 4, "the seed no longer kills during the job"
