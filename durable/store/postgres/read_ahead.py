"""The rows that a transaction's requests ask for, read with its first round trip (specs/postgres.md, Reading ahead).

What was read holds for a request as long as nothing before it in the transaction changed something under its keys in a
way that is not followed here: nobody else can have changed it, since the keys are locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, NamedTuple

from durable.core.ids import PREFIX
from durable.core.limits import BEGUN_ROWS
from durable.store.operations.checkpoints import GROUND, ground_of
from durable.store.operations.lock_keys import CHECKPOINTS, keys_of, promise_key
from durable.store.operations.output import END
from durable.store.operations.row_records import PROMISE, Row
from durable.store.operations.sessions import SESSION, STANDING
from durable.store.operations.settlement import NEXT_CELL
from durable.store.operations.signals import KEYED, LAST, LINE, first_wait
from durable.store.operations.tasks import EPOCH
from durable.store.operations.transaction import CALLS_TASK, OFFERED, TASK_AT, Deadline
from durable.store.postgres.dialect import given, kept, kept_list
from durable.store.postgres.writer_connection import WriterConnection
from durable.store.protocol import requests

_LINE = "t.state, t.session, t.n, t.not_before, t.timer, t.queue"
_NO_LINE = (
    "NULL, NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL,"
    " NULL::bigint, NULL, NULL, NULL::bigint, NULL, NULL, NULL::boolean"
)
_UNDER = (
    f"SELECT 'open', r.id, p.id, {_NO_LINE} FROM unnest($3::text[]) r(id) CROSS JOIN LATERAL"
    " (SELECT id FROM promises WHERE state='pending'"
    """ AND id > (r.id || '{}') COLLATE "C" AND id < (r.id || '{}') COLLATE "C" LIMIT 1000000000) p"""
)
"""With a limit that is none: without one, the server may join each execution with all that is pending anywhere."""
_AROUND = " UNION ALL ".join(
    (
        f"SELECT 'awaiter', awaited, awaiter, {_LINE}, {OFFERED} FROM callbacks LEFT JOIN tasks t ON t.id = awaiter"
        " WHERE awaited = ANY(HEARD)",
        f"SELECT 'listener', awaited, address, {_NO_LINE} FROM listeners WHERE awaited = ANY(HEARD)",
        f"SELECT DISTINCT 'branch', branch, '', {_NO_LINE} FROM promises WHERE branch = ANY($2::text[])",
        _UNDER.format(".", "/"),
        _UNDER.format(":", ";"),
    )
)
"""Who waits for the promises of the first list (HEARD), whether the branches of the second have any promise, and what
is open under the executions of the third: a word for the question, the id, who waits or what is open, and the columns
of a task that waits, as `line_row` and OFFERED have them."""
_PROMISES = (
    f"SELECT {PROMISE}, external FROM promises WHERE id = ANY($1::text[] || HEARD"
    " || ARRAY(SELECT awaiter FROM callbacks WHERE awaited = ANY(HEARD)))"
)
"""The promises of the first list, and those that wait for the promises of the second (HEARD)."""
_TASKS = f"SELECT {TASK_AT}, function FROM tasks WHERE id = ANY($1::text[] || HEARD)"


class _Statements(NamedTuple):
    promises: bytes
    tasks: bytes
    around: bytes


def _statements(waits: str) -> _Statements:
    """The statements, where HEARD is a list of theirs and what `waits` adds to it. `waits`: with places for the numbers
    of two more lists."""

    def numbered(sql: str, heard: str, number: int) -> bytes:
        return sql.replace("HEARD", heard + waits.format(number, number + 1)).encode()

    around, promises = numbered(_AROUND, "$1::text[]", 4), numbered(_PROMISES, "$2::text[]", 3)
    return _Statements(promises, numbered(_TASKS, "'{}'::text[]", 2), around)


_PLAIN = _statements("")
_WITH_SIGNALS = _statements(
    f" || ARRAY(SELECT ({first_wait('promise', 'w.execution', 'w.name')})"
    " FROM unnest(${}::text[], ${}::text[]) w(execution, name))"
)
"""Heard are, too, the first waits in line of signals, whose executions and names are the two lists."""
_LISTED = " UNION ALL ".join(
    f"SELECT r.id, p.* FROM unnest($1::text[]) r(id) CROSS JOIN LATERAL (SELECT {PROMISE} FROM promises"
    f""" WHERE id > (r.id || '{first}') COLLATE "C" AND id < (r.id || '{last}') COLLATE "C" """
    f"ORDER BY id LIMIT {BEGUN_ROWS}) p"
    for first, last in ((".", "/"), (":", ";"))
).encode()
"""The first of what is recorded under executions, after the id of each."""
_NOTED = f"SELECT id, {CALLS_TASK} FROM tasks WHERE id = ANY($1::text[])".encode()


_NUMBERS = b"SELECT nextval('checkpoints_id_seq') FROM generate_series(1, $1::bigint)"

type Listed = tuple[dict[str, list[Row]], dict[str, Row | None]]
"""The first BEGUN_ROWS or more promises recorded under executions, and the columns CALLS_TASK of their tasks."""


class ListedAsked:
    """The question for what is recorded under executions, sent; `take` waits for the answer."""

    def __init__(self, session: WriterConnection, executions: Iterable[str]) -> None:
        self._executions = list(executions)
        ids = kept_list(self._executions)
        self._listed = session.send_raw(_LISTED, (ids,))
        self._noted = session.send_raw(_NOTED, (ids,))

    def take(self) -> Listed:
        """The promises in order of id."""
        listed: dict[str, list[Row]] = {name: [] for name in self._executions}
        for name, *row in map(given, self._listed.fetchall()):
            listed[name].append(tuple(row))
        noted: dict[str, Row | None] = dict.fromkeys(self._executions)
        noted |= {row[0]: row[1:] for row in map(given, self._noted.fetchall())}
        return {name: sorted(rows) for name, rows in listed.items()}, noted


type Question = tuple[str, tuple[object, ...]]
"""A statement of an operation that is asked as it stands, and its parameters."""


def _changes_of(request: Any) -> frozenset[str] | None:
    """The keys of a request that changes only what others of its kind ask about, and that an attempt made progress: a
    cell ends after it in the same transaction. None for any other, which changes what its keys stand for."""
    match request:
        case requests.CheckpointPublish():
            return frozenset((CHECKPOINTS,))
        case requests.OutputAppend(execution=name):
            return frozenset((f"\0output {name}",))
        case _:
            return None


class _Wanted:
    """The ids that requests name, by what will be asked of them."""

    def __init__(self) -> None:
        self.promises: set[str] = set()
        self.tasks: set[str] = set()
        self.heard: set[str] = set()
        self.branches: set[str] = set()
        self.open: set[str] = set()
        self.listed: set[str] = set()
        self.waits: set[tuple[str, str]] = set()
        """Executions, and names of signals, of which the first wait in line is settled."""
        self.questions: dict[Question, None] = {}
        self.checkpoints = 0

    def add(self, request: Any) -> bool:
        """Whether anything is worth reading for this request."""
        match request:
            case requests.ById(id=name) | requests.PromiseCreate(id=name):
                self.promises.add(name)
            case requests.PromiseSettle(id=name) | Deadline(id=name):
                self.settles(name)
            case requests.SignalSend(execution=execution, name=name, key=key):
                self.waits.add((execution, name))
                self._ask((LINE, (execution, name)))
                if key is not None:
                    self._ask((KEYED, (execution, name, key)), (LAST, (execution, name)))
            case requests.TaskCreate(action=action):
                self.promises.add(action.data.id)
                self.branches.add(action.data.id)
            case requests.TaskFence(id=name, action=action):
                self.tasks.add(name)
                self.promises.add(action.data.id)  # nearly always a step's, which nobody else waits for
            case requests.TaskFulfill(id=name) | requests.ActorFulfill(task=requests.TaskFulfill(id=name)):
                self.settles(name)
                self.open.add(name)
                if isinstance(request, requests.TaskFulfill) and request.epoch is not None:
                    self._ask((EPOCH, (name,)), (NEXT_CELL, (name,)))
            case requests.CellSubmit(session=session, id=name):
                self._ask((STANDING, (session,)))
                if name is not None:
                    self.promises.add(f"{PREFIX}{session}@{name}")
            case requests.CheckpointPublish(session=session):
                self._ask((SESSION, (session,)), (GROUND, ground_of(request)))
                self.checkpoints += 1
            case requests.OutputAppend(execution=name, session=session):
                self._ask((SESSION, (session,)), (END, (name,)))
            case requests.TaskAcquire(id=name, record=record):
                self.tasks.add(name)
                self.promises.add(name)
                if record:
                    self.listed.add(name)
            case requests.CallList(execution=name, after=""):
                self.listed.add(name)
            case _:
                return False
        return True

    def _ask(self, *questions: Question) -> None:
        self.questions.update(dict.fromkeys(questions))

    def settles(self, name: str) -> None:
        self.promises.add(name)
        self.tasks.add(name)
        self.heard.add(name)


class ReadAhead:
    """Asked for by `ask`, taken in by `take`, then given out request by request."""

    def __init__(self) -> None:
        self._requests: dict[int, frozenset[str]] = {}
        self._wanted = _Wanted()
        self._cursors: dict[str, Any] = {}
        self._listing: ListedAsked | None = None
        self._asked: dict[Question, Any] = {}
        self._changed: set[str] = set()
        self._own: frozenset[str] = frozenset()
        self._rests = True
        """Whether no request is at work."""
        self.keys: frozenset[str] = frozenset()
        """The keys of the request at work, where what was read for it holds; else none."""
        self._promises: dict[str, Row | None] = {}
        self._tasks: dict[str, Row | None] = {}
        self._facts: dict[str, Row | None] = {}
        self._awaiters: dict[str, list[str]] = {}
        self._lines: dict[str, Row | None] = {}
        self._offers: dict[str, Row] = {}
        """Session, queue and the columns OFFERED of tasks that wait."""
        self._due: dict[str, Row] = {}
        """The columns of DUE_TASK of tasks that this transaction has made due, and done nothing else about."""
        self._listeners: dict[str, list[str]] = {}
        self._alone: set[str] = set()
        self._open: dict[str, list[str]] = {}
        self._made: dict[str, Row] = {}
        self._listed: dict[str, list[Row]] = {}
        self._noted: dict[str, Row | None] = {}
        self._written: set[str] = set()
        self._answers: dict[str, dict[tuple[object, ...], list[Row]]] = {}
        self._numbers: list[int] = []

    def ask(self, session: WriterConnection, work: Iterable[Any]) -> None:
        """Send the questions; nothing is waited for."""
        for request in work:
            if self._wanted.add(request):
                self._requests[id(request)] = frozenset(keys_of(request))
        wanted = self._wanted
        statements = _WITH_SIGNALS if wanted.waits else _PLAIN
        waits = [list(kept(each)) for each in zip(*sorted(wanted.waits), strict=True)]
        heard = kept_list(wanted.heard)
        if wanted.promises or waits:
            lists = (kept_list(wanted.promises), heard, *waits)
            self._cursors["promises"] = session.send_raw(statements.promises, lists)
        if wanted.tasks or waits:
            self._cursors["tasks"] = session.send_raw(statements.tasks, (kept_list(wanted.tasks), *waits))
        if wanted.heard or wanted.branches or wanted.open or waits:
            lists = (heard, kept_list(wanted.branches), kept_list(wanted.open), *waits)
            self._cursors["around"] = session.send_raw(statements.around, lists)
        for question, parameters in wanted.questions:
            self._asked[question, parameters] = session.send(question, parameters)
        if wanted.checkpoints:
            self._cursors["numbers"] = session.send_raw(_NUMBERS, (wanted.checkpoints,))
        if wanted.listed:
            self._listing = ListedAsked(session, wanted.listed)

    def take(self) -> None:
        """The answers."""
        rows = {name: [given(row) for row in cursor.fetchall()] for name, cursor in self._cursors.items()}
        wanted = self._wanted
        for (sql, parameters), cursor in self._asked.items():
            self._answers.setdefault(sql, {})[parameters] = [given(row) for row in cursor.fetchall()]
        self._take_waits()
        locked = frozenset[str]().union(*self._requests.values())
        self._promises = dict.fromkeys(wanted.promises)
        for row in rows.get("promises", ()):
            if row[0] in self._promises or promise_key(row[0]) in locked:
                self._promises[row[0]] = row
        self._tasks = dict.fromkeys(wanted.tasks)
        self._tasks |= {row[0]: row for row in rows.get("tasks", ())}
        self._facts = {
            name: None if row is None else (row[6], row[7], row[14], row[12]) for name, row in self._tasks.items()
        }
        self._take_around(rows.get("around", ()))
        self._numbers = [row[0] for row in rows.get("numbers", ())]
        for (session,), found in self._answers.get(STANDING, {}).items():
            if found and not found[0][4]:
                self._promises.setdefault(f"{PREFIX}{session}@{found[0][1]}", None)
        if self._listing is not None:
            self._listed, self._noted = self._listing.take()

    def _take_waits(self) -> None:
        """The waits in line are among the promises that were asked for."""
        for execution, name in self._wanted.waits:
            for _, _, wait in self._answers[LINE][execution, name]:
                if wait is not None:
                    self._wanted.settles(wait)

    def _take_around(self, rows: Iterable[Row]) -> None:
        self._alone = set(self._wanted.branches)
        self._awaiters = {name: [] for name in self._wanted.heard}
        self._listeners = {name: [] for name in self._wanted.heard}
        self._open = {name: [] for name in self._wanted.open}
        for question, name, other, *line in rows:
            if question == "awaiter":
                self._awaiters[name].append(other)
                state, session, n, not_before, timer, queue, *offered = line
                self._lines[other] = None if state is None else (state, session, n, not_before, timer, queue)
                self._offers[other] = (session, queue, *offered)
            elif question == "listener":
                self._listeners[name].append(other)
            elif question == "branch":
                self._alone.discard(name)
            else:
                self._open[name].append(other)

    def rest(self) -> None:
        """No request is at work: what changes something then, but for deadlines, is nobody's, and all is forgotten."""
        self._own = self.keys = frozenset()
        self._rests = True

    def outdate(self, deadlines: ReadAhead) -> None:
        """Something was changed under the keys of others, for which that was read."""
        self._change(deadlines._changed.union(*deadlines._requests.values()))

    def work_on(self, request: object) -> None:
        """Give out what was read for this request, if it holds."""
        self._rests = False
        own = self._requests.get(id(request))
        changes = _changes_of(request)
        needed = frozenset(keys_of(request)) if own is None else own
        self._own = needed if changes is None else changes
        self.keys = needed if own is not None and not (needed | self._own) & self._changed else frozenset()
        if not self.keys:
            self._change(self._own)

    def rows(self, sql: str, parameters: tuple[object, ...]) -> list[Row] | None:
        """The rows that one of the operations' own statements finds; None where it was not asked, or not for sure."""
        answers = self._answers.get(sql) if self.keys else None
        return None if answers is None else answers.get(parameters)

    def checkpoint_number(self) -> int | None:
        """A number for a new checkpoint, above those before it; None where none is at hand."""
        return self._numbers.pop(0) if self._numbers else None

    def change(self) -> None:
        """The request at work changes something that is not followed: from then on it asks, and so do later ones under
        its keys."""
        self._change(self._own)
        self.keys = frozenset()
        if self._rests:
            self._requests, self._promises, self._due = {}, {}, {}

    def change_last(self) -> None:
        """The same of a change that the request itself does not ask about again."""
        self._change(self._own)

    def touch(self, key: str) -> None:
        """The request at work changes something under a key of others."""
        self._change({key})

    def _change(self, keys: Set[str]) -> None:
        self._changed |= keys
        for task_id in [each for each in self._due if promise_key(each) in keys]:
            del self._due[task_id]

    def _holds(self, promise_id: str) -> bool:
        """Whether what was read under the promise's key holds for the request at work."""
        if not self.keys:
            return False
        key = promise_key(promise_id)
        return key in self.keys or key not in self._changed

    def promise(self, promise_id: str) -> tuple[bool, Row | None]:
        """Whether it is known, and its row."""
        if promise_id not in self._promises or not self._holds(promise_id):
            return False, None
        return True, self._promises[promise_id]

    def unchanged(self, promise_id: str) -> Row | None:
        """Its row, after the requests, if it is known and nothing that is not followed happened under its key."""
        if promise_id in self._due:
            return self._promises.get(promise_id)
        return None if promise_key(promise_id) in self._changed else self._promises.get(promise_id)

    def pending(self, promise_id: str) -> tuple[bool, Row | None]:
        """Whether it is known, and its row if it is pending."""
        known, row = self.promise(promise_id)
        return known, None if row is None or row[1] != "pending" else row

    def insert(self, row: Row) -> bool:
        """Whether there is surely no such promise; from then on it is this one: the columns of INSERT_PROMISE."""
        if self._promises.get(row[0], ()) is not None or not self._holds(row[0]):
            return False
        self._promises[row[0]], self._made[row[0]] = row[:11], row[11:]
        self._written.add(row[0])
        return True

    def settle(self, row: Row) -> Row | None:
        """The promise is this from now on. Its branch and capability, if it was made in this transaction."""
        self._due.pop(row[0], None)
        self._promises[row[0]] = row
        self._written.add(row[0])
        return self._made.get(row[0])

    def task(self, task_id: str) -> tuple[bool, Row | None]:
        """Whether the task is known, and its columns of TASK_AT."""
        if task_id not in self._tasks or not self._holds(task_id):
            return False, None
        row = self._tasks[task_id]
        return True, None if row is None else row[:14]

    def facts(self, task_id: str) -> tuple[bool, Row | None]:
        """The same of what never changes: session, n, function, queue."""
        if task_id not in self._facts or not self._holds(task_id):
            return False, None
        return True, self._facts[task_id]

    def awaiters(self, awaited: str) -> list[str] | None:
        """The tasks that wait for a promise, in order, of which it is told once; None where they are not known."""
        return self._told_once(self._awaiters, awaited)

    def listeners(self, awaited: str) -> list[str] | None:
        """The same of the addresses that listen to it."""
        return self._told_once(self._listeners, awaited)

    def _told_once(self, lists: dict[str, list[str]], awaited: str) -> list[str] | None:
        if awaited not in lists or not self._holds(awaited):
            return None
        found, lists[awaited] = sorted(lists[awaited]), []
        return found

    def line(self, task_id: str) -> tuple[bool, Row | None]:
        """Whether the line of a task that waits is known, which is told once, and its columns; None for no task.

        Only under the keys of the request: others were not locked when it was read.
        """
        if task_id not in self._lines or promise_key(task_id) not in self.keys:
            return False, None
        return True, self._lines.pop(task_id)

    def end(self, task_id: str) -> None:
        """A task has ended: what it waited for, and is settled with it, lines it up no more."""
        self._tasks.pop(task_id, None)
        self._due.pop(task_id, None)
        if task_id in self._lines:
            self._lines[task_id] = ("fulfilled", None, None, None, None, None)

    def line_up(self, task_id: str, due: int | None) -> None:
        """A task is pending from now on, which changes nothing else."""
        self._changed |= self._own
        self._due.pop(task_id, None)
        offered = self._offers.get(task_id)
        if due is not None and offered is not None and promise_key(task_id) in self.keys:
            session, queue, version, group, preferred, exclusive, function, deployment, routes = offered
            self._due[task_id] = (
                task_id, version, due, group, preferred, exclusive, function, session, queue, deployment, routes
            )  # fmt: skip

    def due_rows(self, task_ids: list[str], now: int) -> list[Row] | None:
        """The columns of DUE_TASK of those of the tasks that are due; None where they are not known of all."""
        if not all(task_id in self._due for task_id in task_ids):
            return None
        return [row for row in (self._due[task_id] for task_id in task_ids) if row[2] <= now]

    def alone(self, branch: str) -> bool:
        """Whether surely no promise names this branch."""
        return branch in self._alone and self._holds(branch)

    def calls(self, execution: str) -> tuple[list[Row], Row | None] | None:
        """All that is recorded under an execution, in order, and the columns CALLS_TASK of its task; None where it is
        not known, or is long, or this transaction wrote some of it."""
        rows = self._listed.get(execution)
        if rows is None or len(rows) >= BEGUN_ROWS or not self._holds(execution):
            return None
        if any(each.startswith((f"{execution}.", f"{execution}:")) for each in self._written):
            return None
        return rows, self._noted[execution]

    def open_under(self, execution: str) -> list[str] | None:
        """The promises under it that were pending or were made since, in order; None where they are not known.

        Whoever asks looks at each again: one may have been settled since.
        """
        if execution not in self._open or not self._holds(execution):
            return None
        made = (each for each in self._made if each.startswith((f"{execution}.", f"{execution}:")))
        return sorted((*self._open[execution], *made))
