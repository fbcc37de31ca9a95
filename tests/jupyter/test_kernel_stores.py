"""The kernel on each kind of store, and with its worker held apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jupyter.front_end import FrontEnd


def test_a_notebook_lives_on_in_any_store(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, `durable serve`, PostgreSQL: killed and restored, asked, emptied and brought back."""
    monkeypatch.setenv("DURABLE_STORE", place)
    with FrontEnd(tmp_path, "any.ipynb") as page:
        ran = page.run("class Tree: pass\ntree = Tree()\ntree.n = 3\nprint('out')\ntree.n")
        assert (ran.stdout, ran.value) == ("out\n", "3")
        assert page.run("name = input('who? ')\nname", answers=lambda _: "ana").value == "'ana'"
        page.kill()
        page.again()
        ran = page.run("tree.n, name")
        assert ran.value == "(3, 'ana')"
        assert "Restored:" in ran.notices
        page.restart()
        assert page.run("'tree' in globals()").value == "False"
        assert "back is what there was" in page.run("%durable undo").stdout
        assert page.run("tree.n").value == "3"


def test_an_isolated_notebook_reaches_nothing_and_lives_on(tmp_path: Path) -> None:
    command = ["jupyter", "install", "--user", "--name", "apart", "--profile", "isolated"]
    subprocess.run([sys.executable, "-m", "durable.cli", *command], check=True, capture_output=True)
    with FrontEnd(tmp_path, "apart.ipynb", kernel="apart") as page:
        code = "import socket\ntry: socket.create_connection(('127.0.0.1', 9)); got = 'through'\n"
        ran = page.run(code + "except OSError as error: got = type(error).__name__\ngot")
        assert ran.value != "'through'"
        assert page.run("import os\nsorted(name for name in os.environ if name.startswith('JUPYTER'))").value == "[]"
        page.run("kept = {'n': 1}")
        page.kill()
        page.again()
        assert page.run("kept").value == "{'n': 1}"
