"""Programs that are killed after a commit of their choice, and started again until they end.

A program calls `arm()` before it opens its engine, and `note` for what it does outside; `lives` runs it. A kill comes
just after the commit, so what the commit recorded is there, and nothing that follows has happened.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.warm_python import PYTHON

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
            (folder / "killed").write_text(str(len(noted(folder))))
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


type Life = Callable[[str, dict[str, str], Sequence[str]], tuple[int, str, str]]
"""Runs a program to its end: its exit code, as `subprocess` gives it, and what it printed."""


def started(module: str, environment: dict[str, str], arguments: Sequence[str]) -> tuple[int, str, str]:
    """In a new interpreter."""
    command = [PYTHON, "-m", module, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout, done.stderr


def forked(module: str, environment: dict[str, str], _: Sequence[str] = ()) -> tuple[int, str, str]:
    """In a fork of this process, which has imported the program: for campaigns, whose imports take most of the time."""
    program = importlib.import_module(module)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if not pid:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.update(environment)
            try:
                asyncio.run(program.main())
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, *(file.seek(0) or file.read() for file in (out, err))  # type: ignore[return-value]


def again(folder: Path) -> tuple[list[str], list[str]]:
    """What was said more than once, and what was said before the kill."""
    said, killed = noted(folder), folder / "killed"
    before = said[: int(killed.read_text())] if killed.exists() else said
    return [line for line in before if said.count(line) > 1], before


def lives(module: str, folder: Path, kill_after: int = 0, *arguments: str, life: Life = started) -> Any:
    """Run a program until it ends; the JSON that it printed last."""
    environment = {**os.environ, FOLDER: str(folder), KILL: str(kill_after), "PYTHONPATH": os.getcwd()}
    for _ in range(LIVES_MAX):
        code, out, err = life(module, environment, arguments)
        if code == 0:
            return json.loads(out.splitlines()[-1])
        assert code == -signal.SIGKILL, err[-3_000:]
    raise AssertionError("it was killed more than once")


def commits(folder: Path) -> int:
    """How many commits a run without a kill made."""
    return int((folder / "commits").read_text())
