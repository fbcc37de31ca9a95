"""An agent killed after each of its commits: `python -m tests.integrations.kills MODULE [--every N]`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import commit_kills


def check(folder: Path) -> None:
    """What was recorded is not called again: only what was under way when the process died may be, each under the id
    that it had. A model's call was recorded when something was called after it. One question."""
    noted = Counter(commit_kills.noted(folder))
    repeated, before = commit_kills.again(folder)
    last = max((place for place, line in enumerate(before) if line.startswith("model")), default=0)
    assert set(repeated) <= set(before[last:]), (repeated, before)
    assert all(count <= 2 for count in noted.values()), noted
    assert sum(line.startswith("model") for line in repeated) <= 1, repeated
    assert len({line for line in noted if line.startswith("asked")}) <= 1, noted


def survive(module: str, folder: Path, kill_after: int) -> Any:
    """What it comes to, killed once and started again."""
    said = commit_kills.lives(module, folder, kill_after, life=commit_kills.forked)
    check(folder)
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="+", help="these kills; without a kill the result is printed")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        expected = survive(given.module, Path(folder), 0)
        count = commit_kills.commits(Path(folder))
    numbers, kills = given.only or range(1, count + 1, given.every), 0
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            assert survive(given.module, Path(folder), number) == expected, number
            kills += (Path(folder) / "killed").exists()  # commits come together or apart, so the last may not be there
    assert kills >= len(numbers) * 0.9, f"{kills} kills of {len(numbers)}"
    print(f"{kills} kills survived, of {count} commits")
    print(json.dumps(expected))


def survived(module: str, *kills: int) -> Any:
    """What a program comes to, undisturbed and killed after these commits; in a process that imports it once."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.integrations.kills", module, "--only", *map(str, kills)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
