"""Short takeover campaigns; the long ones are commands (tests/e2e/takeover.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.takeover import jobs, sessions


@pytest.mark.timeout(120)
async def test_two_engines_run_each_job_once(tmp_path: Path) -> None:
    await jobs(tmp_path, count=200, seconds=0, seed=1)


@pytest.mark.timeout(120)
async def test_jobs_whose_engines_are_killed_are_settled_once_and_recorded_steps_not_performed_again(
    tmp_path: Path,
) -> None:
    happened = await jobs(tmp_path, count=60, seconds=4, seed=2)
    assert happened["kills"] >= 1


@pytest.mark.timeout(180)
async def test_sessions_whose_owners_are_killed_run_in_one_worker_at_a_time_and_lose_nothing(tmp_path: Path) -> None:
    happened = await sessions(tmp_path, desks=5, cells=4, seconds=5, seed=3)
    assert happened["killed"] >= 1
