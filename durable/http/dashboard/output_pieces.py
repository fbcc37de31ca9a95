"""The output of an execution for a page: its last part at first, then what is new, and what was taken back again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from durable.http.dashboard.views.display_frames import ShownDisplay, shown_display
from durable.records.displays import DISPLAY, Display
from durable.records.stored_output import NEXT
from durable.store.port import ReadsFace
from durable.store.rows import OutputRow

TAIL_CHARS = 64 * 2**10
"""Of an output that is longer, a page begins with this much of its end."""

PIECE_CHARS_MAX = 128 * 2**10
"""Text that is sent at a time."""

ROWS_MAX = 400
"""Rows that are read at a time: at 64 KiB each they are bounded as well."""


@dataclass(frozen=True, slots=True)
class ShownOutput:
    """A stretch of output: text of one stream, a display, or a gap of so many characters."""

    stream: Literal["stdout", "stderr", "failure", "display", "gap"]
    text: str = ""
    chars: int = 0
    display: ShownDisplay | None = None


@dataclass(frozen=True, slots=True)
class OutputView:
    """A part of an execution's output. `offset`, `rewinds`: where to read on; `again`: what was shown is void."""

    execution: str
    offset: int
    rewinds: int
    pieces: list[ShownOutput] = field(default_factory=list)
    before: int = 0
    """Characters before the first piece that are not shown."""
    again: bool = False
    more: bool = False


async def tail(reads: ReadsFace, execution: str, chars: int = TAIL_CHARS) -> OutputView:
    """The end of what was printed so far."""
    end = await reads.output_end(execution)
    begin = max(0, end - chars)
    page = await reads.printed(execution, begin, limit=ROWS_MAX)
    return _view(execution, page.chunks, page.rewinds, begin, before=begin)


async def since(reads: ReadsFace, execution: str, offset: int, rewinds: int) -> OutputView:
    """The output from an offset on; all of the end again where what was before it is gone."""
    page = await reads.printed(execution, offset, rewinds=rewinds, limit=ROWS_MAX)
    if page.rewound is not None:
        found = await tail(reads, execution)
        return OutputView(execution, found.offset, found.rewinds, found.pieces, found.before, again=True)
    if page.chunks and await reads.output_end(execution) - offset > 4 * TAIL_CHARS:
        found = await tail(reads, execution)  # a flood: nobody reads what a screen passes in a moment
        return OutputView(execution, found.offset, found.rewinds, found.pieces, found.before, again=True)
    return _view(execution, page.chunks, page.rewinds, offset)


def _view(execution: str, rows: list[OutputRow], rewinds: int, begin: int, *, before: int = 0) -> OutputView:
    pieces: list[ShownOutput] = []
    chars, end = 0, begin
    for n, row in enumerate(rows):
        if chars >= PIECE_CHARS_MAX:
            return OutputView(execution, end, rewinds, pieces, before, more=n < len(rows))
        piece = _piece(execution, row)
        end = row.end
        if piece is None:
            continue
        chars += len(piece.text) or 200
        last = pieces[-1] if pieces else None
        if last is not None and last.stream == piece.stream and piece.stream in ("stdout", "stderr"):
            pieces[-1] = ShownOutput(piece.stream, last.text + piece.text)
        else:
            pieces.append(piece)
    return OutputView(execution, end, rewinds, pieces, before, more=len(rows) >= ROWS_MAX)


def _piece(execution: str, row: OutputRow) -> ShownOutput | None:
    if row.stream == NEXT:
        return None
    if row.dropped:
        return ShownOutput("gap", chars=row.dropped)
    if row.stream == DISPLAY:
        display = Display.read(row.text)
        if display is None or not display.is_shown:
            return None
        return ShownOutput("display", display=shown_display(display, execution, row.offset))
    return ShownOutput(row.stream, row.text)
