"""Short versions of the corpora that are commands: values by kind, and docstring examples as sessions."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.e2e.doctest_corpus import Corpus, Docstring
from tests.e2e.value_corpus import run
from tests.value_expressions import GROUPS

SAMPLE = ("plain", "enums", "classes", "builtins", "numpy")


@pytest.mark.parametrize("name", SAMPLE)
def test_values_come_back_equal_or_are_reported(name: str) -> None:
    rows = run(next(group for group in GROUPS if group.name == name))
    assert [row for row in rows if row.outcome not in ("equal", "reported")] == []
    assert sum(row.outcome == "equal" for row in rows) > 30


@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["killed", "parked", "engine killed"])
def test_examples_say_the_same_when_they_are_cut_off(way: str, tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, random.Random(1), 30, verbose=False)
    docstrings = corpus.collected("heapq", 20) + corpus.collected("textwrap", 20) + corpus.collected("reprlib", 20)
    assert sum(docstring.counted for docstring in docstrings) > 5
    corpus.run("stdlib", docstrings, [way])
    assert [str(difference) for difference in corpus.found] == []
    assert corpus.counts[way, "restores"] > 3


def test_a_difference_is_silent_unless_the_report_names_what_is_used(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, random.Random(1), 30, verbose=False)
    lost = Docstring(
        "stdlib", "lost", ["g = (i for i in [1, 2])\n", "def f(): return next(g)\n", "f()\n"], ["", "", "1"]
    )
    silent = Docstring("stdlib", "silent", ["import os\n", "first = os.getpid()\n", "first == os.getpid()\n"])
    silent.expected = ["", "", "True"]
    corpus.run("stdlib", [lost, silent], ["killed"])
    assert [(found.docstring.name, found.what) for found in corpus.found] == [("lost", "named"), ("silent", "SILENT")]
