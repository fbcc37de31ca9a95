"""`durable notebook run` killed over and over, by seed: its file is as that of an undisturbed run.

    python -m tests.jupyter.notebook_campaign [--cells 40] [--kills 60] [--seed 7]

Killed is the command or, every third time, the worker under it, a random moment after a cell of its report.

Calls are checked exactly, as specs/capability.md has them (C1, C2): each is recorded once, with the right answer. It is
performed only while its promise is there and has no answer; one that is performed again is so under the same id, which
is its idempotency key, after a kill between the effect and its record.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import psutil

CAPABILITIES = '''import os, sqlite3
from contextlib import closing
import durable

@durable.capability
def note(cell: int) -> int:
    """Noted outside, as effects are, with what the store has of the call as it is performed."""
    with closing(sqlite3.connect(os.environ["DURABLE_STORE"], timeout=20)) as store:
        [state] = store.execute("SELECT state FROM promises WHERE id = ?", (durable.call_id(),)).fetchone()
    with open({log!r}, "a") as log:
        log.write(f"{{cell}} {{durable.call_id()}} {{state}}\\n")
    return cell * 10
'''


def written(directory: Path, cells: int) -> Path:
    sources = ["import time\nrows = []"]
    body = "time.sleep(0.05)\nrows.append(got)\nprint(len(rows))\nsum(rows)"
    sources += [f"got = note({at})\n{body}" for at in range(1, cells)]
    nodes = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=nodes), directory / "nb.ipynb")
    (directory / "caps.py").write_text(CAPABILITIES.format(log=str(directory / "log")))
    return directory / "nb.ipynb"


def command(notebook: Path, output: str, name: str) -> list[str]:
    words = [
        "notebook",
        "run",
        str(notebook),
        "-o",
        output,
        "--id",
        name,
        "--capabilities",
        "caps.py",
        "--grant",
        "note",
    ]
    return [sys.executable, "-m", "durable.cli", *words]


def outputs(path: Path) -> list[Any]:
    return [(cell["source"], cell["outputs"]) for cell in json.loads(path.read_text())["cells"]]


def killed(line: list[str], directory: Path, chance: random.Random, *, worker: bool) -> int | None:
    """Run until a random moment after some of its cells; the exit code where it came to its end before that."""
    cells = chance.choice((0, 0, 0, 0, 1))
    process = subprocess.Popen(
        line, cwd=directory, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment(directory)
    )
    assert process.stderr is not None
    seen = -1
    for said in process.stderr:
        seen += "runs as" in said or " completed in " in said
        if seen == cells:
            break
    else:
        return process.wait()
    drained = threading.Thread(target=process.stderr.read, daemon=True)
    drained.start()
    time.sleep(chance.uniform(0, 0.2))
    if process.poll() is not None:
        return process.returncode
    if worker:
        children = psutil.Process(process.pid).children(recursive=True)
        if children:
            chance.choice(children).kill()
        try:
            return process.wait(chance.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    return None


def environment(directory: Path) -> dict[str, str]:
    return {**os.environ, "DURABLE_STORE": str(directory / "state.db")}


def check_calls(directory: Path, cells: int, about: str) -> int:
    """How many calls were performed again. AssertionError where a call is not as the contract has it."""
    performed: dict[int, list[list[str]]] = {}
    for line in (directory / "log").read_text().splitlines():
        cell, *rest = line.split()
        performed.setdefault(int(cell), []).append(rest)
    with closing(sqlite3.connect(directory / "state.db")) as store:
        recorded = store.execute("SELECT id, state FROM promises WHERE id LIKE 'exec:run@%:note:%'").fetchall()
    assert set(performed) == set(range(1, cells)), f"{about}: calls of cells {sorted(performed)}"
    ids = {cell: {id for id, _ in times} for cell, times in performed.items()}
    assert all(len(found) == 1 for found in ids.values()), f"{about}: a call under several ids: {ids}"
    assert all(state == "pending" for times in performed.values() for _, state in times), f"{about}: {performed}"
    assert sorted(recorded) == sorted((id, "resolved") for found in ids.values() for id in found), (about, recorded)
    return sum(len(times) - 1 for times in performed.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        notebook = written(directory, options.cells)
        plain = command(notebook, "plain.ipynb", "plain")
        subprocess.run(plain, cwd=directory, env=environment(directory), check=True, capture_output=True)
        (directory / "log").unlink()
        kills = 0
        code = None
        for kills in range(1, options.kills + 1):
            code = killed(command(notebook, "out.ipynb", "run"), directory, chance, worker=kills % 3 == 0)
            if code == 0:
                break
        if code != 0:
            subprocess.run(command(notebook, "out.ipynb", "run"), cwd=directory, env=environment(directory), check=True)
        assert outputs(directory / "out.ipynb") == outputs(directory / "plain.ipynb"), f"seed {options.seed}"
        again = check_calls(directory, options.cells, f"seed {options.seed}")
        print(
            f"{kills} kills, {options.cells} cells: outputs equal, each call recorded once; cut before their record"
            f" and performed again under the same id: {again}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
