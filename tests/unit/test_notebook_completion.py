"""Completion in a notebook while a key or an import is typed, with and without Jedi."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.worker.notebook.front_end import complete


class Table:
    def _ipython_key_completions_(self) -> list[object]:
        return ["price", "place", 3]


NAMES: dict[str, Any] = {"d": {"key": 1, "kind": 2, 3: 4}, "table": Table(), "text": "abc"}


@pytest.mark.parametrize(
    ("code", "matches", "start"),
    [
        ("d['", ["key", "kind"], 3),
        ('d["ki', ["kind"], 3),
        ("x = table['p", ["price", "place"], 11),
        ("text['", [], 6),
        ("missing['", [], 9),
        ("from json import du", ["dump", "dumps"], 17),
        ("import os\nfrom json import loads, dump", ["dump", "dumps"], 34),
    ],
)
def test_keys_and_imported_names(code: str, matches: list[str], start: int) -> None:
    found = complete(code, len(code), NAMES)
    assert (found["matches"], found["cursor_start"], found["cursor_end"]) == (matches, start, len(code))
