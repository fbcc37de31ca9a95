"""Some write points of `python -m tests.e2e.kill_points`: a torn write, one of a restore, one of a transaction."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import kill_points


@pytest.mark.parametrize(("mode", "at"), [("auto", "child:4"), ("statement", "worker:120"), ("statement", "engine:90")])
def test_the_session_comes_back_as_of_one_statement(tmp_path: Path, mode: str, at: str) -> None:
    kill_points.run(tmp_path, mode, at)
    assert (tmp_path / "killed").exists()
