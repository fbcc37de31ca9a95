"""One write transaction: the time, the memory of what the commit will mean, who is at hand, and how to run statements.

Operations are written once, in SQL that SQLite and PostgreSQL both take; each kind of store has its own `Tx`.

Everything that the rest of the world must learn of a commit (answers, pushed messages, woken waiters, peers to notify)
is collected in `Effects` and happens only after the commit; a rolled back transaction leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, NamedTuple

import msgspec

from durable.core.clock import TIME_MAX_MS
from durable.core.ids import may_be_recorded
from durable.core.limits import BEGUN_ROWS
from durable.store.operations.event_notes import Note
from durable.store.operations.execution_slots import Slots
from durable.store.operations.halted_waits import Halt
from durable.store.operations.large_values import LargeValues, is_reference
from durable.store.operations.leases import EngineLeases
from durable.store.operations.liveness import EngineLiveness
from durable.store.operations.row_records import PROMISE, TASK, Row, dump, promise_record
from durable.store.protocol.requests import Record

TASK_AT = f"{TASK}, session, n, progress, lapsed_pid, lapsed_ttl, cancel_at, queue, deployment"
"""The columns of a task that its holder's writes depend on."""

CALLS_TASK = "logged, cancel_at, cancel_reason, cancelled_at"
"""The columns of a task that go with what is recorded under it."""

END_TASK = (
    "UPDATE tasks SET state='fulfilled', ended=?, pid=NULL, ttl=NULL, lease_at=NULL, lapsed_pid=NULL,"
    " lapsed_ttl=NULL, due=NULL, resumes=0, note=NULL, cancel_at=NULL WHERE id=?"
)


ACQUIRE_TASK = (
    "UPDATE tasks SET state='acquired', version=version+1, pid=?, ttl=?, lease_at=?, lapsed_pid=NULL,"
    " lapsed_ttl=NULL, due=NULL, resumes=0, progress=0,"
    " deployment=CASE WHEN session IS NULL AND function<>'' THEN coalesce(deployment, ?) END WHERE id=?"
)

INSERT_PROMISE = f"INSERT INTO promises ({PROMISE}, external, branch, capability) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
SETTLE_PROMISE = "UPDATE promises SET state=?, value_headers=?, value_data=?, settled_at=?, outcome=? WHERE id=?"

CHECKPOINT = "session, epoch, execution, n, statement, final, label, by_code, manifest, created_at"
"""The columns of a checkpoint, but its number."""

LINE_UP = (
    "UPDATE tasks SET state='pending', pid=NULL, ttl=NULL, lease_at=NULL, lapsed_pid=NULL, lapsed_ttl=NULL, due=?,"
    " resumes=resumes+? WHERE id=?"
)

OFFERED = "t.version, t.grp, t.preferred, t.exclusive, t.function, t.deployment, EXISTS (SELECT 1 FROM deployments)"
"""The columns by which an engine is chosen for a task, besides those of `line_row`."""

DUE_TASK = (
    "SELECT id, version, due, grp, preferred, exclusive, function, session, queue, deployment,"
    " EXISTS (SELECT 1 FROM deployments) FROM tasks"
    " WHERE state='pending' AND due IS NOT NULL"
)

NOTE_PROGRESS = "UPDATE tasks SET progress=1 WHERE id=? AND progress=0"

# Made once: a text that is put together at every call is hashed at every call.
_TASK_ROW = f"SELECT {TASK_AT} FROM tasks WHERE id=?"
_CALLS = f"SELECT {PROMISE} FROM promises WHERE (id > ? AND id < ?) OR (id > ? AND id < ?) ORDER BY id LIMIT ?"
_CALLS_TASK = f"SELECT {CALLS_TASK} FROM tasks WHERE id=?"
_LINE_ROW = "SELECT state, session, n, not_before, timer, queue FROM tasks WHERE id=?"
_DUE_ONE = f"{DUE_TASK} AND id=?1 AND due <= ?2"
_DUE_SOME = f"{DUE_TASK} AND id IN (SELECT value FROM json_each(?1)) AND due <= ?2"
_PROMISE_ROW = f"SELECT {PROMISE}, external FROM promises WHERE id=?"
_MAKE_PROMISE = f"{INSERT_PROMISE} ON CONFLICT DO NOTHING RETURNING 1"
_SETTLE_PENDING = f"{SETTLE_PROMISE} AND state='pending' RETURNING {PROMISE}, external"
_MAKE_CHECKPOINT = f"INSERT INTO checkpoints ({CHECKPOINT}) VALUES (?,?,?,?,?,?,?,?,?,?) RETURNING id"
_END_TASK = f"{END_TASK} RETURNING session, n, function, queue"


