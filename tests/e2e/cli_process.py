"""`durable` as a real process, with its streams and its exit code.

A command that was run before is forked from a process that has imported everything (`tests.warm_python`): what it
imports by itself was seen the first time, and a test pays only for what it does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.warm_python import PYTHON, ROOT

COMMAND = [PYTHON, "-m", "durable.cli"]
COMMANDS = {path.stem.removesuffix("_command") for path in (ROOT / "durable/cli/commands").glob("*_command.py")}

_begun: set[str] = set()
"""The commands that this process has started an interpreter for."""


def command_line(words: tuple[str, ...]) -> list[str]:
    """The words of a process for a command: with an interpreter of its own when it is the first of its kind."""
    command = next((word for word in words if word in COMMANDS), "")
    first = command not in _begun
    _begun.add(command)
    return [sys.executable if first else PYTHON, *COMMAND[1:], *words]


@dataclass(frozen=True)
class Done:
    """A process that ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)

    def failed(self, code: int, *parts: str) -> None:
        """It ended with that code, said these things in our way, and showed no traceback of ours."""
        assert self.code == code, self
        assert "durable: " in self.err, self
        for part in parts:
            assert part in self.err, self
        assert "/durable/" not in self.err.replace("/durable/cli/__main__", ""), self
        assert "Traceback" not in self.err, self


def ordinary() -> dict[str, str]:
    """The environment of commands, but for what a test changes in it."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("DURABLE", "PYTEST_CURRENT"))}


class Terminal:
    """A directory with a store, where commands are typed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = ordinary()

    def durable(self, *words: str, stdin: str = "") -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            command_line(words),
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *words: str, python: str = PYTHON) -> Iterator[subprocess.Popen[str]]:
        """A command in a terminal of its own; whatever is left of it is killed at the end."""
        process = subprocess.Popen(
            [python, *COMMAND[1:], *words],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def write(self, name: str, text: str) -> Path:
        """A file of the user's."""
        path = self.directory / name
        path.write_text(text)
        return path

    def lines(self, name: str) -> list[str]:
        """The lines of a file that user code wrote; none when there is no such file yet."""
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """The lines of stdout up to the one that holds `text`; fails when the process ends before."""
    assert process.stdout is not None
    seen = ""
    while text not in seen:
        line = process.stdout.readline()
        assert line, f"it ended without {text!r}: {seen}"
        seen += line
    return seen


def read_errors_until(process: subprocess.Popen[str], text: str) -> str:
    """The same for stderr."""
    assert process.stderr is not None
    seen = ""
    while text not in seen:
        line = process.stderr.readline()
        assert line, f"it ended without {text!r}: {seen}"
        seen += line
    return seen
