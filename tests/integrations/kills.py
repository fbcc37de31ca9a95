"""An agent killed after each of its commits: `python -m tests.integrations.kills MODULE [--every N]`."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import commit_kills


def check(folder: Path) -> None:
    """No model call twice, one question. Tools that ran side by side when the process died may run once more, each
    under the id that it had."""
    noted = Counter(line for line in commit_kills.noted(folder))
    assert all(count == 1 for line, count in noted.items() if line.startswith("model")), noted
    assert all(count <= 2 for line, count in noted.items() if line.startswith("tool")), noted
    assert len({line for line in noted if line.startswith("asked")}) <= 1, noted


def survive(module: str, folder: Path, kill_after: int) -> Any:
    """What it comes to, killed once and started again."""
    said = commit_kills.lives(module, folder, kill_after)
    check(folder)
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        expected = survive(given.module, Path(folder), 0)
        count = commit_kills.commits(Path(folder))
    for number in range(1, count + 1, given.every):
        with tempfile.TemporaryDirectory() as folder:
            assert survive(given.module, Path(folder), number) == expected, number
    print(f"{len(range(1, count + 1, given.every))} kills survived, of {count} commits")


if __name__ == "__main__":
    main()
