"""`durable` as a real process, with its streams and its exit code."""

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

COMMAND = [sys.executable, "-m", "durable.cli"]


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


class Terminal:
    """A directory with a store, where commands are typed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DURABLE")}

    def durable(self, *words: str, stdin: str = "") -> Done:
        """Run a command to its end."""
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
