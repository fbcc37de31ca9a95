"""One session as page models: its cells as a notebook, its checkpoints as a rail, its variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from durable.engine.views import iso
from durable.functions.failures import read_document
from durable.http.dashboard.output_pieces import OutputView
from durable.http.dashboard.views.addresses import url_of
from durable.http.dashboard.views.inbox_page import InboxCard
from durable.http.dashboard.views.value_text import CODE_CHARS_MAX, CutText, cut
from durable.records.result import Lost
from durable.records.view_models import ExecutionView
from durable.sessions.checkpoints.history import CheckpointInfo
from durable.sessions.execution.outcome import not_saved
from durable.sessions.namespace import Variable
from durable.store.rows import ExecutionRow

CELLS_MAX = 20
"""Cells of one page."""

CELL_OUTPUT_CHARS = 16 * 2**10
"""Of the end of what a cell printed: twenty of them make a page."""

CHECKPOINTS_MAX = 50
"""Checkpoints of the rail, the newest."""

VARIABLES_MAX = 500
"""Variables that are shown."""


@dataclass(frozen=True, slots=True)
class NotebookCell:
    """A cell: its code, what it printed, its value or error, and its open questions."""

    view: ExecutionView
    url: str
    code: CutText
    output: OutputView
    value: CutText | None
    traceback: CutText | None
    not_saved: str
    prompts: list[InboxCard]


def notebook_cell(
    row: ExecutionRow, view: ExecutionView, output: OutputView, prompts: Sequence[InboxCard]
) -> NotebookCell:
    """The cell of one execution."""
    args = row.param.get("args") if isinstance(row.param, dict) else None
    cell = args[0] if args and isinstance(args[0], dict) else {}
    record = row.value if row.state == "completed" and isinstance(row.value, dict) else {}
    traceback = read_document(row.value).get("traceback") if row.state == "failed" else None
    return NotebookCell(
        view=view,
        url=url_of("executions", row.id),
        code=cut(str(cell.get("code", "")), CODE_CHARS_MAX),
        output=output,
        value=cut(str(record["repr"])) if record.get("repr") else None,
        traceback=cut(str(traceback), CODE_CHARS_MAX) if traceback else None,
        not_saved=not_saved(row) if row.state in ("completed", "failed") else "",
        prompts=list(prompts),
    )


@dataclass(frozen=True, slots=True)
class RailCheckpoint:
    """A checkpoint on the rail, with the one before it that it is compared with."""

    info: CheckpointInfo
    created_at: str
    before: int | None
    diff_url: str


def rail(session: str, checkpoints: Sequence[CheckpointInfo]) -> list[RailCheckpoint]:
    """The newest checkpoints, newest first."""
    found = []
    for n, info in enumerate(checkpoints):
        before = checkpoints[n - 1].id if n else None
        url = "" if before is None else url_of("sessions", session, "diff", before=str(before), after=str(info.id))
        found.append(RailCheckpoint(info, iso(info.created_at_ms) or "", before, url))
    return found[: -CHECKPOINTS_MAX - 1 : -1]


@dataclass(frozen=True, slots=True)
class VariableLine:
    """A variable: its type, size and beginning, whether the last cell changed it, or why it is in no checkpoint."""

    name: str
    type: str
    size: str
    preview: str
    change: str = ""
    lost: str = ""


def variable_lines(
    names: Sequence[str], variables: Sequence[Variable], lost: Sequence[Lost], changed: Mapping[str, str]
) -> list[VariableLine]:
    """The variables by name; those that could not be saved last. variables: empty where they were not loaded."""
    known = {each.name: each for each in variables}
    found = []
    for name in names[:VARIABLES_MAX]:
        variable = known.get(name)
        if variable is None:
            found.append(VariableLine(name, "", "", "", changed.get(name, "")))
        else:
            text = cut(variable.repr, 300).shown
            size, change = f"{variable.size:,}", changed.get(name, "")
            found.append(VariableLine(name, variable.type, size, text, change))
    return found + [VariableLine(each.name, each.kind, "", "", lost=each.reason) for each in lost]
