"""A real process with a real `__main__` namespace, to capture in one and restore in another. Not a test itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from msgspec import structs

from checkpoint.format.group_table import read_table
from checkpoint.format.payload import chunk_digest, decode_payload, encode_payload
from tests.unit.checkpoint_namespace import INTERNALS, read, write
from tests.warm_python import WarmCommand

__all__ = ["INTERNALS", "Process", "to_worker"]

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("checkpoint_namespace.py")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
MODULES = ["checkpoint.capture.forked_capture", "checkpoint.capture.incremental_capture", "checkpoint.restore"]
PYTHON = WarmCommand.of(3, MODULES, "-W", "error", environment=ENVIRONMENT)


class Process:
    """A child that runs code, captures and restores. Use it as a context manager."""

    def __init__(self, *, cwd: Path | None = None) -> None:
        self._child = subprocess.Popen(
            [PYTHON, *PYTHON.options, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=cwd,
            env=ENVIRONMENT,
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._child.kill()
        self._child.communicate()

    def _ask(self, *command: object) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        write(self._child.stdin, command)
        outcome, value = read(self._child.stdout)
        if outcome == "error":
            raise AssertionError(value)
        return value

    def run(self, code: str) -> None:
        """Execute statements in the namespace."""
        self._ask("run", code)

    def value(self, expression: str) -> Any:
        """Evaluate an expression whose value is plain data."""
        return self._ask("value", expression)

    def capture(self, execution: str = "s@1") -> tuple[bytes, bool, dict[str, tuple[str, str, str]], dict[str, str]]:
        """(payload, changed, lost: name -> type, reason, execution, rebuilt: name -> how)."""
        captured: tuple[bytes, bool, dict[str, tuple[str, str, str]], dict[str, str]] = self._ask("capture", execution)
        return captured

    def aside(self, during: str = "", *, stored: bool = True) -> tuple[str, bytes]:
        """(where it was captured: "here" or "aside", what arrived); `during` runs in between, in the parent."""
        captured: tuple[str, bytes] = self._ask("aside", during, stored)
        return captured

    def whole(self) -> bytes:
        """A payload with everything in it."""
        self._ask("forget")
        return self.capture()[0]

    def restore(self, payload: bytes, **options: Any) -> dict[str, list[Any]]:
        """Restore and prime; the report."""
        report: dict[str, list[Any]] = self._ask("restore", to_worker(payload), options)
        return report

    def restore_payload(self, payload: bytes) -> dict[str, list[Any]]:
        """Restore what is in the form that goes to a worker already; the report."""
        report: dict[str, list[Any]] = self._ask("restore", payload, {})
        return report

    def explain(self, name: str) -> str | None:
        """What the worker would add to a NameError."""
        sentence: str | None = self._ask("explain", name)
        return sentence


def to_worker(payload: bytes) -> bytes:
    """What the engine makes of a worker's whole payload: the chunks in the order of the table."""
    parsed = decode_payload(payload)
    chunks = {chunk_digest(chunk): chunk for chunk in parsed.chunks}
    table = read_table(parsed.contents, chunks.__getitem__)
    return encode_payload(structs.replace(parsed, chunks=tuple(chunks[digest] for digest in table.digests)))
