"""A session's cells as a notebook, and a notebook's file brought up to date with its session (specs/notebook.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from durable.engine.engine import Engine
from durable.integrations.notebook.cell_outputs import NotebookOutputs
from durable.integrations.notebook.notebook_file import Notebook, is_run, new_notebook
from durable.integrations.notebook.notebook_run import rows_of, write_outputs
from durable.integrations.notebook.run_plan import code_of_row
from durable.store.rows import ExecutionRow


async def exported(engine: Engine, session: str) -> Notebook:
    """A notebook with every cell of a session, in order, and what it showed."""
    import nbformat

    outputs, cells = NotebookOutputs(), []
    for count, row in enumerate(sorted(await rows_of(engine.store.reads, session), key=lambda row: row.n or 0), 1):
        cell = nbformat.v4.new_code_cell(source=code_of_row(row), execution_count=count)
        cells.append(cell)
        outputs.begin(cell)
        await write_outputs(engine, row, outputs, count, cell.source)
    return new_notebook(cells)


def matched(cells: Sequence[Any], rows: Sequence[ExecutionRow]) -> list[tuple[Any, int, ExecutionRow]]:
    """For each code cell the newest execution of its code, with its number; equal cells take the newest in order."""
    by_code: dict[str, list[tuple[int, ExecutionRow]]] = defaultdict(list)
    for count, row in enumerate(sorted(rows, key=lambda row: row.n or 0), 1):
        by_code[code_of_row(row)].append((count, row))
    found = []
    for cell in reversed([cell for cell in cells if is_run(cell)]):
        if by_code[cell.source]:
            found.append((cell, *by_code[cell.source].pop()))
    return found[::-1]


async def synced(engine: Engine, session: str, notebook: Notebook) -> int:
    """Write what cells have shown in the session into the notebook; how many of its cells changed."""
    changed = 0
    outputs = NotebookOutputs()
    for cell, count, row in matched(notebook.cells, await rows_of(engine.store.reads, session)):
        before = (cell.outputs, cell.execution_count)
        outputs.begin(cell)
        await write_outputs(engine, row, outputs, count, cell.source)
        cell.execution_count = count
        changed += before != (cell.outputs, cell.execution_count)
    return changed
