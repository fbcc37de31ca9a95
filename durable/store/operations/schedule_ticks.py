"""A tick of a schedule: the execution that it starts, and what it does where another goes on (specs/schedules.md)."""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

from durable.core.clock import TIME_MAX_MS
from durable.core.ids import QUEUE
from durable.core.limits import CANCEL_GRACE_S, QUEUE_NAME_CHARS_MAX
from durable.queues.states import EntryState
from durable.store.operations import queue_entries
from durable.store.operations.cancellation import cancel
from durable.store.operations.event_notes import Note
from durable.store.operations.lock_keys import queue_key
from durable.store.operations.promises import address_of, check_create, create_promise, origin_of
from durable.store.operations.queue_entries import QueueEntry
from durable.store.operations.queues import make_queue
from durable.store.operations.row_records import load_tags, load_value
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import ExecutionCancel, PromiseCreate, QueueBounds, Refused, Value

_FUNCTION = "durable:function"
"""Tag of a schedule's promises that is ours: those of others have the time that the protocol says."""
MISSED = "durable:missed"
"""Tag of a schedule's promises: what becomes of ticks that passed while nothing ran. `once` (the default) makes up for
the newest, `all` for each, up to a thousand, `skip` for none."""
_PLACES = re.compile(r"\{\{\s*\.(id|timestamp)\s*\}\}")
_PLAN = (
    "SELECT id, cron, promise_id, promise_timeout, promise_param, promise_tags, next_run_at, overlap, jitter_ms,"
    " paused, last_promise FROM schedules WHERE id=?"
)

_BEFORE = (
    "SELECT id FROM queue_entries WHERE queue=?1 AND state='waiting'"
    " UNION ALL SELECT id FROM queue_entries WHERE queue=?1 AND state <> 'waiting'"
)


class Plan(NamedTuple):
    """A schedule as its ticks need it."""

    id: str
    line: str
    template: str
    timeout_ms: int
    param: Value
    tags: dict[str, str]
    next_run_at: int
    overlap: str
    jitter_ms: int
    paused: bool
    last_promise: str | None

    @classmethod
    def of(cls, tx: Tx, schedule_id: str) -> Plan | None:
        """The schedule of that id, or None."""
        row = tx.row(_PLAN, (schedule_id,))
        if row is None:
            return None
        schedule, line, template, timeout_ms, param, tags, next_run_at, overlap, jitter_ms, paused, last = row
        return cls(
            schedule, line, template, timeout_ms, load_value(param), load_tags(tags), next_run_at, overlap, jitter_ms,
            bool(paused), last,
        )  # fmt: skip

    @property
    def queue(self) -> str:
        """The queue in which its executions stand where they wait for each other."""
        return f"schedule.{self.id}"[:QUEUE_NAME_CHARS_MAX]

    def begins_at(self, tick: int) -> int:
        """When the execution of a tick begins: up to `jitter_ms` later, the same in every process."""
        return tick + crc32(f"{self.id} {tick}".encode()) % (self.jitter_ms + 1)


def begin_at(tx: Tx, plan: Plan, tick: int, *, by_hand: bool = False, jitter: bool = True) -> str | None:
    """Start the execution of a tick: its promise; None where there is none, or one was started for it before.

    by_hand: it is no tick, and has an id of its own.
    """
    begins_at = plan.begins_at(tick) if jitter and not by_hand else tick
    if by_hand:
        while tx.promise_row(_promise_id(plan, tick, by_hand=True)) is not None:
            tick += 1  # of several in one millisecond each is one of its own
    request = _promise(plan, tick, max(begins_at, tx.now), by_hand=by_hand)
    if begins_at > tx.now:
        request.tags["resonate:delay"] = str(begins_at)  # type: ignore[index]
    try:
        check_create(request, request.tags or {})
    except Refused:
        return None  # a template whose ids break the rules makes nothing; the schedule shows by its last run
    if tx.promise_row(request.id) is not None:
        return None
    last = Plan.of(tx, plan.id)
    if plan.overlap == "skip" and last is not None and _goes_on(tx, last.last_promise):
        tx.execute("UPDATE schedules SET skipped=skipped+1 WHERE id=?", (plan.id,))
        tx.effects.notes.append(Note("skipped", plan.id, ms=tick))
        return None
    if plan.overlap in ("queue", "cancel"):
        newest = last.last_promise if last is not None and last.overlap in ("queue", "cancel") else None
        _stand_in_line(tx, plan._replace(last_promise=newest), request, begins_at)
    else:
        create_promise(tx, request)
    tx.effects.notes.append(Note("fired", plan.id, request.id, ms=tick))
    tx.execute("UPDATE schedules SET last_promise=? WHERE id=?", (request.id, plan.id))
    return request.id


