"""Some points of `python -m tests.e2e.sandbox_kills`, in each way in (specs/sandbox.md, R1-R6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import sandbox_kills
from tests.e2e.sandbox_kills_job import COMMAND

pytestmark = pytest.mark.usefixtures("cached")


@pytest.mark.parametrize(
    ("case", "at"),
    [
        ("javascript at once, ctx.sandbox", ["after promise.create killed.1:charge:2", "answer of refund"]),
        ("module, run", ["before promise.settle killed:refund:1", "after promise.settle killed:charge:4"]),
        (COMMAND, ["after promise.settle killed:kv:6"]),
    ],
)
def test_recorded_calls_are_performed_once(tmp_path: Path, case: str, at: list[str]) -> None:
    expected = sandbox_kills.whole(case, None)
    for point in at:
        folder = tmp_path / point.replace(" ", "-")
        folder.mkdir()
        sandbox_kills.killed(folder, case, None, expected.points.index(point) + 1, expected)