class MessageEnd(msgspec.Struct):
    """A connection of this process that takes messages: an engine's, or a client's."""

    engine: str
    group: str
    address: str
    push: Callable[[str], None]
    slots: Slots | None = None
    """The room that its engine has for offers; None for one elsewhere, which is not counted."""
    begin: Callable[[str, int, Record, Record | None], None] | None = None
    """Runs a task that was acquired for its engine: id, version, promise and record, as `BegunTask` has them. A slot
    was taken for it. None where the engine acquires what it is offered by a request of its own."""

    def addresses(self) -> tuple[str, str, str]:
        """Every address whose messages this connection takes."""
        return (self.address, f"poll://any@{self.group}", f"poll://any@{self.group}/{self.engine}")


class EngineServes(NamedTuple):
    """The functions that an engine says it serves when it joins, whether it serves sessions, from which queues alone it
    takes executions (None for all, and for what stands in none), and its deployment ("" for none)."""

    functions: frozenset[str]
    sessions: bool
    queues: frozenset[str] | None = None
    deployment: str = ""


class Deadline(msgspec.Struct, frozen=True):
    """A promise that times out: it is settled as any other, though no request does so."""

    id: str
    at: int
    timer: bool


class BegunTask(msgspec.Struct):
    """A task that was acquired for an engine of this process."""

    end: MessageEnd
    task_id: str
    version: int
    promise: Record
    record: Record | None = None
    """The first BEGUN_ROWS of what is recorded under it, as `call.list` gives it, in the transaction that acquired it.
    None where whoever runs it has to ask: values are large; and where nothing can be recorded: it begins for the first
    time."""


class Effects(msgspec.Struct):
    """The effects of a commit on others."""

    settled: dict[str, Record] = {}
    """External promises settled, by id."""
    internal: dict[str, Record] = {}
    """The others, by id: nobody but waiters of this process is told at once."""
    ready: list[str] = []
    """Tasks that became due."""
    unblocked: list[tuple[str, Record]] = []
    """Listeners' addresses and the promise each waited for."""
    pushes: list[tuple[MessageEnd, str]] = []
    """Messages for connections of this process."""
    begun: list[BegunTask] = []
    """Tasks that were acquired for engines of this process."""
    output: set[str] = msgspec.field(default_factory=set)
    """Executions that printed."""
    streams: set[str] = msgspec.field(default_factory=set)
    """Executions that wrote to a stream or published, by their promises."""
    stopped: set[str] = msgspec.field(default_factory=set)
    """Tasks that were suspended or halted."""
    halted: dict[str, str] = {}
    """The stopped tasks that were halted, and why."""
    cancelled: set[str] = msgspec.field(default_factory=set)
    """Functions that are to end: they may clean up first."""
    orphans: dict[str, str] = {}
    """Child executions that are to be cancelled, and why, before the transaction ends."""
    halts: dict[str, Halt] = {}
    """Halts of promises that somebody waits for here, by the promises' ids; looked at after the commit."""
    prompts: set[str] = msgspec.field(default_factory=set)
    """Questions that were asked."""
    sessions: set[str] = msgspec.field(default_factory=set)
    """Sessions whose owner, worker or cells changed."""
    dead: list[tuple[str, int]] = []
    """Engines found dead, and how many tasks each held."""
    queues: set[str] = msgspec.field(default_factory=set)
    """Queues in which something waits that did not, or a place is free."""
    admissible: set[str] = msgspec.field(default_factory=set)
    """Those of them of which nobody has looked yet whether more may begin."""
    rescan: bool = False
    """Tasks that were not offered before may be now: an engine came or a session got free."""
    peers: bool = False
    """Other processes should look."""
    policies: set[str] = msgspec.field(default_factory=set)
    """Sessions whose permissions changed, or `*` for everybody's, or where another process may have changed them."""
    posts: bool = False
    """Messages for URLs wait to be sent."""
    notes: list[Note] = []
    """What observers are told of queues and schedules."""
    regressed: int = 0
    """Commits of this process that the database had acknowledged and has no more, found before this one."""

    def queue_changed(self, queue: str) -> None:
        """More of a queue may be able to begin."""
        self.queues.add(queue)
        self.admissible.add(queue)

    def changed(self) -> bool:
        """Whether watchers have anything to look at."""
        return bool(
            self.cancelled
            or self.queues
            or self.posts
            or self.policies
            or self.settled
            or self.ready
            or self.dead
            or self.output
            or self.streams
            or self.prompts
            or self.stopped
            or self.sessions
        )


