"""The namespace outlives the kernel: killed, restarted, shared, unattended (specs/jupyter.md)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.jupyter.front_end import FrontEnd

CLASS = """class Tree:
    def __init__(self, n): self.n = n
trees = [Tree(1), Tree(2)]
import socket; line = socket.socket()"""


def cell_of(code: str) -> dict[str, object]:
    """A cell in a file that was not run."""
    return {"cell_type": "code", "source": code, "execution_count": None, "outputs": [], "metadata": {}}


def durable(*words: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "durable.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_a_killed_kernel_has_everything_back_and_says_so_first(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "trees.ipynb") as page:
        page.run(CLASS)
        page.run("count = 7")
        page.kill()
        page.again()
        ran = page.run("trees[1].n + count")
        assert ran.value == "9"
        assert ran.kinds()[0] == "display_data"
        assert "Restored:" in ran.notices
        assert "line: a socket cannot be saved" in ran.notices
        assert page.run("count").notices == ""
        assert page.run("count").reply["execution_count"] == 5


def test_a_cell_that_was_cut_goes_on_and_is_shown_with_the_next(tmp_path: Path) -> None:
    code = (
        "import durable, os, time\nprint('begins')\nfor i in durable.resumable(range(4)):\n    print('round', i)\n"
        "    open('rounds', 'a').write(f'{i} ')\n    durable.checkpoint()\n"
        "    while i == 1 and not os.path.exists('go'): time.sleep(0.01)\nlast = i"
    )
    with FrontEnd(tmp_path, "cut.ipynb") as page:
        page.submit(code)
        page.prints("round 1")
        page.kill()
        (tmp_path / "go").touch()
        page.again()
        ran = page.run("last")
        assert ran.value == "3"
        assert "This cell was cut and goes on where it was: import durable, os, time" in ran.notices
        assert "round 3" in ran.stdout
        assert (tmp_path / "rounds").read_text().split().count("0") == 1


def test_a_set_of_texts_has_the_order_that_it_had_before_the_kill(tmp_path: Path) -> None:
    """By the kernelspec: the worker is a fork of the kernel, and has its hash seed."""
    with FrontEnd(tmp_path, "sets.ipynb") as page:
        asked = (
            "import os; ([*map(hash, 'abc')], os.environ.get('PYTHONHASHSEED'), 'DURABLE_SETS_HASH_SEED' in os.environ)"
        )
        before = page.run(asked).value
        page.kill()
        page.again()
        assert page.run(asked).value == before
        assert before is not None
        assert before.endswith("None, False)")


def test_restart_empties_and_undo_brings_back(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "again.ipynb") as page:
        page.run("kept = [1, 2]")
        page.restart()
        ran = page.run("'kept' in globals()")
        assert (ran.value, ran.notices) == ("False", "")
        assert "back is what there was" in page.run("%durable undo").stdout
        assert page.run("kept").value == "[1, 2]"
        page.run("%durable undo")
        assert page.run("'kept' in globals()").value == "False"


def test_two_kernels_of_one_notebook_share_its_session(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "shared.ipynb") as first, FrontEnd(tmp_path, "shared.ipynb") as second:
        first.run("shared = 5")
        ran = second.run("shared += 1\nprint('from the second')\nshared")
        assert (ran.value, ran.stdout) == ("6", "from the second\n")
        assert f"used by another kernel too, in process {first.pid}" in ran.notices
        assert first.run("shared").value == "6"
        first.kill()
        assert second.run("shared").value == "6"


def test_what_a_closed_page_missed_is_shown_by_the_next(tmp_path: Path) -> None:
    code = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('done at last')"
    with FrontEnd(tmp_path, "missed.ipynb") as page:
        notebook = tmp_path / "missed.ipynb"
        cell = cell_of(code)
        notebook.write_text(json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))
        page.run("before = 1")
        page.submit(code)
        page.connect()
        (tmp_path / "go").touch()
        ran = page.run("2 + 2")
        assert "While this page was closed, In [2] went on: import os, time" in ran.notices
        assert (ran.stdout, ran.value) == ("done at last\n", "4")


def test_a_question_is_answered_in_the_page_or_elsewhere(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "asks.ipynb") as page:
        asked: list[str] = []

        def answer(content: dict[str, str]) -> str:
            asked.append(content["prompt"])
            return "ana"

        assert page.run("input('who? ')", answers=answer).value == "'ana'"
        assert asked == ["who?"]
        page.submit("name = input('and now? ')\nprint('got', name)")
        page.until(lambda message: message["msg_type"] == "execute_input")
        [prompt] = _prompts(tmp_path)
        durable("answer", prompt, "elsewhere", cwd=tmp_path)
        page.prints("got elsewhere")
        nobody = page.submit("input('is anybody there?')")
        _ = nobody
        [prompt] = _prompts(tmp_path)
        page.manager.interrupt_kernel()
        error = page.until(lambda message: message["msg_type"] == "error")
        assert error["content"]["ename"] == "KeyboardInterrupt"


def _prompts(directory: Path) -> list[str]:
    """The open questions, as soon as there is one."""
    while True:
        found = json.loads(durable("inbox", "--json", cwd=directory) or "[]")
        if found:
            return [one["id"] for one in found]


def test_an_interrupt_ends_the_cell_and_those_behind_it(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "stop.ipynb") as page:
        page.submit("x = 1\nprint('runs')\nwhile True: pass")
        behind = page.submit("x = 2")
        page.prints("runs")
        page.manager.interrupt_kernel()
        error = page.until(lambda message: message["msg_type"] == "error")
        assert error["content"]["ename"] == "KeyboardInterrupt"
        while True:
            reply = page.client.get_shell_msg(timeout=30)
            if reply["parent_header"]["msg_id"] == behind:
                break
        assert reply["content"]["status"] == "aborted"
        assert page.run("x").value == "1"


def test_a_worker_that_is_killed_is_restored_within_the_kernel(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "worker.ipynb") as page:
        page.run("a = 1")
        os.kill(int(page.run("import os; os.getpid()").value or 0), signal.SIGKILL)
        ran = page.run("a")
        assert ran.value == "1"
        assert "Restored:" in ran.notices


def test_threads_print_beside_cells(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "threads.ipynb") as page:
        page.run("import threading, os, time")
        page.run(
            "def late():\n    while not os.path.exists('go'): time.sleep(0.01)\n    print('late')\n"
            "threading.Thread(target=late).start()"
        )
        (tmp_path / "go").touch()
        page.prints("late")


def test_a_renamed_notebook_is_told_where_its_variables_are(tmp_path: Path) -> None:
    cell = cell_of("n = 41")
    (tmp_path / "old.ipynb").write_text(json.dumps({"cells": [cell]}))
    with FrontEnd(tmp_path, "old.ipynb") as page:
        page.run("n = 41")
    (tmp_path / "old.ipynb").rename(tmp_path / "new.ipynb")
    with FrontEnd(tmp_path, "new.ipynb") as page:
        ran = page.run("1")
        assert "`%durable attach old-" in ran.notices
        name = ran.notices.partition("`%durable attach ")[2].partition("`")[0]
        page.run(f"%durable attach {name}")
        assert page.run("n + 1").value == "42"


def test_a_store_that_cannot_be_opened_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a newer version; when it is out of the way, the same kernel goes on."""
    store = tmp_path / "state.db"
    monkeypatch.setenv("DURABLE_STORE", str(store))
    durable("session", "list", cwd=tmp_path) if store.exists() else durable("exec", "a", "1", cwd=tmp_path)
    with closing(sqlite3.connect(store)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("PRAGMA user_version = 9999")
    with FrontEnd(tmp_path, "no.ipynb") as page:
        ran = page.run("1")
        assert ran.reply["status"] == "error"
        assert ran.reply["ename"] == "StoreNewer"
        assert "9999" in ran.reply["evalue"]
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        assert page.run("1").value == "1"
