"""Killed at every write point of captures and restores: `python -m tests.e2e.kill_points [--every N] [--offset M]`.

A run without a kill counts the points that the worker, the child that captures for it and the engine pass. Then there
is a run for each of them, in which that process is killed there. What must hold: the session comes back with all its
variables as of one statement, the one that its position says; with checkpoint="statement" no statement whose checkpoint
was complete runs again; and the execution ends as it does without kills.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from tests.e2e import killing
from tests.e2e.kill_points_job import STATEMENTS
from tests.warm_python import PYTHON

ROLES = ("worker", "child", "engine")
LIVES_MAX = 4
RUN_S = 100.0


def run(folder: Path, mode: str, at: str = "") -> dict[str, list[str]]:
    """One run, the engine started again where it was killed; the points by role. AssertionError on a broken promise."""
    environment = {**os.environ, "KILLING": str(folder), "KILLING_AT": at, "PYTHONPATH": os.getcwd()}
    environment.pop("KILLING_ENGINE", None)
    journal = folder / "journal"
    command = [PYTHON, "-m", "tests.e2e.kill_points_job", str(folder / "work.db"), str(journal), mode]
    for _life in range(LIVES_MAX):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr[-3000:]
    said = json.loads(done.stdout)
    last = STATEMENTS
    assert said == {"result": [last, last, True, last, list(range(1, last + 1))], "error": ""}, said
    steps = [int(line) for line in journal.read_text().split()]
    for previous, following in pairwise(steps):
        if mode == "statement":
            assert following in (previous, previous + 1), steps
        else:
            assert following <= previous + 1, steps
    return {role: killing.passed(folder, role) for role in ROLES}


def points(mode: str) -> dict[str, list[str]]:
    """What a run without a kill passes."""
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), mode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    given = parser.parse_args()
    kills = missed = 0
    for mode in ("auto", "statement"):
        for role, names in points(mode).items():
            print(f"{mode}: the {role} passes {len(names)} points", flush=True)
            for number in range(1 + given.offset, len(names) + 1, given.every):
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        run(Path(folder), mode, f"{role}:{number}")
                    except BaseException as error:
                        print(f"{mode} {role}:{number} {names[number - 1]!r}: {error}", file=sys.stderr, flush=True)
                        raise
                    killed = (Path(folder) / "killed").exists()
                kills, missed = kills + killed, missed + (not killed)
    print(f"{kills} kills survived; {missed} runs passed fewer points than the first and saw none")


if __name__ == "__main__":
    main()
