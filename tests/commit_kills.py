"""Programs that are killed after a commit of their choice, and started again until they end.

A program calls `arm()` before it opens its engine, and `note` for what it does outside; `lives` runs it. A kill comes
just after the commit, so what the commit recorded is there, and nothing that follows has happened.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

KILL = "KILL_AFTER_COMMIT"
FOLDER = "KILL_FOLDER"
LIVES_MAX = 4


def arm() -> None:
    """Count this process's commits; die after the one that the environment names, once."""
    from durable.store.sqlite.store import Store

    folder, wanted, seen = Path(os.environ[FOLDER]), int(os.environ.get(KILL, "0")), 0

    def fault(when: str, sql: str) -> None:
        nonlocal seen
        if when != "after" or not sql.upper().startswith("COMMIT"):
            return
        seen += 1
        if seen == wanted and not (folder / "killed").exists():
            (folder / "killed").write_text(str(seen))
            os.kill(os.getpid(), signal.SIGKILL)
        if not wanted:
            (folder / "commits").write_text(str(seen))

    Store.open = partial(Store.open, fault=fault)  # type: ignore[method-assign]


def note(text: str) -> None:
    """Say that something was done outside of the engine: it stays said."""
    descriptor = os.open(Path(os.environ[FOLDER]) / "noted", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def noted(folder: Path) -> list[str]:
    """What was said, in order."""
    path = folder / "noted"
    return path.read_text().splitlines() if path.exists() else []


def lives(module: str, folder: Path, kill_after: int = 0, *arguments: str) -> Any:
    """Run a program until it ends; the JSON that it printed last."""
    environment = {**os.environ, FOLDER: str(folder), KILL: str(kill_after), "PYTHONPATH": os.getcwd()}
    for _ in range(LIVES_MAX):
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == -signal.SIGKILL, done.stderr[-3_000:]
    raise AssertionError("it was killed more than once")


def commits(folder: Path) -> int:
    """How many commits a run without a kill made."""
    return int((folder / "commits").read_text())
