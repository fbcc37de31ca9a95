"""The rows that a transaction's requests ask for, read with its first round trip (specs/postgres.md, Reading ahead).

What was read holds for a request as long as nothing before it in the transaction changed something under its keys in a
way that is not followed here: nobody else can have changed it, since the keys are locked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from durable.store.operations.lock_keys import keys_of
from durable.store.operations.row_records import PROMISE, Row
from durable.store.operations.transaction import TASK_AT
from durable.store.postgres.dialect import given, kept_list
from durable.store.postgres.writer_connection import WriterConnection
from durable.store.protocol import requests

_PROMISES = f"SELECT {PROMISE}, external FROM promises WHERE id = ANY($1::text[])".encode()
_TASKS = f"SELECT {TASK_AT}, function FROM tasks WHERE id = ANY($1::text[])".encode()
_HEARD = "SELECT 'heard', awaited, '' FROM {} WHERE awaited = ANY($1::text[])"
_UNDER = (
    "SELECT 'open', r.id, p.id FROM unnest($3::text[]) r(id) JOIN promises p ON p.state='pending'"
    """ AND p.id > (r.id || '{}') COLLATE "C" AND p.id < (r.id || '{}') COLLATE "C\""""
)
_AROUND = " UNION ALL ".join(
    (
        _HEARD.format("callbacks"),
        _HEARD.format("listeners"),
        "SELECT DISTINCT 'branch', branch, '' FROM promises WHERE branch = ANY($2::text[])",
        _UNDER.format(".", "/"),
        _UNDER.format(":", ";"),
    )
).encode()
"""Who waits for the promises of the first list, whether the branches of the second have any promise, and what is open
under the executions of the third: a word for the question, the id, and the open promise."""


_APART = (requests.CheckpointPublish, requests.OutputAppend)
"""Requests that change nothing of what is read ahead, but that an attempt made progress: a cell ends after them."""


class _Wanted:
    """The ids that requests name, by what will be asked of them."""

    def __init__(self) -> None:
        self.promises: set[str] = set()
        self.tasks: set[str] = set()
        self.heard: set[str] = set()
        self.branches: set[str] = set()
        self.open: set[str] = set()

    def add(self, request: Any) -> bool:
        """Whether anything is worth reading for this request."""
        match request:
            case requests.ById(id=name) | requests.PromiseCreate(id=name):
                self.promises.add(name)
            case requests.PromiseSettle(id=name):
                self._settles(name)
            case requests.TaskCreate(action=action):
                self.promises.add(action.data.id)
                self.branches.add(action.data.id)
            case requests.TaskFence(id=name, action=action):
                self.tasks.add(name)
                self.promises.add(action.data.id)  # nearly always a step's, which nobody else waits for
            case requests.TaskFulfill(id=name) | requests.ActorFulfill(task=requests.TaskFulfill(id=name)):
                self._settles(name)
                self.open.add(name)
            case _:
                return False
        return True

    def _settles(self, name: str) -> None:
        self.promises.add(name)
        self.tasks.add(name)
        self.heard.add(name)