class FenceMemory(msgspec.Struct):
    """The rows that writes under leases, which follow each other in a transaction, need not read again.

    Any other request, and what follows from a write for other executions, begins a new one."""

    task: Row | None = None
    """The columns of TASK_AT of the task that the write before this one was under, with its lease renewed."""
    made: dict[str, Record] = {}
    """The promises with a task that were made, by id."""
    deployments: bool | None = None
    """Whether there are any; None where nobody has looked."""


class Tx:
    """A transaction in progress. Made anew for each try; used by the writer thread only."""

    __slots__ = (
        "attended",
        "debug",
        "effects",
        "ends",
        "fences",
        "leases",
        "liveness",
        "next_deadline",
        "now",
        "passed",
        "served",
        "swept",
        "taken",
        "values",
    )

    SKIP_LOCKED: ClassVar[str] = ""
    """The end of a query for rows to be deleted in the same statement: what others delete just now is left out."""

    def __init__(
        self,
        now: int,
        ends: dict[str, MessageEnd],
        served: dict[str, EngineServes],
        liveness: EngineLiveness,
        leases: EngineLeases,
        values: LargeValues,
        *,
        debug: bool = False,
    ) -> None:
        self.now = now
        self.ends = ends
        self.liveness = liveness
        self.leases = leases
        self.served = served
        self.values = values
        # The contract suite's model is the protocol's: it keeps deadlines, but gives up nothing and fires nothing.
        self.debug = debug
        self.attended = False
        """Whether the loop of this process had a turn just now: it has sent what this transaction is about."""
        self.effects = Effects()
        self.next_deadline = TIME_MAX_MS
        self.swept = True
        """Whether all that was due at its beginning was seen to."""
        self.passed: tuple[int, int, str] | tuple[()] = ()
        """The place of the last promise, in the order in which they time out, that this transaction or one just before
        it has settled or found in others' hands; () for none."""
        self.fences = FenceMemory()
        self.taken: list[Slots] = []
        """One for each offer, to be given back where nothing is committed."""

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """Run one statement that changes rows."""
        raise NotImplementedError

    def execute_soon(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """The same, before the next statement that this request runs another way; of requests under different keys
        several may be run together, in any order."""
        self.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement once for each row of parameters."""
        raise NotImplementedError

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> Row | None:
        """The first row, or None."""
        raise NotImplementedError

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """All rows, fetched: no cursor stays open over a write."""
        raise NotImplementedError

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[Row]:
        """The rows one after the other, as far as they are asked for; nothing is written meanwhile."""
        raise NotImplementedError

    def record(self, row: Row, tags: dict[str, str] | None = None) -> Record:
        """A promise from the columns of PROMISE, with its values whole. tags: the row's, where they are at hand."""
        return promise_record(self.values.whole_row(row), tags)

    # -- statements of nearly every request: a store far away answers them from what it read ahead --------------

    def work_on(self, request: object | None) -> None:
        """The requests before this one are done; the statements that follow are its own, or nobody's."""

    def task_row(self, task_id: str) -> Row | None:
        """The columns of TASK_AT of a task."""
        return self.row(_TASK_ROW, (task_id,))

    def line_row(self, task_id: str) -> Row | None:
        """The columns that decide when a task may run: state, session, n, not_before, timer, queue."""
        return self.row(_LINE_ROW, (task_id,))

    def line_up(self, task_id: str, due: int | None, settled_awaited: int) -> None:
        """Make a task pending, for which so many promises that it waits for settled just now."""
        self.execute_soon(LINE_UP, (due, settled_awaited, task_id))

    def due_rows(self, task_ids: list[str]) -> list[Row]:
        """The columns of DUE_TASK of those of the tasks that are due, in this order."""
        if len(task_ids) == 1:
            return self.rows(_DUE_ONE, (task_ids[0], self.now))
        rows = {row[0]: row for row in self.rows(_DUE_SOME, (dump(task_ids), self.now))}
        return [rows[task_id] for task_id in task_ids if task_id in rows]

    def promise_row(self, promise_id: str) -> Row | None:
        """The columns of PROMISE, and `external`."""
        return self.row(_PROMISE_ROW, (promise_id,))

    def promise_rows(self, promise_ids: list[str]) -> dict[str, Row]:
        """The same of several, by id."""
        rows = {promise_id: self.promise_row(promise_id) for promise_id in promise_ids}
        return {promise_id: row for promise_id, row in rows.items() if row is not None}

    def insert_promise(self, row: Row) -> bool:
        """Make a promise of the columns of PROMISE, external, branch and capability. False when there is one."""
        return self.row(_MAKE_PROMISE, row) is not None

    def settle_promise(self, promise_id: str, settled: Row) -> Row | None:
        """Write state, value_headers, value_data, settled_at and outcome of a pending promise: its columns as
        `promise_row` has them. None, and nothing happens, when it is not pending."""
        return self.row(_SETTLE_PENDING, (*settled, promise_id))

    def insert_checkpoint(self, row: Row) -> int:
        """Make a checkpoint of the columns of CHECKPOINT: its number, above those of all that were made before."""
        made = self.row(_MAKE_CHECKPOINT, row)
        assert made is not None
        return int(made[0])

    def end_task(self, task_id: str, ended: str) -> Row | None:
        """Mark a task as fulfilled: its session, n, function and queue; None when there is none."""
        return self.row(_END_TASK, (ended, task_id))

    def take_awaiters(self, awaited: str) -> list[str]:
        """The tasks that wait for a promise, in order; they are recorded as waiting no more."""
        rows = self.rows("DELETE FROM callbacks WHERE awaited=? RETURNING awaiter", (awaited,))
        return sorted(row[0] for row in rows)

    def take_listeners(self, awaited: str) -> list[str]:
        """The addresses that want to hear of a promise, in order; they are recorded as listening no more."""
        rows = self.rows("DELETE FROM listeners WHERE awaited=? RETURNING address", (awaited,))
        return sorted(row[0] for row in rows)

    def open_under(self, execution: str) -> list[str]:
        """The pending promises under an execution, in order."""
        rows = self.rows(
            "SELECT id FROM promises WHERE state='pending' AND ((id > ? AND id < ?) OR (id > ? AND id < ?))"
            " ORDER BY id",
            (f"{execution}.", f"{execution}/", f"{execution}:", f"{execution};"),
        )
        return [row[0] for row in rows]

    def calls(self, execution: str, after: str, limit: int) -> tuple[list[Row], Row | None]:
        """The columns of PROMISE of what is recorded under an execution, in order, behind an id; and the columns of
        CALLS_TASK of its task, if there is one."""
        first = (max(f"{execution}.", after), f"{execution}/", max(f"{execution}:", after), f"{execution};")
        return self.rows(_CALLS, (*first, limit)), self.row(_CALLS_TASK, (execution,))

    def read_begun(self) -> None:
        """Have what is recorded under the tasks that this transaction acquired read with it, as its last statements."""
        for begun in self.effects.begun:
            if may_be_recorded(begun.version, begun.promise["tags"]):
                begun.record = self.begun_record(*self.calls(begun.task_id, "", BEGUN_ROWS))

    def begun_record(self, rows: list[Row], task: Row | None) -> Record | None:
        """The `BegunTask.record` of what `calls` gave."""
        if any(is_reference(row[3]) or is_reference(row[5]) for row in rows):
            return None
        return self.calls_record(rows, task)

    def calls_record(self, rows: list[Row], task: Row | None) -> Record:
        """The answer of `call.list` from what `calls` gave."""
        data: Record = {"promises": [self.record(row) for row in rows]}
        if task is not None:
            logged, cancel_at, reason, cancelled_at = task
            data["logged"] = logged
            data |= (
                {"cancelled": None, "cancelled_at": None}
                if cancel_at is None
                else {"cancelled": reason or "", "cancelled_at": cancelled_at}
            )
        return data

    def branch_rows(self, branch: str, but: str) -> list[Row]:
        """The columns of PROMISE of a branch's promises, in order, without one of them."""
        return self.rows(f"SELECT {PROMISE} FROM promises WHERE branch=? AND id<>? ORDER BY id", (branch, but))

    # -- locks ----------------------------------------------------------------------------------------------------

    def lock(self, key: str) -> None:
        """Hold what goes by this key (lock_keys.py) against other transactions until this one ends.

        Where one transaction writes at a time, it holds everything already.
        """

    def lock_promise(self, promise_id: str) -> None:
        """The same for the key of a promise."""

    def lock_session(self, session: str) -> None:
        """The same for the key of a session."""

    def lock_promise_if_free(self, promise_id: str) -> bool:
        """The same for the key of a promise, unless another transaction holds it just now."""
        del promise_id
        return True

    def hold_if_free(self, deadlines: list[Deadline]) -> set[str]:
        """Hold the keys of promises that are to be settled, unless another transaction holds them just now: the ids of
        those that are held."""
        return {deadline.id for deadline in deadlines}

    def claim(self, tasks: list[tuple[str, int]]) -> set[str]:
        """Take due tasks, each with its due time, for offers: the ids of those that no other engine takes just now."""
        return {task_id for task_id, _ in tasks}

    def changes(self) -> int:
        """How many rows this connection has changed so far, where that is known at once."""
        return 0

    def wake_at(self, time_ms: int) -> None:
        """The deadlines must be looked at then, at the latest."""
        if time_ms < self.next_deadline:
            self.next_deadline = time_ms
