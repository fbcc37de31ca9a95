"""Searching executions: an index answers what it can, the rest is looked at page by page (docs/search.md).

State, function, session, time and one tag are ranges of an index. Further tags and text are looked for in what these
give, the newest first, at most LOOKED_AT_ROWS_MAX of them; the page says where to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

import msgspec

from durable.core.errors import BadArguments
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

    Not `whole`: without values that lie in blobs, unless they are searched. BadArguments where the execution `before`
    which the page lies is gone.
    """
    if type(limit) is not int or limit < 0:
        raise BadArguments(f"limit is a whole number from 0, not {limit!r}")
    found = ExecutionPage()
    looked_at, begins_after = 0, before
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
        if not rows and begins_after is not None and before == begins_after:
            await _require(reads, begins_after)
        looked_at += len(rows)
        if wanted.is_indexed or len(rows) < SEARCH_PAGE_ROWS:
            return found
        if looked_at >= LOOKED_AT_ROWS_MAX:
            found.cursor = before
            return found


async def _require(reads: ReadsFace, execution_id: str) -> None:
    """An execution that a page lies behind has to be there: else the list would seem to end."""
    if await reads.get_execution(execution_id) is None:
        raise BadArguments(f"there is no execution {execution_id!r} to go on behind: it is gone, begin with the newest")


def execution_filter(
    *,
    state: str | None = None,
    session: str | None = None,
    function: str | None = None,
    tag: tuple[str, str] | Mapping[str, str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    text: str = "",
) -> ExecutionFilter:
    """A filter of what a caller gives. BadArguments."""
    known: State | None = next((each for each in get_args(State.__value__) if each == state), None)
    if state is not None and known is None:
        raise BadArguments(f"state is one of {', '.join(get_args(State.__value__))}, not {state!r}")
    for name, value in (("session", session or ""), ("function", function or ""), ("text", text)):
        if not isinstance(value, str):
            raise BadArguments(f"{name} is text, not {value!r}")
    return ExecutionFilter(
        state=known,
        session=session,
        function=function,
        tags=_tag_pairs(tag),
        since=_ms("since", since),
        until=_ms("until", until),
        text=text,
    )


def _ms(name: str, at: datetime | None) -> int | None:
    if at is not None and not isinstance(at, datetime):
        raise BadArguments(f"{name} is a datetime, not {at!r}")
    return None if at is None else int(at.timestamp() * 1000)


def _tag_pairs(given: tuple[str, str] | Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Tags as a caller gives them: one pair, or several by name. BadArguments."""
    pairs = () if given is None else tuple(given.items()) if isinstance(given, Mapping) else (given,)
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):
            raise BadArguments(f"tag is a name and a value, ('customer', 'ana'), or several by name, not {given!r}")
    return pairs


def _has(row: ExecutionRow, tags: Mapping[str, str], words: Iterable[str]) -> bool:
    parts: list[Any] = [row.id, row.function, row.session, row.note, row.last_error, row.param, row.value]
    there = [each for each in parts if each is not None]
    texts = [each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in there]
    text = "\n".join((*texts, *(f"{name}={value}" for name, value in tags.items()))).casefold()
    return all(word in text for word in words)