def _promise_id(plan: Plan, tick: int, *, by_hand: bool) -> str:
    places = {"id": plan.id, "timestamp": f"now-{tick}" if by_hand else str(tick)}
    return _PLACES.sub(lambda found: places[found[1]], plan.template)


def _promise(plan: Plan, tick: int, begins_at: int, *, by_hand: bool) -> PromiseCreate:
    promise_id = _promise_id(plan, tick, by_hand=by_hand)
    own = {
        "resonate:origin": origin_of(promise_id),
        "resonate:branch": promise_id,
        "resonate:parent": promise_id,
        "resonate:scope": "global",
        "resonate:schedule": plan.id,
    }
    # The time of an execution counts from when it may begin, so that one that makes up for the past has it whole.
    timeout_at = min((begins_at if _FUNCTION in plan.tags else tick) + plan.timeout_ms, TIME_MAX_MS)
    return PromiseCreate(id=promise_id, timeout_at=timeout_at, param=plan.param, tags={**own, **plan.tags})


def _goes_on(tx: Tx, promise_id: str | None) -> bool:
    row = None if promise_id is None else tx.row("SELECT state FROM promises WHERE id=?", (promise_id,))
    return row is not None and row[0] == "pending"


def _outside(tx: Tx, plan: Plan) -> QueueEntry | None:
    """The entry of the newest execution where that goes on and stands in no queue: another policy had begun it."""
    if not _goes_on(tx, plan.last_promise):
        return None
    assert plan.last_promise is not None
    tx.lock_promise(plan.last_promise)
    row = tx.row("SELECT grp, function, queue FROM tasks WHERE id=? AND state<>'fulfilled'", (plan.last_promise,))
    if row is None or row[2] is not None:
        return None
    target = queue_entries.target_of(row[0], row[1])
    return QueueEntry(plan.last_promise, plan.queue, "", target, 0, 0, EntryState.ADMITTED, tx.now)


def _stand_in_line(tx: Tx, plan: Plan, request: PromiseCreate, begins_at: int) -> None:
    """Put the execution into the schedule's own queue, of which one begins at a time; or end those before it first."""
    outside = _outside(tx, plan)
    tx.lock(queue_key(plan.queue))
    if queue_entries.load_of(tx, plan.queue) is None:
        make_queue(tx, plan.queue, QueueBounds(concurrency=1))
    if outside is not None:
        tx.execute("UPDATE tasks SET queue=? WHERE id=?", (plan.queue, outside.id))
        queue_entries.put(tx, outside)
    if plan.overlap == "cancel":
        for (promise_id,) in tx.rows(_BEFORE, (plan.queue,)):
            tx.lock_promise(promise_id)
            reason = f"the next tick of the schedule {plan.id} has come"
            grace_ms = int(CANCEL_GRACE_S * 1000)
            cancel(tx, ExecutionCancel(id=promise_id, reason=reason, grace_ms=grace_ms))
    tags = request.tags or {}
    tags[QUEUE] = plan.queue
    record, made = create_promise(tx, request, queue=plan.queue)
    if not made or record["state"] != "pending":
        return
    address = address_of(tags["resonate:target"])
    target = queue_entries.target_of(address and address["group"], tags.get("durable:function", ""))
    state = EntryState.DELAYED if begins_at > tx.now else EntryState.WAITING
    queue_entries.put(tx, QueueEntry(request.id, plan.queue, "", target, 0, 0, state, begins_at))
