"""A short load; the long one is a command (tests/e2e/mixed_load.py)."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.mixed_load import mixed_load


async def test_floods_kills_and_interrupts_leave_nothing_behind(tmp_path: Path) -> None:
    seen, happened = await mixed_load(tmp_path, seconds=0, sessions=4, seed=7)
    assert len(seen) >= 4
    assert {"kill", "interrupt", "flood", "cancel"} <= happened.keys()
