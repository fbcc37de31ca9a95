"""Pages of what a store has, each a range of an index that is read from where the page before ended."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from durable.core.errors import StoreRefused, ValueDamaged
from durable.core.ids import MAILBOX
from durable.core.value_codec import damaged_text
from durable.store.operations.large_values import MARK, is_reference, opened, reference_of, unescaped
from durable.store.operations.row_records import PROMISE, Row, dump, load_tags, of_a_row, promise_record
from durable.store.rows import WORDS, OutlineRow, PromiseRow, PromptRow, SessionRow, promise_row

_PROMISE = ",".join(f"p.{column}" for column in PROMISE.split(","))
_PARAM, _VALUE = (PROMISE.split(",").index(name) for name in ("param_data", "value_data"))
_NOT_READ = base64.b64encode(b'"(a value above 1 MiB)"').decode("ascii")
_SESSION = (
    "SELECT name, owner, epoch, options, worker_pid, closed, next_n - 1,"
    " (SELECT count(*) FROM cells c WHERE c.session = name AND c.settled = 0), created_at FROM sessions"
)
_AFTER_MAILBOXES = MAILBOX.removesuffix("~") + "\x7f"
"""The first name that sorts behind every mailbox."""


def not_text(error: UnicodeEncodeError) -> StoreRefused:
    """The refusal of a read whose parameter no store can hold."""
    return StoreRefused("read", 400, f"text that cannot be written as UTF-8: {error}")


class PageReads:
    """The reads of pages; `Reads` of each kind of store has them."""

    async def _rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """Run a statement that reads. Raises StoreError."""
        raise NotImplementedError

    async def _blob(self, address: str) -> bytes | None:
        """The bytes of a large value. Raises StoreError."""
        raise NotImplementedError

    async def _promises(self, sql: str, parameters: Sequence[object], at: int = 0) -> list[Row]:
        """The same for rows that have the columns of PROMISE from the one `at` on: their values are whole."""
        return await self._with_values(await self._rows(sql, parameters), at)

    async def _with_values(self, rows: list[Row], at: int = 0, *, whole: bool = True) -> list[Row]:
        """The rows with their values; not `whole`: with a text in place of each that lies in a blob."""
        for number in range(len(rows)):
            for column in (at + _PARAM, at + _VALUE):
                text = rows[number][column]
                if text is not None and text[:1] == MARK:
                    data = await self._whole(text) if whole or not is_reference(text) else _NOT_READ
                    rows[number] = (*rows[number][:column], data, *rows[number][column + 1 :])
        return rows

    async def _whole(self, text: str) -> str:
        """The data of a value from the text of its row; of one that is damaged, what stands for it (V9)."""
        try:
            reference = reference_of(text)
            return unescaped(text) if reference is None else opened(reference, await self._blob(reference.address))
        except ValueDamaged as error:
            return damaged_text(error)

    async def prompts_page(self, after: tuple[int, str] | None, limit: int) -> list[PromptRow]:
        """Open questions, oldest first, after one by when it was asked (ms) and its id."""
        at, id = after or (0, "")
        rows = await self._promises(
            f"SELECT {PROMISE} FROM promises INDEXED BY promises_asked WHERE capability = 'input' AND state = 'pending'"
            " AND created_at >= ? AND (created_at > ? OR id > ?) ORDER BY created_at, id LIMIT ?",
            [at, at, id, limit],
        )
        return [prompt_row(row) for row in rows]

    async def settled_prompts_page(
        self, states: Sequence[str], before: tuple[int, str] | None, limit: int
    ) -> list[PromiseRow]:
        """Questions whose promise is in one of these states, the one that was settled last first.

        before: when one was settled (ms), and its id: those behind it in this order.
        """
        parts, parameters = [], list[object]()
        for state in states:
            place = "" if before is None else " AND (settled_at, id) < (?, ?)"
            part = (
                "SELECT settled_at, id FROM promises INDEXED BY promises_answered WHERE capability = 'input'"
                f" AND settled_at IS NOT NULL AND state = ?{place} ORDER BY settled_at DESC, id DESC LIMIT {limit}"
            )
            parts.append(f"SELECT * FROM ({part}) part")
            parameters += [state, *(before or ())]
        newest = f"SELECT id FROM ({' UNION ALL '.join(parts)}) parts ORDER BY settled_at DESC, id DESC LIMIT {limit}"
        rows = await self._promises(
            f"SELECT {_PROMISE} FROM ({newest}) page CROSS JOIN promises p ON p.id = page.id", parameters
        )
        found = [promise_row(promise_record(row)) for row in rows]
        return sorted(found, key=lambda row: (row.settled_at or 0, row.id), reverse=True)

    async def open_prompts(self) -> list[str]:
        """The ids of all open questions, oldest first."""
        rows = await self._rows(
            "SELECT id FROM promises INDEXED BY promises_asked WHERE capability = 'input' AND state = 'pending'"
            " ORDER BY created_at",
            [],
        )
        return [row[0] for row in rows]

    async def sessions_page(self, after: str, limit: int) -> list[SessionRow]:
        """Sessions by name, after one of that name; mailboxes of actors are none."""
        rows: list[Row] = []
        if after < MAILBOX:
            sql = f"{_SESSION} WHERE name > ? AND name < ? ORDER BY name LIMIT ?"
            rows = await self._rows(sql, [after, MAILBOX, limit])
        if len(rows) < limit:
            start = max(after, _AFTER_MAILBOXES)
            rows += await self._rows(f"{_SESSION} WHERE name > ? ORDER BY name LIMIT ?", [start, limit - len(rows)])
        return [session_row(row) for row in rows]

    async def session(self, name: str) -> SessionRow | None:
        """One session."""
        rows = await self._rows(f"{_SESSION} WHERE name = ?", [name])
        return session_row(rows[0]) if rows else None

    async def children_page(self, execution_id: str, after: str, limit: int) -> list[PromiseRow]:
        """Everything under an execution, in order of id, after the promise of that id."""
        own = f"exec:{execution_id}"
        rows: list[Row] = []
        for first, last in ((f"{own}.", f"{own}/"), (f"{own}:", f"{own};")):
            if after < last and len(rows) < limit:
                rows += await self._promises(
                    f"SELECT {PROMISE} FROM promises WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                    [max(after, first), last, limit - len(rows)],
                )
        return [promise_row(promise_record(row)) for row in rows]

    async def outline(self, execution_id: str, limit: int) -> list[OutlineRow]:
        """Everything under an execution, in order of id, without values."""
        own = f"exec:{execution_id}"
        rows: list[Row] = []
        for first, last in ((f"{own}.", f"{own}/"), (f"{own}:", f"{own};")):
            rows += await self._rows(
                "SELECT id, state, tags, timeout_at, created_at, settled_at FROM promises"
                " WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                [first, last, limit - len(rows)],
            )
        return [OutlineRow(row[0], row[1], load_tags(row[2]), row[3], row[4], row[5]) for row in rows]

    async def promises(self, promise_ids: Sequence[str]) -> list[PromiseRow]:
        """Promises by their full ids, in no order; without those that are not there."""
        rows = await self._promises(
            f"SELECT {_PROMISE} FROM json_each(?) step CROSS JOIN promises p ON p.id = step.value",
            [dump([*promise_ids])],
        )
        return [promise_row(promise_record(row)) for row in rows]

    async def short_promises(self, promise_ids: Sequence[str], chars_max: int) -> list[tuple[PromiseRow, bool]]:
        """The same, without what is longer than `chars_max` as it is stored, or lies in a blob: whether that is so of
        the value."""
        # length() would count all of the characters
        short = f"CASE WHEN coalesce(substr(p.{{0}}, {int(chars_max) + 1}, 1), '') = '' THEN {{1}} END"
        columns = _PROMISE
        for name in ("param_data", "value_data"):
            columns = columns.replace(f"p.{name}", short.format(name, f"p.{name}"))
        rows = await self._rows(
            f"SELECT {columns}, {short.format('value_data', '1')}"
            " FROM json_each(?) step CROSS JOIN promises p ON p.id = step.value",
            [dump([*promise_ids])],
        )
        return [_short_promise(row) for row in rows]

    async def retries_of(self, steps: Sequence[str]) -> list[PromiseRow]:
        """The retries of these steps, by promise id."""
        if not steps:
            return []
        rows = await self._promises(
            f"SELECT {_PROMISE} FROM json_each(?) step CROSS JOIN promises p"
            " ON p.id > step.value || ':retry:' AND p.id < step.value || ':retry;'",
            [dump([*steps])],
        )
        return [promise_row(promise_record(row)) for row in rows]

    async def unfinished(self) -> dict[str, str]:
        """The state of every execution that has not ended, by id."""
        rows = await self._rows(
            "SELECT id, listed FROM tasks INDEXED BY tasks_listed"
            " WHERE listed IN ('pending', 'running', 'waiting', 'interrupted')",
            [],
        )
        return {row[0].removeprefix("exec:"): row[1] for row in rows}

    async def made_since(self, since: int) -> dict[str, int]:
        """When each execution was made, by id, of those that were made since then (ms)."""
        words = ", ".join(f"'{word}'" for word in WORDS)
        rows = await self._rows(
            f"SELECT id, created_at FROM tasks INDEXED BY tasks_listed WHERE listed IN ({words}) AND created_at >= ?",
            [since],
        )
        return {row[0].removeprefix("exec:"): row[1] for row in rows}


@of_a_row
def _short_promise(row: Row) -> tuple[PromiseRow, bool]:
    """A promise without the values that lie in blobs, and whether its value is not here."""
    columns = [*row]
    for place in (_PARAM, _VALUE):
        text = columns[place]
        if text is not None and text[:1] == MARK:
            columns[place] = None if is_reference(text) else unescaped(text)
    is_long = columns[_VALUE] is None and (row[_VALUE] is not None or row[-1] is None)
    return promise_row(promise_record(tuple(columns))), is_long


@of_a_row
def session_row(row: Row) -> SessionRow:
    """A session."""
    return SessionRow(
        name=row[0],
        owner=row[1],
        epoch=row[2],
        options=msgspec.json.decode(row[3]) if row[3] else {},
        worker_pid=row[4],
        closed=bool(row[5]),
        executions=row[6],
        open_executions=row[7],
        created_at=row[8],
    )


@of_a_row
def prompt_row(row: Row) -> PromptRow:
    """An open question."""
    promise = promise_row(promise_record(row))
    execution = promise.id.removeprefix("exec:").partition(":")[0]
    return PromptRow(promise.id, execution, promise.param, promise.tags, promise.created_at, promise.timeout_at)
