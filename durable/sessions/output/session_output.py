"""The output of a session's threads and tasks while no cell runs (specs/session.md, Output between executions)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import msgspec

from durable.core import ids
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import EARLIER_CHARS_MAX, FAILURES_MAX
from durable.records.displays import shown
from durable.records.stored_output import NEXT, CopyRow, StoredCopy, Stream
from durable.sessions.output.live_output import DisplayEvent, OutputEvent, shown_event
from durable.store.port import ReadsFace, StoreFace

FAILURE: Final = "failure"
"""The stream of texts that say which thread or task ended with an error."""

TAIL_CHARS = 2**18
"""Of a session that is taken up: how far back is looked for what no execution has shown yet."""

PAGE_ROWS = 1_000
"""Rows that are read at a time."""


class Earlier(FrozenRecord, frozen=True):
    """The output between two executions: text in the order in which it was printed, and failures."""

    text: str = ""
    failures: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[CopyRow]) -> Earlier:
        """From rows of the record."""
        texts: list[str] = []
        failures: list[str] = []
        for row in rows:
            if row.stream == FAILURE:
                failures.append(row.text)
            elif row.stream != NEXT:
                texts.append(shown(row.stream, row.text) if row.text else f"[{row.length:,} characters not kept]\n")
        return cls(_shortened("".join(texts)), tuple(failures[:FAILURES_MAX]))


class SessionOutput(msgspec.Struct):
    """The record of one session's output between executions.

    A row of stream "next" names the execution that begins there: what stands between two of them was shown with the
    later one. An execution that is run again after a crash shows the same again.
    """

    store: StoreFace
    session: str
    epoch: int
    stored: int
    """Characters that are kept between two executions, at most."""
    posted: Callable[[int, asyncio.Future[Any]], None]
    """Told of characters on their way to the store."""
    _copy: StoredCopy | None = None
    _rows: list[CopyRow] = []
    """Since the last marker."""
    _shown: dict[str, Earlier] = {}
    _early: list[tuple[Stream, str, int]] = []
    """Output that came before the record was looked at."""

    @property
    def id(self) -> str:
        """The id under which its rows are kept."""
        return ids.session_output(self.session)

    async def load(self) -> None:
        """Look at where the record ends, and at what of it was not shown yet."""
        if self._copy is not None:
            return
        end, found = 0, await self.store.reads.output(self.id, 0, limit=1)
        if found:
            end = int((await self.store.request("output.append", self._chunks([]))).data["end"])
            found = await self.store.reads.output(self.id, max(0, end - TAIL_CHARS), limit=2**31)
        if self._copy is not None:  # somebody was faster
            return
        for row in found:
            self._place(CopyRow(row.offset, row.stream, row.text, row.chars))
        self._copy = StoredCopy(self.stored, end)
        early, self._early = self._early, []
        for stream, text, dropped in early:
            self.add(stream, text, dropped)

    @property
    def loaded(self) -> bool:
        """Whether what is added is stored at once; else `load` stores it."""
        return self._copy is not None

    def add(self, stream: Stream, text: str, dropped: int = 0) -> None:
        """Take output."""
        if self._copy is None:
            self._early.append((stream, text, dropped))
            return
        self._store(self._copy.add(stream, text, dropped))

    def begin(self, execution: str, *, again: bool = False) -> Earlier:
        """Begin an execution; returns what is to be shown with it. Where it begins again, the same again."""
        if again and execution in self._shown:
            return self._shown[execution]
        self._shown = {}
        if self._copy is not None and self._rows:
            rows = self._copy.seal()
            row = CopyRow(self._copy.offset, NEXT, execution, len(execution))
            self._copy = StoredCopy(self.stored, row.start + row.length)
            self._store([*rows, row])
        return self._shown.get(execution, Earlier())

    def _store(self, rows: list[CopyRow]) -> None:
        for row in rows:
            self._place(row)
        if rows:
            self.posted(sum(len(row.text) for row in rows), self.store.post("output.append", self._chunks(rows)))

    def _chunks(self, rows: list[CopyRow]) -> dict[str, Any]:
        return {"execution": self.id, "session": self.session, "epoch": self.epoch, "chunks": rows}

    def _place(self, row: CopyRow) -> None:
        if row.stream == NEXT:
            self._shown = {row.text: Earlier.of(self._rows)}
            self._rows = []
            return
        if self._rows and self._rows[-1].start == row.start:
            self._rows.pop()
        self._rows.append(row)


async def read_output(reads: ReadsFace, session: str) -> AsyncIterator[OutputEvent | DisplayEvent]:
    """The output that a session printed while none of its cells ran, oldest first."""
    offset = 0
    while rows := await reads.output(ids.session_output(session), offset, limit=PAGE_ROWS):
        for row in rows:
            offset = row.end
            if row.stream != NEXT:
                printed = OutputEvent(row.stream, row.text, row.offset, row.dropped, row.end)
                event = shown_event(printed, ids.session_output(session))
                if isinstance(event, OutputEvent | DisplayEvent):
                    yield event


def _shortened(text: str) -> str:
    if len(text) <= EARLIER_CHARS_MAX:
        return text
    half = EARLIER_CHARS_MAX // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters are in the session's output]\n{text[-half:]}"
