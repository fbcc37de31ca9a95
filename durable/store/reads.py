"""Lists and searches for people and surfaces, on a connection of their own: they never delay the writer.

A reader sees the file as of the last commit. Deadlines are kept by whatever store has the file open, so a promise whose
time has just passed may still read as pending here for a moment; the protocol's own requests never show that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import batched

import msgspec

from durable.core.ids import MAILBOX
from durable.core.limits import COUNTED_ROWS_MAX
from durable.core.value_codec import part_of
from durable.store.operations import searches
from durable.store.operations.halted_waits import HALTS, Halt, nearest
from durable.store.operations.row_records import CANCELLED, PROMISE, Row, dump, of_a_row, promise_record
from durable.store.operations.searches import Unfinished
from durable.store.page_reads import PageReads, prompt_row, session_row
from durable.store.protocol.requests import Answer
from durable.store.rows import (
    WORDS,
    DiscardRow,
    EngineRow,
    ExecutionRow,
    OutputPage,
    OutputRow,
    PromiseRow,
    PromptRow,
    PublishedRow,
    QueueKeyRow,
    QueueRow,
    SessionRow,
    State,
    StoppedElsewhere,
    StoreFigures,
    StreamEnd,
    StreamPage,
    StreamRow,
    promise_row,
)
from durable.store.store_figures import read_figures

_PROMISE = ",".join(f"p.{column}" for column in PROMISE.split(","))
_COLUMNS = (
    f"SELECT {_PROMISE}, t.word, t.function, t.session, t.n, t.version, t.attempts_failed, t.attempts_died,"
    " t.last_error, t.note, t.pid, e.pid, t.created_at, coalesce(t.deployment, '')"
)
_JOINS = " JOIN promises p ON p.id = t.id LEFT JOIN engines e ON e.engine = t.pid"
_EXECUTION = f"{_COLUMNS} FROM tasks t{_JOINS}"


LIST_RANGES_MAX = 90
"""Ranges of an index that one statement merges: SQLite takes 500 parts, and ten functions of one name are many."""


def _each_function(table: str, condition: str) -> str:
    """The functions in an index, each found by a step into it: there are few, of any number of rows."""
    return f"""
    WITH RECURSIVE each(function) AS (
        SELECT * FROM (SELECT function FROM {table} WHERE {condition} ORDER BY function LIMIT 1) first
        UNION ALL
        SELECT (SELECT function FROM {table} WHERE {condition} AND function > each.function ORDER BY function LIMIT 1)
        FROM each WHERE each.function IS NOT NULL
    )
    SELECT function FROM each WHERE function IS NOT NULL"""


_FUNCTIONS = _each_function("tasks INDEXED BY tasks_function", "listed IS NOT NULL")
_FUNCTIONS_OF_SESSION = _each_function(
    "tasks INDEXED BY tasks_session", "session = ?1 AND session IS NOT NULL AND listed IS NOT NULL"
)


def _page(
    ranges: Sequence[dict[str, object]], place: tuple[int, str] | None, since: int | None, limit: int
) -> tuple[str, list[object]]:
    """The newest executions in any of these ranges of an index (column and value), and after a place in the order.

    Each part reads at most `limit` entries of the index, in its order. The index is named: SQLite's planner takes the
    range of all ids for narrower, and sorts a million rows.
    """
    parts, parameters = [], list[object]()
    for each in ranges:
        index = "tasks_session" if "session" in each else "tasks_function" if "function" in each else "tasks_listed"
        conditions = [f"{column} = ?" for column in each]
        parameters += each.values()
        if place is not None:
            conditions.append("(created_at, id) < (?, ?)")
            parameters += place
        if since is not None:
            conditions.append("created_at >= ?")
            parameters.append(since)
        part = (
            f"SELECT created_at, id FROM tasks INDEXED BY {index} WHERE {' AND '.join(conditions)}"
            f" ORDER BY created_at DESC, id DESC LIMIT {limit}"
        )
        parts.append(f"SELECT * FROM ({part}) part")
    newest = f"SELECT id FROM ({' UNION ALL '.join(parts)}) parts ORDER BY created_at DESC, id DESC LIMIT {limit}"
    source = f" FROM ({newest}) page CROSS JOIN tasks t ON t.id = page.id"
    return f"{_COLUMNS}{source}{_JOINS}", parameters


def _tagged(
    tag: tuple[str, str],
    words: Sequence[str],
    session: str | None,
    functions: list[str] | None,
    place: tuple[int, str] | None,
    since: int | None,
    limit: int,
) -> tuple[str, list[object]]:
    """The newest executions with a tag, read from its range of the index in its order, and those that do not fit left
    out: it reads no execution without the tag."""
    conditions, parameters = ["g.name = ?", "g.value = ?"], list[object](tag)
    if place is not None:
        conditions.append("(g.created_at, g.id) < (?, ?)")
        parameters += place
    if since is not None:
        conditions.append("g.created_at >= ?")
        parameters.append(since)
    if len(words) == 1:
        conditions.append("t.listed = ?")
        parameters.append(words[0])
    _only_of(session, functions, conditions, parameters)
    where = " AND ".join(conditions)
    source = " FROM execution_tags g CROSS JOIN tasks t ON t.id = g.id"
    return f"{_COLUMNS}{source}{_JOINS} WHERE {where} ORDER BY g.created_at DESC, g.id DESC LIMIT {limit}", parameters


def _only_of(session: str | None, functions: list[str] | None, conditions: list[str], parameters: list[object]) -> None:
    """Add the conditions on the session and the functions of tasks `t`, where there are any."""
    if session is not None:
        conditions.append("t.session = ?")
        parameters.append(session)
    if functions is not None:
        conditions.append("t.function IN (SELECT value FROM json_each(?))")
        parameters.append(dump(functions))


def _made_between(column: str, since: int | None, until: int | None) -> tuple[list[str], list[object]]:
    """The conditions on when executions were made, and their parameters."""
    bounds = ((f"{column} >= ?", since), (f"{column} < ?", until))
    return [sql for sql, at in bounds if at is not None], [at for _, at in bounds if at is not None]


def _counted(
    parts: Sequence[tuple[str, str | None]], session: str | None, since: int | None, until: int | None
) -> tuple[str, list[object]]:
    """The number of executions in each of these ranges of an index (state and function), as far as they are counted."""
    selects, parameters = [], list[object]()
    between, times = _made_between("created_at", since, until)
    for word, function in parts:
        index = "tasks_listed" if function is None else "tasks_function" if session is None else "tasks_session"
        conditions, values = ["listed = ?"], list[object]([word])
        if function is not None:
            conditions.insert(0, "function = ?")
            values.insert(0, function)
        if session is not None:
            conditions.insert(0, "session = ?")
            values.insert(0, session)
        where = " AND ".join([*conditions, *between])
        limited = f"SELECT 1 AS one FROM tasks INDEXED BY {index} WHERE {where} LIMIT {COUNTED_ROWS_MAX}"
        selects.append(f"SELECT '{word}' AS word, count(*) AS rows FROM ({limited}) part")
        parameters += [*values, *times]
    return f"SELECT word, rows FROM ({' UNION ALL '.join(selects)}) parts", parameters


def _tagged_states(
    tag: tuple[str, str], session: str | None, functions: list[str] | None, since: int | None, until: int | None
) -> tuple[str, list[object]]:
    """The state of each execution with a tag, as far as they are counted."""
    between, times = _made_between("g.created_at", since, until)
    conditions, parameters = ["g.name = ?", "g.value = ?", *between], [*tag, *times]
    _only_of(session, functions, conditions, parameters)
    source = "SELECT t.listed FROM execution_tags g CROSS JOIN tasks t ON t.id = g.id"
    return f"{source} WHERE {' AND '.join(conditions)} LIMIT {COUNTED_ROWS_MAX}", parameters


_PRINTED = """
    WITH cut AS (
        SELECT coalesce(max(n), 0) AS n, min(CASE WHEN n > ?3 THEN start END) AS start FROM rewinds WHERE execution = ?1
    )
    SELECT cut.n, cut.start, o.start, o.length, o.stream, o.text FROM cut LEFT JOIN output o
        ON o.execution = ?1 AND o.start >= coalesce(
            (SELECT start FROM output
             WHERE execution = ?1 AND start <= CASE WHEN cut.start < ?2 THEN cut.start ELSE ?2 END
             ORDER BY start DESC LIMIT 1), 0)
    ORDER BY o.start LIMIT ?4"""
"""One row at least. The output from ?2 on, or from where it was cut after the ?3rd rewind, if that is before."""


_ROOTS_SETTLED = (
    "SELECT settled_at FROM promises WHERE settled_at IS NOT NULL AND ("
    "(id >= 'exec:' AND id < 'exec;' AND id NOT LIKE 'exec:%:%' AND id NOT LIKE 'exec:%.%')"
    " OR ((id < 'exec:' OR id >= 'exec;') AND id NOT LIKE '%:%')) ORDER BY settled_at DESC LIMIT 1 OFFSET ?"
)


_QUEUES = (
    "SELECT name, state, concurrency, per_engine, per_key, rate_count, rate_ms, delayed, waiting, running, started,"
    " (SELECT ready_at FROM queue_entries e WHERE e.queue = name AND e.state = 'waiting' ORDER BY n LIMIT 1)"
    " FROM queues ORDER BY name"
)

_PROMISE_P = ", ".join(f"p.{column}" for column in PROMISE.split(","))

_STREAM = f"""
    SELECT i.n, i.items, i.step, i.position, {_PROMISE_P} FROM stream_items i JOIN promises p ON p.id = i.promise
    WHERE i.execution = ?1 AND i.name = ?2 AND i.n >= coalesce(
        (SELECT n FROM stream_items WHERE execution = ?1 AND name = ?2 AND n <= ?3 ORDER BY n DESC LIMIT 1), 0)
    ORDER BY i.n LIMIT ?4"""
"""The writes from offset ?3 on; the first may begin before it, and may be over before it."""


class Reads(PageReads):
    """The read side of one open store: its statements, run by each kind of store on a connection of its own."""

    async def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    async def list_executions(
        self,
        *,
        state: State | None = None,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 100,
        before: str | None = None,
        whole: bool = True,
    ) -> list[ExecutionRow]:
        """Executions, newest first. `before` is the id of the last one of the page before; `function` matches a whole
        `where::name@version` or its name; `tag` is a name and its value; since, until: when they were made, in ms.
        Not `whole`: a text stands for each value that lies in a blob, which is not read."""
        place = await self._place(before)
        if before is not None and place is None:
            return []
        if until is not None:
            place = min(place or (until, ""), (until, ""))
        words = WORDS if state is None else (state,)
        if tag is not None:
            functions = None if function is None else await self._functions(session, function)
            tagged = await self._rows(*_tagged(tag, words, session, functions, place, since, limit))
            return [_execution(row) for row in await self._with_values(tagged, whole=whole)]
        if session is not None or function is not None:
            functions = await self._functions(session, function)
            ranges: list[dict[str, object]] = [
                {**({} if session is None else {"session": session}), "function": name, "listed": word}
                for name in functions
                for word in words
            ]
        else:
            ranges = [{"listed": word} for word in words]
        rows: list[Row] = []
        for some in batched(ranges, LIST_RANGES_MAX):
            rows += await self._rows(*_page(some, place, since, limit))
        rows = sorted(rows, key=lambda row: (row[-2], row[0]), reverse=True)[:limit]  # created_at, id
        newest = [_execution(row) for row in await self._with_values(rows, whole=whole)]
        return [row for row in newest if state is None or row.state == state]

    async def count_executions(
        self,
        *,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> dict[str, int]:
        """How many executions there are in each state, as `list_executions` finds them; none of a state is left out.

        Of each at most COUNTED_ROWS_MAX are counted: of a tag so many in all.
        """
        functions = await self._functions(session, function) if session is not None or function is not None else [None]
        if tag is not None:
            named = None if function is None else [name for name in functions if name is not None]
            rows = await self._rows(*_tagged_states(tag, session, named, since, until))
            return dict(Counter(row[0] for row in rows))
        found: Counter[str] = Counter()
        parts = [(word, name) for name in functions for word in WORDS]
        for some in batched(parts, LIST_RANGES_MAX):
            for word, count in await self._rows(*_counted(some, session, since, until)):
                found[word] += count
        return {word: min(count, COUNTED_ROWS_MAX) for word, count in found.items() if count}

    async def signal_waits(self, *, executions: list[str]) -> list[tuple[str, str]]:
        """The signals that these executions wait for, in order of name: execution and name, once for each wait."""
        rows = await self._rows(
            "SELECT w.execution, w.name FROM signal_waits w JOIN promises p ON p.id = w.promise"
            " WHERE w.execution IN (SELECT value FROM json_each(?)) AND p.state = 'pending'",
            [dump([f"exec:{each}" for each in executions])],
        )
        return sorted((row[0].removeprefix("exec:"), row[1]) for row in rows)

    async def _place(self, before: str | None) -> tuple[int, str] | None:
        """Where in the order of lists an execution is."""
        if before is None:
            return None
        rows = await self._rows("SELECT created_at, id FROM tasks WHERE id = ?", [f"exec:{before}"])
        return (rows[0][0], rows[0][1]) if rows else None

    async def _functions(self, session: str | None, function: str | None) -> list[str]:
        """Functions that executions (of a session) have, by whole id, that are meant by an id or a name."""
        sql, parameters = (_FUNCTIONS, []) if session is None else (_FUNCTIONS_OF_SESSION, [session])
        names = [row[0] for row in await self._rows(sql, parameters)]
        return [name for name in names if function is None or is_of(name, function)]

    async def get_execution(self, execution_id: str) -> ExecutionRow | None:
        """One execution, or None. The id is without `exec:`."""
        rows = await self._promises(f"{_EXECUTION} WHERE t.id = ?", [f"exec:{execution_id}"])
        return _execution(rows[0]) if rows else None

    async def get_promise(self, promise_id: str) -> PromiseRow | None:
        """One promise by its full id, or None."""
        rows = await self._promises(f"SELECT {PROMISE} FROM promises WHERE id = ?", [promise_id])
        return promise_row(promise_record(rows[0])) if rows else None

    async def children(self, execution_id: str, *, limit: int = 10_000) -> list[PromiseRow]:
        """Everything under an execution, in order of id: steps, children and calls, theirs too."""
        own = f"exec:{execution_id}"
        rows = await self._promises(
            f"SELECT {PROMISE} FROM promises WHERE (id > ? AND id < ?) OR (id > ? AND id < ?) ORDER BY id LIMIT ?",
            [f"{own}.", f"{own}/", f"{own}:", f"{own};", limit],
        )
        return [promise_row(promise_record(row)) for row in rows]

    async def prompts(self, *, execution: str | None = None) -> list[PromptRow]:
        """Open questions to people, oldest first."""
        rows = await self._promises(
            f"SELECT {PROMISE} FROM promises WHERE capability = 'input' AND state = 'pending' ORDER BY created_at, id",
            [],
        )
        found = [prompt_row(row) for row in rows]
        return [each for each in found if execution is None or each.execution == execution]

    async def queues(self) -> list[QueueRow]:
        """All queues, by name."""
        rows = await self._rows(_QUEUES, [])
        return [
            QueueRow(
                name=row[0],
                state=row[1],
                concurrency=row[2],
                per_engine=row[3],
                per_key=row[4],
                rate=None if row[5] is None else (row[5], row[6] / 1000),
                delayed=row[7],
                waiting=row[8],
                running=row[9],
                started=row[10],
                oldest_at=row[11],
            )
            for row in rows
        ]

    async def queue_keys(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[QueueKeyRow]:
        """The keys of a queue with executions that wait or run, by name. after: the last one of the page before."""
        rows = (
            await self._rows(
                "SELECT key, waiting, running FROM queue_keys WHERE queue = ? AND key > ? ORDER BY key LIMIT ?",
                [queue, after, limit],
            )
            if after is not None
            else await self._rows(
                "SELECT key, waiting, running FROM queue_keys WHERE queue = ? ORDER BY key LIMIT ?", [queue, limit]
            )
        )
        return [QueueKeyRow(*row) for row in rows]

    async def retries(self) -> list[PromiseRow]:
        """Steps that wait for their next try: the promise of each, `exec:<id>.<k>:retry:<n>`, oldest first."""
        rows = await self._promises(
            f"SELECT {PROMISE} FROM promises WHERE capability = 'retry' AND state = 'pending' ORDER BY created_at, id",
            [],
        )
        return [promise_row(promise_record(row)) for row in rows]

    async def output(self, execution_id: str, from_offset: int = 0, *, limit: int = 10_000) -> list[OutputRow]:
        """The output of an execution from that character on, where the first chunk begins; at most `limit` chunks."""
        return (await self.printed(execution_id, from_offset, limit=limit)).chunks

    async def printed(
        self, execution_id: str, from_offset: int = 0, *, rewinds: int | None = None, limit: int = 10_000
    ) -> OutputPage:
        """The same for a reader that follows, as of one moment, with what was cut since.

        rewinds: that of the reader's last look; None the first time.
        """
        rows = await self._rows(_PRINTED, [execution_id, from_offset, rewinds, limit])
        count, cut = rows[0][0], rows[0][1]
        begin = from_offset if cut is None else min(from_offset, cut)
        found = []
        for _, _, start, length, stream, text in rows:
            skip = 0 if start is None else max(0, begin - start)
            if start is not None and skip < length:
                # A chunk that was collapsed is one line: its newest state, wherever a reader was in it.
                shown = text[skip:] if len(text) == length else text
                found.append(OutputRow(start + skip, stream, shown, length - skip))
        return OutputPage(count, cut if begin < from_offset else None, found)

    async def stream(self, execution_id: str, name: str, from_offset: int = 0, *, limit: int = 1_000) -> StreamPage:
        """The items of a stream from that offset on; at most `limit` writes, of which the first may begin before it."""
        rows = await self._promises(_STREAM, [f"exec:{execution_id}", name, from_offset, limit], at=4)
        items, place = list[StreamRow](), from_offset
        for row in rows:
            n, count, step, position, promise = row[0], row[1], row[2], row[3], promise_record(row[4:])
            found = promise_row(promise)
            for i in range(max(0, from_offset - n), count):
                value, in_step = part_of(found.param, item=i), None if position is None else position + i
                items.append(StreamRow(n + i, value, step, in_step, found.created_at))
            place = max(place, n + count)
        return StreamPage(items, place)

    async def streams(self, execution_id: str) -> list[StreamEnd]:
        """The streams of an execution, by name."""
        rows = await self._rows(
            "SELECT name, next_n FROM streams WHERE execution = ? ORDER BY name", [f"exec:{execution_id}"]
        )
        return [StreamEnd(*row) for row in rows]

    async def published(self, execution_id: str, key: str | None = None) -> list[PublishedRow]:
        """The values that an execution has published: of all keys, or of one."""
        one = "" if key is None else " AND k.key = ?"
        rows = await self._promises(
            f"SELECT k.key, k.n, {_PROMISE_P} FROM published k JOIN promises p ON p.id = k.promise"
            f" WHERE k.execution = ?{one} ORDER BY k.key",
            [f"exec:{execution_id}", *([] if key is None else [key])],
            at=2,
        )
        found = [(row[0], row[1], promise_row(promise_record(row[2:]))) for row in rows]
        return [PublishedRow(name, part_of(row.param, key=name), n, row.created_at) for name, n, row in found]

    async def output_end(self, execution_id: str) -> int:
        """The offset of the end of what an execution has printed so far, in characters."""
        sql = "SELECT start + length FROM output WHERE execution = ? ORDER BY start DESC LIMIT 1"
        rows = await self._rows(sql, [execution_id])
        return int(rows[0][0]) if rows else 0

    async def stopped(self, *, executions: list[str], sessions: dict[str, int]) -> StoppedElsewhere:
        """Which of these executions are halted, and which of these sessions are not in the epoch given any more."""
        halted = "SELECT id FROM tasks WHERE id IN (SELECT 'exec:' || value FROM json_each(?)) AND state = 'halted'"
        epochs = "SELECT name, epoch FROM sessions WHERE name IN (SELECT value FROM json_each(?))"
        found = await self._rows(halted, [dump(executions)]) if executions else []
        there = {row[0]: row[1] for row in await self._rows(epochs, [dump([*sessions])])} if sessions else {}
        lost = [name for name, epoch in sessions.items() if there.get(name) != epoch]
        return StoppedElsewhere([row[0].removeprefix("exec:") for row in found], lost)

    async def halts(self, *, awaited: list[str]) -> list[Halt]:
        """The halt that holds up each of these promises; those that nothing holds up are left out."""
        return [*nearest(await self._rows(HALTS, [dump(awaited)])).values()] if awaited else []

    async def discards(self, execution_id: str) -> list[DiscardRow]:
        """Results of an execution and its children that were thrown away since their lease was another's, in order."""
        own = f"exec:{execution_id}"
        rows = await self._rows(
            "SELECT execution, at, step, version, reason FROM discards"
            " WHERE execution = ? OR (execution > ? AND execution < ?) ORDER BY at, step",
            [own, f"{own}.", f"{own}/"],
        )
        return [
            DiscardRow(row[0].removeprefix("exec:"), row[1], row[2].removeprefix("exec:"), row[3], row[4])
            for row in rows
        ]

    async def sessions(self) -> list[SessionRow]:
        """All sessions, by name; mailboxes of actors are none."""
        rows = await self._rows(
            "SELECT name, owner, epoch, options, worker_pid, closed, next_n - 1,"
            " (SELECT count(*) FROM cells c WHERE c.session = name AND c.settled = 0), created_at"
            " FROM sessions WHERE substr(name, 1, 6) <> 'actor~' ORDER BY name",
            [],
        )
        return [session_row(row) for row in rows]

    async def engines(self) -> list[EngineRow]:
        """Engines that joined, oldest first."""
        rows = await self._rows(
            "SELECT engine, grp, pid, functions, joined_at, deployment FROM engines ORDER BY joined_at, engine", []
        )
        return [EngineRow(row[0], row[1], row[2], tuple(msgspec.json.decode(row[3])), row[4], row[5]) for row in rows]

    async def cancelled(self, engine: str) -> list[str]:
        """Functions that run on an engine and are to end, by promise id."""
        return [row[0] for row in await self._rows(CANCELLED, [dump([engine])])]

    async def figures(self, *, now: int) -> StoreFigures:
        """The numbers that an operator watches. They count whole tables. now: ms since the epoch."""
        return await read_figures(self._rows, now, tuple(each.engine for each in await self.engines()))

    async def newest_roots(self, count: int) -> int:
        """When the oldest of the newest so many roots that are settled was settled; 0 when there are not more of them.

        A root is an execution that no other one began, or a promise of another program's (specs/store.md, Forgetting).
        """
        rows = await self._rows(_ROOTS_SETTLED, [count - 1])
        return int(rows[0][0]) if rows else 0

    async def go_on(self, search: Unfinished) -> Answer:
        """The rest of a search that the writer began."""
        ask = self._promises if search.search.columns == PROMISE else self._rows
        return await searches.go_on(self._rows, ask, search)


def is_of(function: str, named: str) -> bool:
    """Whether a function's id is of this name: `where::name@version`, or a name that was given, `name@version`."""
    return function == named or function.startswith(f"{named}@") or f"::{named}@" in function


@of_a_row
def _execution(row: Row) -> ExecutionRow:
    promise = promise_row(promise_record(row))
    word, function, session, n, version, failed, died, last_error, note, engine, engine_pid, created_at, deployment = (
        row[10:]
    )
    return ExecutionRow(
        id=promise.id.removeprefix("exec:"),
        state=word,
        function=function,
        session=None if session is not None and session.startswith(MAILBOX) else session,
        n=n,
        param=promise.param,
        value=promise.value,
        tags=promise.tags,
        created_at=created_at,
        settled_at=promise.settled_at,
        timeout_at=promise.timeout_at,
        starts=version,
        attempts=failed + died,
        last_error=last_error,
        note=note,
        engine=engine,
        engine_pid=engine_pid,
        deployment=deployment,
    )
