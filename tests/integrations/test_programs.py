"""The examples, and the programs of docs/integrations.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.integrations.conftest import FRAMEWORKS

PAGE = [each for each in blocks(ROOT / "docs/integrations.md") if each.language == "python"]
PROGRAMS = {
    **{path.stem: path.read_text() for path in sorted((ROOT / "examples/integrations").glob("*.py"))},
    **{each.title: each.text for each in PAGE},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DURABLE_STORE": str(tmp_path / "work.db"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "program.py").write_text(PROGRAMS[program])
    for _ in range(1 if program in {each.title for each in PAGE} else 2):  # an example has nothing left to do then
        command = [sys.executable, "-W", "ignore", "program.py"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_each_framework_has_its_tests_its_extra_and_its_section() -> None:
    modules = {path.stem for path in (ROOT / "durable/integrations").glob("*.py")} & {
        file.removeprefix("test_").removesuffix(".py") for file in FRAMEWORKS
    }
    assert len(modules) == len(FRAMEWORKS)
    project, page = (ROOT / "pyproject.toml").read_text(), (ROOT / "docs/integrations.md").read_text()
    for module in modules:
        assert f"{module.replace('_', '-')} = [" in project
        assert f"durable.integrations.{module}" in page
