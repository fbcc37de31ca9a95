"""The output of an execution for a page: its last part at first, then what is new, and what was taken back again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from durable.http.dashboard.views.display_frames import ShownDisplay, shown_display
from durable.records.displays import DISPLAY, Display
from durable.records.stored_output import NEXT
from durable.store.port import ReadsFace
from durable.store.rows import OutputPage, OutputRow

TAIL_CHARS = 64 * 2**10
"""Of an output that is longer, a page begins with this much of its end."""

PIECE_CHARS_MAX = 128 * 2**10
"""Text that is sent at a time."""

ROWS_FIRST = 8
ROWS_MAX = 1_000
"""Rows that are read at a time: few at first, since each may have 64 KiB, then more while they are short."""


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
    page, more = await _read(reads, execution, begin, None)
    return _view(execution, page, begin, before=begin, more=more)


async def since(reads: ReadsFace, execution: str, offset: int, rewinds: int) -> OutputView:
    """The output from an offset on; all of the end again where what was before it is gone."""
    page, more = await _read(reads, execution, offset, rewinds)
    is_flood = more and await reads.output_end(execution) - offset > 4 * TAIL_CHARS
    if page.rewound is not None or is_flood:  # of a flood nobody reads what a screen passes in a moment
        found = await tail(reads, execution)
        return replace(found, again=True)
    return _view(execution, page, offset, more=more)


async def _read(reads: ReadsFace, execution: str, offset: int, rewinds: int | None) -> tuple[OutputPage, bool]:
    """Rows from an offset on, up to PIECE_CHARS_MAX; and whether there are more."""
    page = await reads.printed(execution, offset, rewinds=rewinds, limit=ROWS_FIRST)
    rows, last, limit = list(page.chunks), len(page.chunks), ROWS_FIRST
    while page.rewound is None and last >= limit:
        if sum(len(row.text) for row in rows) >= PIECE_CHARS_MAX:
            return OutputPage(page.rewinds, None, rows), True
        limit = ROWS_MAX if sum(len(row.text) for row in rows) < PIECE_CHARS_MAX // ROWS_FIRST else ROWS_FIRST
        found = await reads.printed(execution, rows[-1].end, rewinds=page.rewinds, limit=limit)
        last = len(found.chunks)
        rows += found.chunks
    return OutputPage(page.rewinds, page.rewound, rows), False


def _view(execution: str, page: OutputPage, begin: int, *, before: int = 0, more: bool = False) -> OutputView:
    pieces: list[ShownOutput] = []
    chars, end = 0, begin
    for row in page.chunks:
        if chars >= PIECE_CHARS_MAX:
            return OutputView(execution, end, page.rewinds, pieces, before, more=True)
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
    return OutputView(execution, end, page.rewinds, pieces, before, more=more)


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
