"""Searching executions: an index answers what it can, the rest is looked at page by page (docs/search.md).

State, function, session, time and one tag are ranges of an index. Further tags and text are looked for in what these
give, the newest first, at most LOOKED_AT_ROWS_MAX of them; the page says where to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from durable.core.frozen_record import FrozenRecord
from durable.core.limits import LOOKED_AT_ROWS_MAX, SEARCH_PAGE_ROWS
from durable.store.operations.execution_tags import tags_of
from durable.store.port import ReadsFace
from durable.store.rows import ExecutionRow, State


class ExecutionFilter(FrozenRecord, frozen=True):
    """Which executions are meant. tags: all of these, name and value. since, until: when they were made, in ms.

    text: words, each of which stands in the id, the function, a tag, the arguments, the result, the error or the note;
    upper and lower case are the same.
    """

    state: State | None = None
    session: str | None = None
    function: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    since: int | None = None
    until: int | None = None
    text: str = ""

    @property
    def is_indexed(self) -> bool:
        """Whether an index answers all of it."""
        return len(self.tags) < 2 and not self.text.strip()

    def fits(self, row: ExecutionRow) -> bool:
        """Whether a row has what no index answers."""
        found = tags_of(row.tags)
        if any(found.get(name) != value for name, value in self.tags):
            return False
        words = self.text.casefold().split()
        return not words or _has(row, found, words)


class ExecutionPage(list[ExecutionRow]):
    """Executions, newest first. `cursor` is what `before=` takes for the next page; None when there is none."""

    cursor: str | None = None


async def search(
    reads: ReadsFace, wanted: ExecutionFilter, *, limit: int = 100, before: str | None = None, whole: bool = True
) -> ExecutionPage:
    """A page of the executions that are meant. It may be short, even empty, and have a cursor all the same.

    Not `whole`: without values that lie in blobs, unless they are searched.
    """
    found = ExecutionPage()
    looked_at = 0
    while True:
        rows = await reads.list_executions(
            state=wanted.state,
            session=wanted.session,
            function=wanted.function,
            tag=wanted.tags[0] if wanted.tags else None,
            since=wanted.since,
            until=wanted.until,
            limit=limit if wanted.is_indexed else SEARCH_PAGE_ROWS,
            before=before,
            whole=whole or not wanted.is_indexed,
        )
        for row in rows:
            before = row.id
            if wanted.is_indexed or wanted.fits(row):
                found.append(row)
                if len(found) == limit:
                    found.cursor = before
                    return found
        looked_at += len(rows)
        if wanted.is_indexed or len(rows) < SEARCH_PAGE_ROWS:
            return found
        if looked_at >= LOOKED_AT_ROWS_MAX:
            found.cursor = before
            return found


def tag_pairs(given: tuple[str, str] | Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Tags as a caller gives them: one pair, or several by name."""
    if given is None:
        return ()
    return tuple(given.items()) if isinstance(given, Mapping) else (given,)


def _has(row: ExecutionRow, tags: Mapping[str, str], words: Iterable[str]) -> bool:
    parts: list[Any] = [row.id, row.function, row.session, row.note, row.last_error, row.param, row.value]
    there = [each for each in parts if each is not None]
    texts = [each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in there]
    text = "\n".join((*texts, *(f"{name}={value}" for name, value in tags.items()))).casefold()
    return all(word in text for word in words)
