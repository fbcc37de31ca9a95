"""Hostile modules and components, in a child: each its own error, and the process lives (specs/sandbox.md)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hostile_wasm import NAMED
from tests.warm_python import PYTHON

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    command = [PYTHON, "-m", "tests.e2e.hostile_wasm", "--mutations", "100", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def scripts() -> dict[str, Any]:
    command = [PYTHON, "-m", "tests.e2e.hostile_javascript", "--scripts", "40", "--corruptions", "60"]
    done = subprocess.run([*command, "--seed", "1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_scripts_end_with_errors_of_the_sandbox_and_nothing_is_left(scripts: dict[str, Any]) -> None:
    assert scripts["wrong"] == []
    assert (sum(scripts["scripts"].values()), scripts["lives"]) == (40, True)
    assert scripts["after"]["descriptors"] <= scripts["before"]["descriptors"]
    assert scripts["after"]["threads"] <= scripts["before"]["threads"]


@pytest.mark.parametrize("name", NAMED)
def test_each_ends_with_its_error(report: dict[str, Any], name: str) -> None:
    assert report["named"][name] == NAMED[name][1].__name__


def test_mutations_end_with_errors_of_the_sandbox_and_the_process_lives(report: dict[str, Any]) -> None:
    assert sum(report["mutations"].values()) == 100
    assert report["lives"]
