"""Completion in a notebook while a key or an import is typed, with and without Jedi."""

from __future__ import annotations

import signal
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
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


def test_a_cache_that_a_killed_kernel_left_broken_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jedi = pytest.importorskip("jedi")
    monkeypatch.setattr(jedi.settings, "cache_directory", str(tmp_path))
    complete("'text'.upp", 10, {})
    parso = pytest.importorskip("parso.cache")
    written = list(tmp_path.rglob("*.pkl"))
    assert written
    for file in written:
        file.write_bytes(b"")
    parso.parser_cache.clear()
    assert complete("'text'.upp", 10, {})["matches"] == ["upper"]


@pytest.mark.parametrize(("code", "matches"), [("zi", ["zip"]), ("text.upp", ["upper"])])
def test_the_namespace_answers_when_jedi_is_interrupted(
    code: str, matches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_libraries(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    jedi = ModuleType("jedi")
    jedi.__spec__ = ModuleSpec("jedi", None)
    monkeypatch.setattr(jedi, "Interpreter", read_libraries, raising=False)
    monkeypatch.setitem(sys.modules, "jedi", jedi)
    assert complete(code, len(code), NAMES)["matches"] == matches
