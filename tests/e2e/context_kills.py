"""An agent with a bounded context, killed after each commit: `python -m tests.e2e.context_kills [--every N]`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests import commit_kills
from tests.e2e.test_context_window import JOB, check_job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    with tempfile.TemporaryDirectory() as folder:
        check_job(Path(folder), commit_kills.lives(JOB, Path(folder)))
        count = commit_kills.commits(Path(folder))
    for number in range(1, count + 1, every):
        with tempfile.TemporaryDirectory() as folder:
            check_job(Path(folder), commit_kills.lives(JOB, Path(folder), number))
    print(f"{len(range(1, count + 1, every))} kills survived, of {count} commits")


if __name__ == "__main__":
    main()
