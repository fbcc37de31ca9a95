"""The part of an execution's output that is stored (specs/worker-protocol.md, The stored copy, K1-K5). No I/O.

A machine: it takes what was printed, in order, and gives back the rows to append; a row that begins where the last one
began takes that one's place.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

type Stream = Literal["stdout", "stderr", "display", "failure", "next"]

NEXT: Final = "next"
"""The stream of marks in a session's own record: an execution begins here."""

GAP_CHARS = 2**20
"""A gap that grows is told of each time it has grown by this, so that readers elsewhere see that something happens."""

PROGRESS_CHARS_MAX = 4_096
"""A line that is repainted and longer than this is kept as it is: no person looks at such a bar."""

COLLAPSED_MAX = 64
"""Repainted lines of one message that become rows of their own (K5)."""


class CopyRow(NamedTuple):
    """`length` characters from `start`, of which `text` is kept."""

    start: int
    stream: Stream
    text: str
    length: int


class StoredCopy(msgspec.Struct):
    """`offset`: characters printed so far. `kept`: those stored. `limit`: the most that are."""

    limit: int
    offset: int = 0
    kept: int = 0
    full: bool = False
    _line: CopyRow | None = None
    """The last row, when it is a line that may still be repainted."""
    _gap: CopyRow | None = None
    _gap_told: int = 0

    def add(self, stream: Stream, text: str, dropped: int = 0) -> list[CopyRow]:
        """Take output: `dropped` characters, then `text`."""
        rows: list[CopyRow] = []
        if dropped:
            self._skip(stream, dropped)
        if text:
            if self.full:
                self._skip(stream, len(text))
            else:
                rows += self._tell_gap()
                self._gap = None
                self._keep(stream, text, rows)
        if self._gap is not None and self._gap.length - self._gap_told >= GAP_CHARS:
            rows += self._tell_gap()
        return rows

    def seal(self) -> list[CopyRow]:
        """A checkpoint counts what was printed until here, or the end came: no line is rewritten past it (K3)."""
        self._line = None
        return self._tell_gap()

    def _keep(self, stream: Stream, text: str, rows: list[CopyRow]) -> None:
        rest = self._repainted(stream, text, rows)
        self._line = None if rest else self._line
        collapsed = 0
        plain: list[str] = []
        lines = rest.split("\n") if "\r" in rest and not self.full else [rest]
        for number, part in enumerate(lines):
            line = part if number == len(lines) - 1 else part + "\n"
            shown = collapse(line) if collapsed < COLLAPSED_MAX else line
            last = number == len(lines) - 1 and "\r" in line and len(shown) <= PROGRESS_CHARS_MAX
            if shown == line and not last:
                plain.append(line)
                continue
            self._append(stream, "".join(plain), rows)
            plain = []
            collapsed += 1
            row = self._append(stream, line, rows, shown)
            self._line = row if last else None
        self._append(stream, "".join(plain), rows)

    def _repainted(self, stream: Stream, text: str, rows: list[CopyRow]) -> str:
        """Join what continues the line that may be repainted to it; the rest of the text."""
        line = self._line
        if line is None or line.stream != stream:
            return text
        end = text.find("\n") + 1 or len(text)
        shown = collapse(line.text + text[:end])
        more = len(shown) - len(line.text)
        if len(shown) > PROGRESS_CHARS_MAX or self.kept + more > self.limit:
            return text
        self.kept += more
        self.offset += end
        row = CopyRow(line.start, stream, shown, line.length + end)
        rows.append(row)
        self._line = None if text[end - 1] == "\n" else row
        return text[end:]

    def _append(self, stream: Stream, text: str, rows: list[CopyRow], shown: str | None = None) -> CopyRow | None:
        """A row of `text`, shown otherwise or as it is, as far as there is room; the rest is a gap from then on."""
        if not text:
            return None
        room = self.limit - self.kept
        whole = shown if shown is not None else text if stream == "display" else ""  # is kept as it is or not at all
        if self.full or len(whole) > room:
            self.full = True
            self._skip(stream, len(text))
            return None
        if shown is None:
            taken, over = text[:room], len(text) - room
            row = CopyRow(self.offset, stream, taken, len(taken))
        else:
            over = 0
            row = CopyRow(self.offset, stream, shown, len(text))
        if row.length:
            rows.append(row)
            self.kept += len(row.text)
            self.offset += row.length
        if over > 0:
            self.full = True
            self._skip(stream, over)
        return row

    def _skip(self, stream: Stream, chars: int) -> None:
        self._line = None
        gap = self._gap
        if gap is None:
            self._gap, self._gap_told = CopyRow(self.offset, stream, "", chars), 0
        else:
            self._gap = gap._replace(length=gap.length + chars)
        self.offset += chars

    def _tell_gap(self) -> list[CopyRow]:
        if self._gap is None or self._gap.length == self._gap_told:
            return []
        self._gap_told = self._gap.length
        return [self._gap]


def collapse(line: str) -> str:
    """Return a line from its last carriage return on, not counting those at its end; all of it where that is its only
    one.

    One carriage return inside a line is text (a line of another system's, a title); a progress bar has more.
    """
    painted = line.rstrip("\r\n")
    at = painted.rfind("\r")
    if at > 0 and "\r" not in painted[:at]:
        return line
    return line if at < 0 else line[at:]


def place(rows: list[CopyRow], row: CopyRow) -> None:
    """Append a row, or let it take the place of the last one."""
    if rows and rows[-1].start == row.start:
        rows.pop()
    rows.append(row)
