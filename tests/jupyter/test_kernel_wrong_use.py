"""A kernel used wrongly: its first output says what to do (specs/jupyter.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from durable.integrations.jupyter.kernelspec import kernelspec
from tests.jupyter.front_end import FrontEnd


def installed(name: str, python: str) -> None:
    """A kernelspec with another Python."""
    spec = kernelspec(None, None, name)
    spec["argv"] = [python if word == sys.executable else word for word in spec["argv"]]
    place = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "kernel.json").write_text(json.dumps(spec))


def test_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is a file, or it is no store; when that is mended the same kernel goes on."""
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("DURABLE_STORE", str(tmp_path / "file" / "state.db"))
    with FrontEnd(tmp_path, "none.ipynb") as page:
        ran = page.run("1")
        assert ran.reply["status"] == "error"
        assert str(tmp_path / "file") in ran.reply["evalue"]
        assert "\n".join(ran.reply["traceback"]).startswith(ran.reply["ename"])
        (tmp_path / "file").unlink()
        assert page.run("1").value == "1"
    (tmp_path / "text.db").write_text("this is no database " * 100)
    monkeypatch.setenv("DURABLE_STORE", str(tmp_path / "text.db"))
    with FrontEnd(tmp_path, "none.ipynb") as page:
        assert "text.db" in page.run("1").reply["evalue"]


def test_a_database_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_STORE", "postgresql://127.0.0.1:9/none")
    with FrontEnd(tmp_path, "away.ipynb") as page:
        ran = page.run("1")
        assert ran.reply["status"] == "error"
        assert "127.0.0.1" in ran.reply["evalue"]
        assert "refused" in ran.reply["evalue"]


def test_the_kernelspec_of_an_environment_that_is_gone(tmp_path: Path) -> None:
    installed("gone", python=str(tmp_path / "venv" / "bin" / "python"))
    command = [sys.executable, "-m", "jupyter", "run", "--kernel=gone", str(tmp_path / "a.py")]
    (tmp_path / "a.py").write_text("1")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    said = f"The environment of this kernel is gone: there is no {tmp_path}/venv/bin/python."
    assert said in done.stderr
    assert "durable jupyter install" in done.stderr
