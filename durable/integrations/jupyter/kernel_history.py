"""A front end's questions about earlier cells, answered from the store's record (specs/jupyter.md, History). No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from durable.store.rows import ExecutionRow

SESSION_NUMBER_MIN = 1
"""The number of the one session that a notebook has."""

type Entry = tuple[int, int, Any]


def history(rows: Iterable[ExecutionRow], asked: dict[str, Any]) -> list[Entry]:
    """The entries that a `history_request` is answered with: session, number, code (and value)."""
    cells = [(row.n or 0, code_of(row), value_of(row)) for row in rows]
    kind = asked.get("hist_access_type", "tail")
    count = asked.get("n")
    if kind == "range":
        if int(asked.get("session") or 0) not in (0, SESSION_NUMBER_MIN):
            return []
        start, stop = int(asked.get("start") or 1), asked.get("stop")
        cells = [cell for cell in cells if cell[0] >= start and (stop is None or cell[0] < int(stop))]
    elif kind == "search":
        pattern = str(asked.get("pattern") or "*")
        cells = [cell for cell in cells if fnmatchcase(cell[1], pattern)]
        if asked.get("unique"):
            cells = list({cell[1]: cell for cell in cells}.values())
    if kind != "range" and count is not None:
        cells = cells[-int(count) :] if int(count) > 0 else []
    with_output = bool(asked.get("output"))
    return [(SESSION_NUMBER_MIN, number, [code, value] if with_output else code) for number, code, value in cells]


def code_of(row: ExecutionRow) -> str:
    """The code of a cell."""
    try:
        return str(row.param["args"][0]["code"])
    except (TypeError, KeyError, IndexError):
        return ""


def value_of(row: ExecutionRow) -> str | None:
    """The text of its value."""
    text = row.value.get("repr") if isinstance(row.value, dict) else None
    return str(text) if text else None
