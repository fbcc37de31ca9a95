"""`durable notebook run`: each code cell an execution of one session, which is the run (specs/notebook.md)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.host.proc_vitals import memory_now
from durable.core.errors import BadArguments, ExecutionError, NotFound
from durable.engine.engine import Engine
from durable.executions.states import PROMISE_OF, SETTLED
from durable.functions.failures import read_document, rebuild
from durable.integrations.jupyter.cell_output import CellOutput
from durable.integrations.jupyter.code_checks import hides_result
from durable.integrations.jupyter.notebook_name import session_name
from durable.integrations.notebook.cell_outputs import NotebookOutputs
from durable.integrations.notebook.notebook_file import Notebook, is_run, tags_of, write_notebook
from durable.integrations.notebook.run_plan import PlannedCell, RunPlan, cell_suffix, plan
from durable.sessions.output.follow import LiveReader
from durable.sessions.output.live_output import Rewound
from durable.sessions.session import Session
from durable.store.port import ReadsFace
from durable.store.rows import ExecutionRow

ROWS_MAX = 100_000
"""Executions of one run: its cells, and their attempts."""

LABEL = "cell-{}"
"""The label of the checkpoint that a cell left, by its place from 0."""


@dataclass(slots=True)
class CellReport:
    """A cell that has run: `seconds` of its code, without waiting, `memory` of its worker afterwards in bytes."""

    index: int
    execution: str
    state: str
    seconds: float
    memory: int | None = None
    was_done: bool = False


@dataclass(slots=True)
class NotebookRun:
    """One run of a notebook. `follow` shows an execution until it ends or waits, and returns its row."""

    engine: Engine
    session: Session
    notebook: Notebook
    output: Path | None
    follow: Callable[[str], Any]
    tell: Callable[[CellReport, str], None]
    allow_errors: bool = False
    reports: list[CellReport] = field(default_factory=list)
    _outputs: NotebookOutputs = field(default_factory=NotebookOutputs)

    def cells(self) -> list[tuple[PlannedCell, Any]]:
        """The cells to run, each with its node of the notebook."""
        nodes = [node for node in self.notebook.cells if is_run(node)]
        return [
            (PlannedCell(at, node.source, self.allow_errors or "raises-exception" in tags_of(node)), node)
            for at, node in enumerate(nodes)
        ]

    async def run(self, first: int | None = None) -> ExecutionRow | None:
        """Run what has to be run. The row of the cell that failed, or that waits (not settled); None when all ran."""
        cells = self.cells()
        if first is not None and not 0 <= first < len(cells):
            raise BadArguments(f"there is no cell {first + 1}: the notebook has {len(cells)} cells with code")
        todo = plan([cell for cell, _ in cells], await rows_of(self.engine.store.reads, self.session.name), first)
        if first is not None and first > len(todo.done):
            raise BadArguments(f"cell {len(todo.done) + 1} has not run; a run cannot begin after it")
        for node in self.notebook.cells:
            if node.cell_type == "code":
                node.outputs, node.execution_count = [], None
        await self._prepare(todo)
        for (cell, node), row in zip(cells, todo.done, strict=False):
            await self._record(cell, node, row, was_done=True)
        for cell, node in cells[todo.start :]:
            row = await self._run(cell, todo)
            await self._record(cell, node, row, was_done=False)
            if row.state not in SETTLED or (row.state != "completed" and not (cell.may_fail and row.state == "failed")):
                return row
            await self._label(cell, row)
        return None

    async def _prepare(self, todo: RunPlan) -> None:
        """End what counts no more, and bring the variables to where the run goes on."""
        for execution in todo.cancelled:
            await self.engine.cancel(execution, "its notebook was changed")
        if not todo.rewind:
            return
        if todo.start == 0:
            await self.session.close()
            self.session = await self.engine.session(self.session.name)
            return
        label = LABEL.format(todo.start - 1)
        try:
            await self.session.restore(label, clear_existing=True)
        except NotFound:
            raise BadArguments(
                f"the variables that cell {todo.start} left were not saved; begin another run: --id NEW, or --from 1"
            ) from None

    async def _run(self, cell: PlannedCell, todo: RunPlan) -> ExecutionRow:
        if todo.attach is not None and cell.index == todo.start:
            execution = todo.attach.id
        else:
            suffix = cell_suffix(cell.index, todo.attempts.get(cell.index, 0) + 1)
            execution = (await self.session.submit(cell.code, id=suffix)).id
        row: ExecutionRow = await self.follow(execution)
        return row

    async def _label(self, cell: PlannedCell, row: ExecutionRow) -> None:
        label = LABEL.format(cell.index)
        known = await self.session.checkpoints()
        for one in known:
            if one.label == label and one.execution.removeprefix("exec:") != row.id:
                await self.session.label(one.id, None)
        mine = [one for one in known if one.execution.removeprefix("exec:") == row.id and one.final]
        if mine:
            await self.session.label(mine[-1].id, label)

    async def _record(self, cell: PlannedCell, node: Any, row: ExecutionRow, *, was_done: bool) -> None:
        """Write what a cell has shown into the notebook, and that to its file."""
        node.execution_count = cell.index + 1
        self._outputs.begin(node)
        await write_outputs(self.engine, row, self._outputs, cell.index + 1, cell.code)
        report = CellReport(cell.index, row.id, row.state, seconds_of(row), None, was_done)
        if not was_done:
            report.memory = await self._memory()
        node.metadata["durable"] = {"execution": row.id, "seconds": round(report.seconds, 3), "memory": report.memory}
        self.reports.append(report)
        self.tell(report, cell.code)
        if self.output is not None and not was_done:
            write_notebook(self.notebook, self.output)

    async def _memory(self) -> int | None:
        record = (await self.engine.store.request("session.get", {"session": self.session.name})).data
        worker = record.get("worker")
        return None if worker is None else memory_now(int(worker["pid"]))


async def write_outputs(engine: Engine, row: ExecutionRow, outputs: NotebookOutputs, count: int, code: str) -> None:
    """The stored output of an execution, its value or error, as outputs of the cell that `outputs` is at."""
    cell = CellOutput(outputs.take, execution_count=count, hides_result=hides_result(code))
    async for event in LiveReader(engine, row.id).look():
        if not isinstance(event, Rewound):
            cell.add(event)
    cell.flush()
    if row.state == "completed":
        cell.result(str(row.value.get("repr") or "") if isinstance(row.value, dict) else "")
    elif row.state in SETTLED:
        error = error_of_row(row)
        name = (error.exception_type or type(error).__name__).rpartition(".")[2]
        text = error.exception_message or ("" if error.traceback else str(error))
        lines = error.traceback.rstrip("\n").split("\n") if error.traceback else [str(error)]
        outputs.take("error", {"ename": name, "evalue": text, "traceback": lines}, {}, [])


def error_of_row(row: ExecutionRow) -> ExecutionError:
    """The error of an execution that did not complete."""
    return rebuild(PROMISE_OF[row.state], row.value, row.id)


def seconds_of(row: ExecutionRow) -> float:
    """How long its code ran."""
    found = row.value if row.state == "completed" else read_document(row.value)
    took = found.get("execution_time") if isinstance(found, dict) else None
    return float(took) if isinstance(took, int | float) else 0.0


async def rows_of(reads: ReadsFace, session: str) -> list[ExecutionRow]:
    """All executions of a run's session."""
    return await reads.list_executions(session=session, limit=ROWS_MAX)


async def choose_run(reads: ReadsFace, notebook: Path, parameters: Mapping[str, Any], cells: list[PlannedCell]) -> str:
    """The name of the run of a notebook that is to go on; of a new one when the last has come to its end."""
    stem = session_name(str(notebook), Path("/"))
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=repr).encode()).hexdigest()[:6]
    base = f"{stem}-run" if not parameters else f"{stem}-run-{digest}"
    known = {row.name for row in await reads.sessions()}
    number = 1
    while f"{base}-{number + 1}" in known:
        number += 1
    name = f"{base}-{number}"
    if name in known and plan(cells, await rows_of(reads, name)).start == len(cells):
        return f"{base}-{number + 1}"
    return name


def prepare_environment(directory: Path) -> None:
    """Let this process, and the workers that it starts, be where the notebook is."""
    os.environ["DURABLE_NOTEBOOK"] = "1"
    os.chdir(directory)
