"""Searches: a page of a table in order of id. What the writer looks at for one is bounded (specs/store.md, Reads).

Tags and states have no index: whoever asks for a rare one may have to look at every row. The writer does the first
stretch, as of its place among the requests; the rest is looked at on the reading connection, stretch by stretch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from durable.core.frozen_record import FrozenRecord
from durable.core.limits import SEARCH_ROWS, SEARCH_ROWS_READ
from durable.store.operations.row_records import PROMISE, Row, dump
from durable.store.protocol.requests import Answer, Record

if TYPE_CHECKING:
    from durable.store.operations.transaction import Tx

SEARCH_DEFAULT = 100
"""Records of a page, when nothing is said."""


class Search(FrozenRecord, frozen=True):
    """`where` are conditions on a row of `table`, joined by AND; `name` is what the answer calls the records."""

    name: str
    table: str
    columns: str
    record: Callable[[Row], Record]
    limit: int
    where: tuple[str, ...] = ()
    parameters: tuple[object, ...] = ()

    def end(self, rows: int) -> str:
        """The id at the end of a stretch of so many rows after one (a parameter); none when the table ends before."""
        return f"SELECT id FROM {self.table} WHERE id > ? ORDER BY id LIMIT 1 OFFSET {rows - 1}"

    def stretch(self, *, ends: bool) -> str:
        """Its rows that fit. Parameters: the ids before and (where it `ends`) at the end of it, then our own."""
        conditions = " AND ".join(("id > ?", *(("id <= ?",) if ends else ()), *self.where))
        return f"SELECT {self.columns} FROM {self.table} WHERE {conditions} ORDER BY id LIMIT {self.limit + 1}"

    def answer(self, rows: list[Row]) -> Answer:
        """The page; `cursor` is there iff there is more."""
        data: Record = {self.name: [self.record(row) for row in rows[: self.limit]]}
        if len(rows) > self.limit:
            data["cursor"] = f">{rows[self.limit - 1][0]}"
        return Answer(200, data)


class Unfinished(FrozenRecord, frozen=True):
    """A search that goes on after an id, with what it found so far."""

    search: Search
    found: list[Row]
    after: str


def tagged(column: str, tags: dict[str, str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Conditions and their parameters: every one of the tags is in the column.

    They are looked for as they are written, behind the brace or a comma: inside of a text no bare quote stands there.
    SQLite's own functions read a text up to its first NUL.
    """
    written = tuple(dump({name: text})[1:-1] for name, text in (tags or {}).items())
    condition = f"(instr({column}, ?) > 0 OR instr({column}, ?) > 0)"
    return (condition,) * len(written), tuple(part for each in written for part in (f"{{{each}", f",{each}"))


def begin(tx: Tx, search: Search, cursor: str | None) -> Answer | Unfinished:
    """The writer's part of a search."""
    after = cursor[1:] if cursor else ""
    last = tx.row(search.end(SEARCH_ROWS), (after,)) if search.where else None
    if last is None:
        return search.answer(_whole(tx, search, tx.rows(search.stretch(ends=False), (after, *search.parameters))))
    rows = _whole(tx, search, tx.rows(search.stretch(ends=True), (after, last[0], *search.parameters)))
    return search.answer(rows) if len(rows) > search.limit else Unfinished(search, rows, last[0])


def _whole(tx: Tx, search: Search, rows: list[Row]) -> list[Row]:
    return [tx.values.whole_row(row) for row in rows] if search.columns == PROMISE else rows


type Ask = Callable[[str, tuple[object, ...]], Awaitable[list[Row]]]
"""Reads rows."""


async def go_on(look: Ask, ask: Ask, at: Unfinished) -> Answer:
    """The reading connection's part of a search. `look` reads ids, `ask` what is searched."""
    search, found, after = at.search, at.found, at.after
    while len(found) <= search.limit:
        last = await look(search.end(SEARCH_ROWS_READ), (after,))
        if not last:
            found = [*found, *await ask(search.stretch(ends=False), (after, *search.parameters))]
            break
        found = [*found, *await ask(search.stretch(ends=True), (after, last[0][0], *search.parameters))]
        after = last[0][0]
    return search.answer(found)
