"""The journal of a run, outside of the engine: one JSON line for each effect, decision, line of the log and outcome.

The file is opened with O_APPEND and each line is one write, so what was written before SIGKILL is there after it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines to a file; each says in which life it was written."""

    def __init__(self, path: Path, life: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._life = life

    def write(self, kind: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, "life": self._life, **values}, default=repr)
        os.write(self._file, f"{line}\n".encode())


CANCEL = "cancel"
"""How the key of the decision begins that cancels the execution."""


@dataclass
class Told:
    """A journal, read."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> Told:
        return Told([json.loads(line) for line in path.read_text().splitlines()] if path.exists() else [])

    def of(self, kind: str, life: int | None = None) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind and life in (None, line["life"])]

    def cancelled(self) -> int | None:
        """Which decision cancelled the execution, from 0; None when none did."""
        keys = (line["key"] for line in self.of("decision"))
        return next((n for n, key in enumerate(keys) if key.partition(" ")[0] == CANCEL), None)

    def outcome(self) -> Any:
        """How the last life ended, None when it was killed."""
        found = self.of("outcome")
        return found[-1]["outcome"] if found and found[-1]["life"] == self.lines[-1]["life"] else None
