"""A handful of the ordinary notebooks, under a kernel that is killed after every third cell, as under ipykernel."""

from __future__ import annotations

from pathlib import Path

from tests.jupyter.ordinary_notebooks import compared, notebooks

CHOSEN = ("displays", "own representations", "errors", "functions and closures", "classes and inheritance", "magics")


def test_killed_over_and_over_it_shows_the_same(tmp_path: Path) -> None:
    chosen = [notebook for notebook in notebooks() if notebook.name in CHOSEN]
    assert len(chosen) == len(CHOSEN)
    assert compared(chosen, tmp_path, kill_every=3) == []
