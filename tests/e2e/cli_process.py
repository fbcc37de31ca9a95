"""`durable` as a real process, with its streams and its exit code.

A command that was run before is forked from a process that has imported everything (`typist`): what it imports by
itself was seen the first time, and a test pays only for what it does.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "durable.cli"]


TYPIST = [sys.executable, "-m", "tests.e2e.typist"]
ROOT = Path(__file__).parents[2]
COMMANDS = {path.stem.removesuffix("_command") for path in (ROOT / "durable/cli/commands").glob("*_command.py")}


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


class Typist:
    """The process that commands are forked from; begun when one is typed for the second time."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}
        self._known: set[str] = set()

    def type(self, directory: Path, environment: dict[str, str], words: tuple[str, ...], stdin: str) -> Done | None:
        """What it came to; None where a process of its own has to be begun."""
        command = next((word for word in words if word in COMMANDS), "")
        if command not in self._known:
            self._known.add(command)
            return None
        if not self._busy.acquire(blocking=False):
            return None
        try:
            if self._process is None:
                self._begin()
            if environment != self._environment:
                return None
            assert self._process is not None
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            request = {"cwd": str(directory), "words": words, "stdin": stdin}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return Done(**json.loads(self._process.stdout.readline()))
        finally:
            self._busy.release()

    def _begin(self) -> None:
        self._environment = ordinary()
        self._process = subprocess.Popen(
            TYPIST,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # as a command's: what it is forked with is no file
            text=True,
        )
        atexit.register(self._end)

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()


TYPED = Typist()


class Terminal:
    """A directory with a store, where commands are typed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = ordinary()

    def durable(self, *words: str, stdin: str = "") -> Done:
        """Run a command to its end."""
        if (typed := TYPED.type(self.directory, self.environment, words, stdin)) is not None:
            return typed
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command in a terminal of its own; whatever is left of it is killed at the end."""
        process = subprocess.Popen(
            [*COMMAND, *words],
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
