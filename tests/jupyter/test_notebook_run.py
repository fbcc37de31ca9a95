"""`durable notebook run`, `export`, `sync`: a run that was cut goes on, and its file is as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.jupyter.front_end import FrontEnd

CALLS = "import os\nwith open('calls', 'a') as file: file.write('%s ')\n"


def written(directory: Path, *sources: str, name: str = "nb.ipynb", tagged: str | None = None) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if tagged is not None:
        cells.insert(0, nbformat.v4.new_code_cell(tagged, metadata={"tags": ["parameters"]}))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), directory / name)
    return directory / name


def command(directory: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "DURABLE_STORE": str(directory / "state.db")}
    return [sys.executable, "-m", "durable.cli", *words], environment


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line, environment = command(directory, *words)
    return subprocess.run(
        line, cwd=directory, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def outputs(path: Path) -> list[tuple[str, Any, Any]]:
    """The cells and outputs of a notebook, without what tells one run from another."""
    cells = json.loads(path.read_text())["cells"]
    return [(cell["source"], cell["execution_count"], cell["outputs"]) for cell in cells if cell["cell_type"] == "code"]


def test_a_failed_run_goes_on_at_its_cell_with_the_variables_from_before_it(tmp_path: Path) -> None:
    first = CALLS % "a" + "n = [1]\nn"
    notebook = written(tmp_path, first, "n.append(2)\nprint('trying')\nassert len(n) == 3", "sum(n)")
    failed = run(tmp_path, "notebook", "run", str(notebook))
    assert failed.returncode == 1
    assert "AssertionError" in failed.stderr
    assert [one["output_type"] for one in nbformat.read(tmp_path / "nb.run.ipynb", 4).cells[1].outputs] == [
        "stream",
        "error",
    ]
    written(tmp_path, first, "n.append(2)\nprint('mended')", "sum(n)")
    done = run(tmp_path, "notebook", "run", str(notebook), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["was_done"] for one in found["cells"]] == [True, False, False]
    cells = nbformat.read(tmp_path / "nb.run.ipynb", 4).cells
    assert cells[2].outputs[0]["data"]["text/plain"] == "3"
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert (tmp_path / "calls").read_text() == "a "
    again = json.loads(run(tmp_path, "notebook", "run", str(notebook), "--json").stdout)
    assert again["id"] != found["id"], "a run that has ended is followed by another one"


def test_a_notebook_that_is_not_there_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    absent = run(tmp_path, "notebook", "run", "absent.ipynb")
    assert (absent.returncode, absent.stderr) == (2, f"durable: there is no file '{tmp_path / 'absent.ipynb'}'\n")


def test_parameters_questions_errors_and_from(tmp_path: Path) -> None:
    notebook = written(tmp_path, "print(n, who)", "answer = input('sure?')\nanswer", "1 / 0", tagged="n = 1\nwho = ''")
    words = ("notebook", "run", str(notebook), "-p", "n=5", "-p", "who=ana", "-o", "out.ipynb", "--allow-errors")
    waits = run(tmp_path, *words)
    assert waits.returncode == 4, waits.stderr
    prompt = json.loads(run(tmp_path, "inbox", "--json").stdout)[0]["id"]
    assert run(tmp_path, "answer", prompt, "yes").returncode == 0
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    assert cells[1].metadata["tags"] == ["injected-parameters"]
    assert cells[2].outputs[0]["text"] == "5 ana\n"
    assert cells[3].outputs[-1]["data"]["text/plain"] == "'yes'"
    assert cells[4].outputs[0]["ename"] == "ZeroDivisionError"
    assert run(tmp_path, "notebook", "run", str(notebook), "-p", "no name").returncode == 2
    (tmp_path / "bad.ipynb").write_text("{")
    assert run(tmp_path, "notebook", "run", "bad.ipynb").returncode == 2
    steps = written(tmp_path, CALLS % "x" + "k = 1", CALLS % "y" + "k += 1\nk", name="steps.ipynb")
    for _ in range(2):
        assert run(tmp_path, "notebook", "run", str(steps), "--id", "once").returncode == 0
    assert (tmp_path / "calls").read_text() == "x y "
    assert run(tmp_path, "notebook", "run", str(steps), "--id", "once", "--from", "2").returncode == 0
    assert (tmp_path / "calls").read_text() == "x y y "
    assert nbformat.read(tmp_path / "steps.run.ipynb", 4).cells[1].outputs[0]["data"]["text/plain"] == "2"


@pytest.mark.parametrize("kills", [4])
def test_a_run_that_is_killed_shows_what_an_undisturbed_one_does(tmp_path: Path, kills: int) -> None:
    sources = ["rows = []", *(f"print('cell {at}')\nrows.append({at})\nlen(rows)" for at in range(1, 6))]
    notebook = written(tmp_path, *sources)
    assert run(tmp_path, "notebook", "run", str(notebook), "-o", "plain.ipynb", "--id", "plain").returncode == 0
    line, environment = command(tmp_path, "notebook", "run", str(notebook), "-o", "killed.ipynb", "--id", "killed")
    for kill in range(kills):
        process = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for said in process.stderr:
            if f"[{kill + 1}/6]" in said:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    assert run(tmp_path, "notebook", "run", str(notebook), "-o", "killed.ipynb", "--id", "killed").returncode == 0
    assert outputs(tmp_path / "killed.ipynb") == outputs(tmp_path / "plain.ipynb")


def test_export_and_sync_write_what_a_session_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_STORE", str(tmp_path / "state.db"))
    code = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('went on')\n6 * 7"
    notebook = written(tmp_path, code, "never run")
    with FrontEnd(tmp_path, str(notebook)) as page:
        page.submit(code)
        page.until(lambda one: one["msg_type"] == "execute_input")
        page.client.stop_channels()
        (tmp_path / "go").touch()
        session = json.loads(run(tmp_path, "session", "list", "--json").stdout)[0]["name"]
        while json.loads(run(tmp_path, "list", "--json").stdout)[0]["state"] != "completed":
            time.sleep(0.01)
    synced = run(tmp_path, "notebook", "sync", str(notebook))
    assert synced.returncode == 0, synced.stderr
    first, second = nbformat.read(notebook, 4).cells
    assert [one.get("text") or one["data"]["text/plain"] for one in first.outputs] == ["went on\n", "42"]
    assert second.outputs == []
    assert run(tmp_path, "notebook", "export", session, "-o", "all.ipynb").returncode == 0
    assert outputs(tmp_path / "all.ipynb") == [(*outputs(notebook)[0],)]
