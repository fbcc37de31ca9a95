"""Tables on a terminal of any width: ids are whole, notes have lines of their own, what is too long is cut with …"""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TextIO

NOTE = "note"
"""The column that stands under its row."""

NOTE_LINES_MAX = 3
"""A longer note is cut; `durable show` and `--json` have all of it."""

CUT_MIN = 8
"""A column is cut to no less than this; where that does not suffice, the first one has a line of its own."""

GAP = "  "
USUAL_CHARS = 80


def width_of(stream: TextIO) -> int:
    """The columns of a terminal, or what COLUMNS says."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_CHARS
    except OSError:
        return USUAL_CHARS


def cells_of(text: str) -> int:
    """The columns that a text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """The text in so many columns, with … for what does not fit."""
    if cells_of(text) <= width:
        return text
    kept = ""
    for character in text:
        if cells_of(kept + character) >= width:
            break
        kept += character
    return kept + "…"


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The table, line by line. Columns that are empty are left out."""
    noted = columns.index(NOTE) if NOTE in columns else -1
    shown = [n for n in range(len(columns)) if n != noted and (n == 0 or any(row[n] for row in rows))]
    heads = [columns[n].upper() for n in shown]
    body = [[row[n] for n in shown] for row in rows]
    natural = [max(map(cells_of, column)) for column in zip(heads, *body, strict=True)]
    stacked = sum(natural[:1] + [min(each, CUT_MIN) for each in natural[1:]]) + len(GAP) * (len(shown) - 1) > width
    lead = GAP if stacked else ""
    first = 1 if stacked else 0
    widths = fitted(natural[first:], width - len(lead), keep=1 - first)
    if any(heads):
        if stacked:
            yield heads[0]
        yield lead + _row(heads[first:], widths)
        yield "─" * min(width, len(lead) + sum(widths) + len(GAP) * max(0, len(widths) - 1))
    for row, given in zip(body, rows, strict=True):
        if stacked:
            yield row[0]
        if len(row) > first:
            yield lead + _row(row[first:], widths)
        if noted >= 0 and given[noted]:
            yield from _note(given[noted], width)


def fitted(natural: list[int], room: int, *, keep: int) -> list[int]:
    """Widths that fit the room: the widest is cut first, the first `keep` never."""
    widths = list(natural)
    while sum(widths) + len(GAP) * max(0, len(widths) - 1) > room:
        n = max(range(keep, len(widths)), key=widths.__getitem__, default=None)
        if n is None or widths[n] <= 1:
            break
        widths[n] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = [cut(cell, width) for cell, width in zip(cells, widths, strict=True)]
    padded = [text + " " * (width - cells_of(text)) for text, width in zip(texts, widths, strict=True)]
    return GAP.join(padded).rstrip()


def _note(text: str, width: int) -> list[str]:
    room = max(CUT_MIN, width - len(GAP))
    found = textwrap.wrap(text, room, break_on_hyphens=False)
    if len(found) > NOTE_LINES_MAX:
        found = [*found[: NOTE_LINES_MAX - 1], cut(" ".join(found[NOTE_LINES_MAX - 1 :]), room)]
    return [f"{GAP}{each}" for each in found]
