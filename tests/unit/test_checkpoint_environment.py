"""Which packages a namespace comes from, and when another environment is too different."""

from __future__ import annotations

import collections
import types

import cloudpickle
import numpy as np
import pytest

from checkpoint.format import package_versions
from checkpoint.format.package_versions import differences, packages
from checkpoint.format.payload import PYTHON, Contents


class Own:
    pass


@pytest.mark.parametrize(
    "value",
    [np.arange(2), np, np.linalg, np.float64, np.array, np.float64(1)],
    ids=lambda value: type(value).__name__,
)
def test_whatever_comes_from_a_package_names_it(value: object) -> None:
    assert packages({"x": value}) == {"numpy": np.__version__}


def test_what_is_python_s_or_ours_or_says_no_version_is_not_recorded() -> None:
    plain = types.ModuleType("nowhere_installed")
    assert packages({"a": 1, "b": collections, "c": print, "d": package_versions, "e": plain, "f": [np]}) == {}
    assert packages({"a": Own(), "b": cloudpickle}).keys() >= {"cloudpickle"}


@pytest.mark.parametrize(
    ("there", "here", "alike"),
    [
        ("2.1.0", "2.9", True), ("2.1", "3.0", False), ("0.4.1", "0.4.9", True), ("0.4", "0.5", False),
        ("0.0.3", "0.0.4", False), ("2.0rc1", "2.1.dev0", True), ("main", "main", True), ("1!2.0", "1.0", True),
        ("3.2", "", False),
    ],
)  # fmt: skip
def test_how_much_a_version_may_differ(there: str, here: str, alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(package_versions._versions, "package", here)
    found = differences(Contents(PYTHON, (), packages={"package": there}))
    assert (found == []) is alike
    assert all(there in text for text in found)


def test_another_python_is_named() -> None:
    assert differences(Contents("3.1", ())) == [f"Python 3.1, here {PYTHON}"]
