"""The part of a notebook that has to be run, by the record of its run (specs/notebook.md, N1). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from durable.executions.states import OPEN
from durable.store.rows import ExecutionRow

_CELL_ID = re.compile(r".*@c(?P<index>\d+)(?:-(?P<attempt>\d+))?")


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A code cell: its place among those that are run, from 0, its code, whether its failure is expected."""

    index: int
    code: str
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class RunPlan:
    """`done` are the executions of the cells before `start`. `attach`: the cell at `start` has begun and goes on.

    `rewind`: the variables have to be as the cell before `start` left them; cells that count no more have run since.
    `attempts` is the number of executions of each cell so far. `cancelled` have to be ended first.
    """

    start: int
    done: tuple[ExecutionRow, ...]
    attach: ExecutionRow | None
    rewind: bool
    attempts: dict[int, int]
    cancelled: tuple[str, ...] = ()


def cell_suffix(index: int, attempt: int) -> str:
    """The id of a cell's n-th execution within its run."""
    return f"c{index}" if attempt == 1 else f"c{index}-{attempt}"


def plan(cells: Sequence[PlannedCell], rows: Iterable[ExecutionRow], first: int | None = None) -> RunPlan:
    """Where a run goes on. `first`: at this cell at the latest, whatever ran.

    A cell is done when its newest execution ended well, ran the code that the cell has now, and began after that of the
    cell before.
    """
    newest: dict[int, ExecutionRow] = {}
    row: ExecutionRow | None
    attempts: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: row.n or 0):
        found = _CELL_ID.fullmatch(row.id)
        if found is not None:
            index = int(found["index"])
            newest[index] = row
            attempts[index] = attempts.get(index, 0) + 1
    done: list[ExecutionRow] = []
    attach = None
    for cell in cells:
        row = newest.get(cell.index)
        follows = row is not None and (not done or (row.n or 0) > (done[-1].n or 0))
        if row is None or not follows or code_of_row(row) != cell.code or (first is not None and cell.index >= first):
            break
        if row.state in OPEN:
            attach = row
            break
        if row.state != "completed" and not (cell.may_fail and row.state == "failed"):
            break
        done.append(row)
    last = done[-1].n or 0 if done else 0
    later = [row for row in newest.values() if (row.n or 0) > last and row is not attach]
    cancelled = tuple(row.id for row in later if row.state in OPEN)
    return RunPlan(len(done), tuple(done), attach, bool(later) and attach is None, attempts, cancelled)


def code_of_row(row: ExecutionRow) -> str:
    """The code of a cell's execution."""
    try:
        return str(row.param["args"][0]["code"])
    except (TypeError, KeyError, IndexError):
        return ""
