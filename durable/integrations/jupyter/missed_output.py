"""The output that a front end cannot have shown: of cells that ended while its page was closed (specs/jupyter.md)."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable.core.frozen_record import FrozenRecord
from durable.integrations.jupyter.kernel_history import code_of
from durable.integrations.jupyter.kernel_wire import KernelMessage
from durable.integrations.jupyter.notebook_name import is_set_aside, notebook_path

if TYPE_CHECKING:
    from durable.integrations.jupyter.notebook_session import NotebookSession

CELLS_KEPT = 100
"""Cells of this kernel that are remembered."""

SESSIONS_MAX = 100
"""Sessions that are looked at for one whose notebook has moved."""


class _Ran(FrozenRecord, frozen=True):
    execution: str
    client: str
    number: int
    code: str
    ended_at: float


class MissedOutput:
    """Cells by the front end that asked for them; what of them is not in the notebook's file was missed."""

    def __init__(self, notebook: str | None, directory: Path) -> None:
        self._path = None if notebook is None else notebook_path(notebook, directory)
        self._ran: deque[_Ran] = deque(maxlen=CELLS_KEPT)
        self._client = ""

    def ran(self, execution: str, message: KernelMessage, number: int, code: str) -> None:
        """A cell ended."""
        self._ran.append(_Ran(execution, _client(message), number, code, time.monotonic()))

    def is_known(self, message: KernelMessage) -> bool:
        """Whether the front end behind a message is that of the cell before it, so that it has missed nothing."""
        return self._client == _client(message)

    def of(self, message: KernelMessage) -> list[tuple[str, int, str]]:
        """The executions, numbers and codes that the front end behind a message does not show, oldest first."""
        client, before = _client(message), self._client
        self._client = client
        if not before or client == before or self._path is None:
            return []
        shown = {(cell.get("execution_count"), source_of(cell)) for cell in cells_of(self._path)}
        found = [ran for ran in self._ran if ran.client == before and (ran.number, ran.code) not in shown]
        self._ran.clear()
        return [(ran.execution, ran.number, ran.code) for ran in found]

    async def moved_from(self, notebook: NotebookSession) -> str | None:
        """A session of the store that ran the code of this notebook's cells, and is no other notebook's."""
        if self._path is None:
            return None
        sources = {source_of(cell) for cell in cells_of(self._path)} - {""}
        if not sources:
            return None
        names = _sessions_of_notebooks(self._path.parent)
        reads = notebook.engine.store.reads
        rows = sorted(await reads.sessions(), key=lambda row: -row.created_at)[:SESSIONS_MAX]
        for row in rows:
            aside = any(is_set_aside(row.name, other.name) for other in rows)
            if row.closed or row.name in names or row.name == notebook.name or aside:
                continue
            ran = {code_of(cell) for cell in await reads.list_executions(session=row.name, limit=CELLS_KEPT)}
            if len(ran & sources) * 2 > len(sources):
                return row.name
        return None


def _client(message: KernelMessage) -> str:
    return str(message.header.get("session", ""))


def _sessions_of_notebooks(directory: Path) -> set[str]:
    from durable.integrations.jupyter.notebook_name import session_name

    return {session_name(path.name, directory) for path in directory.glob("*.ipynb")}


def cells_of(path: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook's file; none where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [cell for cell in found["cells"] if cell.get("cell_type") == "code"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def source_of(cell: dict[str, Any]) -> str:
    """The code of a cell in a file."""
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)
