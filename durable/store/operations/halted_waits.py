"""The halted tasks that hold up what somebody waits for (specs/execution.md, T1-T7).

A promise is held up when its own task is halted; when that is suspended and something that it awaits is held up; and
when it is a cell whose turn has not come, and the cell whose turn it is is held up.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from typing import NamedTuple

from durable.core import ids
from durable.core.errors import Halted
from durable.store.operations.row_records import Queries, Row, dump

_DEPTH_MAX = 64
"""How far from what is waited for the halted task may be: far more than executions are nested."""

HALTS = f"""
WITH RECURSIVE held(awaited, id, depth) AS (
    SELECT value, value || '', 0 FROM json_each(?)
    UNION
    SELECT h.awaited, coalesce(l.awaited, c.awaited,
            (SELECT promise FROM cells WHERE session = t.session AND settled = 0 ORDER BY n LIMIT 1)), h.depth + 1
        FROM held h CROSS JOIN tasks t ON t.id = h.id
        LEFT JOIN callbacks c ON c.awaiter = t.id AND t.state = 'suspended'
        LEFT JOIN callbacks l ON l.awaiter = c.awaited AND NOT EXISTS (SELECT 1 FROM tasks k WHERE k.id = c.awaited)
        WHERE h.depth < {_DEPTH_MAX} AND (c.awaited IS NOT NULL OR (t.state = 'pending' AND t.session IS NOT NULL))
)
SELECT h.awaited, t.id, t.note FROM held h CROSS JOIN tasks t ON t.id = h.id WHERE t.state = 'halted'
ORDER BY h.awaited, h.depth, t.id
"""
"""The halted tasks behind each awaited promise, the nearest first; its parameter is a JSON array of promise ids."""

_BEHIND = (
    "SELECT promise FROM cells WHERE session=(SELECT session FROM tasks WHERE id=?) AND settled=0"
    " AND n>(SELECT n FROM tasks WHERE id=?)"
)


_LINKS = "SELECT awaiter FROM callbacks WHERE awaited=? AND awaiter NOT IN (SELECT id FROM tasks WHERE id=awaiter)"
"""The links of parents to a child."""


class Halt(NamedTuple):
    """A promise `awaited` that cannot go on, since `task`, itself or one that it waits for, is halted. Both are ids."""

    awaited: str
    task: str
    note: str

    def error(self) -> Halted:
        """The error for whoever waits."""
        halted = self.task.removeprefix(ids.PREFIX)
        return Halted(halted, self.note, awaited=self.awaited.removeprefix(ids.PREFIX))


def nearest(rows: Iterable[Row]) -> dict[str, Halt]:
    """Of the rows of HALTS, one halt for each promise that is held up."""
    found: dict[str, Halt] = {}
    for awaited, task, note in rows:
        found.setdefault(awaited, Halt(awaited, task, note or ""))
    return found


def halts_of(queries: Queries, awaited: Collection[str]) -> dict[str, Halt]:
    """The halt that holds up each of these promises; those that nothing holds up are left out."""
    return nearest(queries.rows(HALTS, (dump(list(awaited)),))) if awaited else {}


def concerned(queries: Queries, stopped: Iterable[str], told: Container[str]) -> set[str]:
    """The promises in `told` that these tasks, halted or suspended just now, may hold up."""
    found: set[str] = set()
    left, seen = [*stopped], set[str]()
    while left:
        task = left.pop()
        behind = [row[0] for row in queries.rows(_BEHIND, (task, task))]
        for each in (task, *behind):
            for one in _ancestors(each):
                if one in told:
                    found.add(one)
                links = [row[0] for row in queries.rows(_LINKS, (one,))]
                left += [link for link in links if link not in seen]
                seen.update(links)
    return found


def _ancestors(promise_id: str) -> Iterable[str]:
    """The promise and those of the executions that it is nested in: `exec:a.1.2`, `exec:a.1`, `exec:a`."""
    while promise_id:
        yield promise_id
        promise_id = promise_id.rpartition(".")[0]