class ReadAhead:
    """Asked for by `ask`, taken in by `take`, then given out request by request."""

    def __init__(self) -> None:
        self._requests: dict[int, frozenset[str]] = {}
        self._wanted = _Wanted()
        self._cursors: dict[str, Any] = {}
        self._changed: set[str] = set()
        self._own: frozenset[str] = frozenset()
        self.keys: frozenset[str] = frozenset()
        """The keys of the request at work, where what was read for it holds; else none."""
        self._promises: dict[str, Row | None] = {}
        self._tasks: dict[str, Row | None] = {}
        self._facts: dict[str, Row | None] = {}
        self._quiet: set[str] = set()
        self._alone: set[str] = set()
        self._open: dict[str, list[str]] = {}
        self._made: dict[str, Row] = {}

    def ask(self, session: WriterConnection, work: Iterable[Any]) -> None:
        """Send the questions; nothing is waited for."""
        for request in work:
            if self._wanted.add(request):
                self._requests[id(request)] = frozenset(keys_of(request))
        wanted = self._wanted
        for name, sql, ids in (("promises", _PROMISES, wanted.promises), ("tasks", _TASKS, wanted.tasks)):
            if ids:
                self._cursors[name] = session.send_raw(sql, (kept_list(ids),))
        if wanted.heard or wanted.branches or wanted.open:
            lists = (kept_list(wanted.heard), kept_list(wanted.branches), kept_list(wanted.open))
            self._cursors["around"] = session.send_raw(_AROUND, lists)

    def take(self) -> None:
        """The answers."""
        rows = {name: [given(row) for row in cursor.fetchall()] for name, cursor in self._cursors.items()}
        wanted = self._wanted
        self._promises = dict.fromkeys(wanted.promises)
        self._promises |= {row[0]: row for row in rows.get("promises", ())}
        self._tasks = dict.fromkeys(wanted.tasks)
        self._tasks |= {row[0]: row for row in rows.get("tasks", ())}
        self._facts = {
            name: None if row is None else (row[6], row[7], row[14], row[12]) for name, row in self._tasks.items()
        }
        self._quiet, self._alone = set(wanted.heard), set(wanted.branches)
        self._open = {name: [] for name in wanted.open}
        for question, name, child in rows.get("around", ()):
            if question == "heard":
                self._quiet.discard(name)
            elif question == "branch":
                self._alone.discard(name)
            else:
                self._open[name].append(child)

    def forget(self) -> None:
        """Hold nothing: something else is done before the requests."""
        self._requests = {}
        self.keys = frozenset()

    def work_on(self, request: object) -> None:
        """Give out what was read for this request, if it holds."""
        own = self._requests.get(id(request))
        if isinstance(request, _APART):
            self._own = self.keys = frozenset()
            return
        self._own = frozenset(keys_of(request)) if own is None else own
        self.keys = self._own if own is not None and not own & self._changed else frozenset()
        if not self.keys:
            self._changed |= self._own

    def change(self) -> None:
        """The request at work changes something that is not followed: from then on it asks, and so do later ones under
        its keys."""
        self._changed |= self._own
        self.keys = frozenset()

    def change_last(self) -> None:
        """The same of a change that the request itself does not ask about again."""
        self._changed |= self._own

    def touch(self, key: str) -> None:
        """The request at work changes something under a key of others."""
        self._changed.add(key)

    def promise(self, promise_id: str) -> tuple[bool, Row | None]:
        """Whether it is known, and its row."""
        if not self.keys or promise_id not in self._promises:
            return False, None
        return True, self._promises[promise_id]

    def pending(self, promise_id: str) -> tuple[bool, Row | None]:
        """Whether it is known, and its row if it is pending."""
        known, row = self.promise(promise_id)
        return known, None if row is None or row[1] != "pending" else row

    def insert(self, row: Row) -> bool:
        """Whether there is surely no such promise; from then on it is this one: the columns of INSERT_PROMISE."""
        if not self.keys or self._promises.get(row[0], ()) is not None:
            return False
        self._promises[row[0]], self._made[row[0]] = row[:11], row[11:]
        return True

    def settle(self, row: Row) -> Row | None:
        """The promise is this from now on. Its branch and capability, if it was made in this transaction."""
        self._promises[row[0]] = row
        return self._made.get(row[0])

    def task(self, task_id: str) -> tuple[bool, Row | None]:
        """Whether the task is known, and its columns of TASK_AT."""
        if not self.keys or task_id not in self._tasks:
            return False, None
        row = self._tasks[task_id]
        return True, None if row is None else row[:14]

    def facts(self, task_id: str) -> tuple[bool, Row | None]:
        """The same of what never changes: session, n, function, queue."""
        if not self.keys or task_id not in self._facts:
            return False, None
        return True, self._facts[task_id]

    def quiet(self, awaited: str) -> bool:
        """Whether surely nobody waits for a promise or listens to it."""
        return bool(self.keys) and awaited in self._quiet

    def alone(self, branch: str) -> bool:
        """Whether surely no promise names this branch."""
        return bool(self.keys) and branch in self._alone

    def open_under(self, execution: str) -> list[str] | None:
        """The promises under it that were pending or were made since, in order; None where they are not known.

        Whoever asks looks at each again: one may have been settled since.
        """
        if not self.keys or execution not in self._open:
            return None
        made = (each for each in self._made if each.startswith((f"{execution}.", f"{execution}:")))
        return sorted((*self._open[execution], *made))
