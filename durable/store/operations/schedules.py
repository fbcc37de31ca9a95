"""Schedules: promises made by the clock, each tick once across processes and restarts (specs/store.md, S12)."""

from __future__ import annotations

from collections.abc import Callable

from durable.core.cron import Cron, CronError, Every, line_of
from durable.core.limits import HELD_ELSEWHERE_MS, SCHEDULE_TICKS_MAX
from durable.store.operations.promises import check_target, check_value
from durable.store.operations.queues import forget_queue
from durable.store.operations.row_records import SCHEDULE, Row, dump, schedule_record
from durable.store.operations.schedule_ticks import MISSED, Plan, begin_at
from durable.store.operations.searches import SEARCH_DEFAULT, Search, Unfinished, begin, tagged
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    EMPTY,
    Answer,
    ById,
    Record,
    Refused,
    ScheduleBackfill,
    ScheduleCreate,
    ScheduleList,
    SchedulePause,
    SchedulePut,
    ScheduleSearch,
)

_ON_TIME_MS = 60_000
_ALL_MAX = 1_000
_HOUR_MS = 3_600_000
_SPANS_MS = (_HOUR_MS, 24 * _HOUR_MS, 32 * 24 * _HOUR_MS, 366 * 24 * _HOUR_MS)


def _find(tx: Tx, schedule_id: str) -> Record:
    row = tx.row(f"SELECT {SCHEDULE} FROM schedules WHERE id=?", (schedule_id,))
    if row is None:
        raise Refused(404, f"schedule {schedule_id!r} does not exist")
    return schedule_record(row)


def get(tx: Tx, request: ById) -> Answer:
    return Answer(200, {"schedule": _find(tx, request.id)})


def _first_tick(tx: Tx, schedule: ScheduleCreate, line: Callable[[str], Cron | Every]) -> int:
    """When it is due first, once what its promises will be was checked."""
    target = (schedule.promise_tags or {}).get("resonate:target")
    if not target:
        raise Refused(400, "a schedule's promises need a resonate:target")
    check_target(target)
    check_value(schedule.promise_param)
    try:
        return line(schedule.cron).after(tx.now)
    except CronError as error:
        raise Refused(400, str(error)) from error


def create(tx: Tx, request: ScheduleCreate) -> Answer:
    """Make it, or find it as it is."""
    tags = request.promise_tags or {}
    next_run_at = _first_tick(tx, request, Cron.parse)
    made = tx.row(
        f"INSERT INTO schedules ({SCHEDULE}) VALUES (?,?,?,?,?,?,?,?,NULL) ON CONFLICT DO NOTHING RETURNING 1",
        (
            request.id,
            request.cron,
            request.promise_id,
            request.promise_timeout,
            dump(request.promise_param or EMPTY),
            dump(tags),
            tx.now,
            next_run_at,
        ),
    )
    if made is not None:
        tx.wake_at(next_run_at)
    return Answer(200, {"schedule": _find(tx, request.id)})


def delete(tx: Tx, request: ById) -> Answer:
    _find(tx, request.id)
    plan = Plan.of(tx, request.id)
    assert plan is not None
    tx.execute("DELETE FROM schedules WHERE id=?", (request.id,))
    forget_queue(tx, plan.queue)
    return Answer(200, {})


# -- of ours: what becomes of ticks while an execution goes on, pauses, ticks by hand ---------------------------------

_SHOWN = f"{SCHEDULE},overlap,jitter_ms,paused,last_promise,skipped"


def _shown(row: Row) -> Record:
    return {
        **schedule_record(row[:9]),
        "overlap": row[9],
        "jitterMs": row[10],
        "paused": bool(row[11]),
        "lastPromise": row[12],
        "skipped": row[13],
    }


def _show(tx: Tx, schedule_id: str) -> Record:
    row = tx.row(f"SELECT {_SHOWN} FROM schedules WHERE id=?", (schedule_id,))
    if row is None:
        raise Refused(404, f"schedule {schedule_id!r} does not exist")
    return _shown(row)


def put(tx: Tx, request: SchedulePut) -> Answer:
    """Make it, or let it be from now on what the request says. A pause goes on unless the request says otherwise."""
    schedule, tags = request.schedule, request.schedule.promise_tags or {}
    next_run_at = _first_tick(tx, schedule, line_of)
    before = tx.row("SELECT cron, paused, next_run_at FROM schedules WHERE id=?", (schedule.id,))
    if before is not None and before[0] == schedule.cron and not before[1]:
        next_run_at = min(next_run_at, before[2])  # ticks that were missed are still to be made up for
    paused = bool(before is not None and before[1]) if request.paused is None else request.paused
    tx.execute(
        "INSERT INTO schedules (id, cron, promise_id, promise_timeout, promise_param, promise_tags, created_at,"
        " next_run_at, overlap, jitter_ms, paused) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11) ON CONFLICT (id)"
        " DO UPDATE SET cron=?2, promise_id=?3, promise_timeout=?4, promise_param=?5, promise_tags=?6, next_run_at=?8,"
        " overlap=?9, jitter_ms=?10, paused=?11",
        (
            schedule.id,
            schedule.cron,
            schedule.promise_id,
            schedule.promise_timeout,
            dump(schedule.promise_param or EMPTY),
            dump(tags),
            tx.now,
            next_run_at,
            request.overlap,
            request.jitter_ms,
            paused,
        ),
    )
    tx.wake_at(next_run_at)
    return Answer(200, {"schedule": _show(tx, schedule.id)})


def listing(tx: Tx, request: ScheduleList) -> Answer:
    """A page of schedules, by id, or one of them."""
    if request.id is not None:
        rows = tx.rows(f"SELECT {_SHOWN} FROM schedules WHERE id=?", (request.id,))
        return Answer(200, {"schedules": [_shown(row) for row in rows], "more": False})
    rows = tx.rows(f"SELECT {_SHOWN} FROM schedules WHERE id > ? ORDER BY id LIMIT ?", (request.after, request.limit))
    return Answer(200, {"schedules": [_shown(row) for row in rows], "more": len(rows) == request.limit})


def pause(tx: Tx, request: SchedulePause) -> Answer:
    """Let no tick fire, or let them fire again: what passed meanwhile is not made up for."""
    record = _show(tx, request.id)
    if record["paused"] != request.paused:
        next_run_at = record["nextRunAt"] if request.paused else line_of(record["cron"]).after(tx.now)
        tx.execute("UPDATE schedules SET paused=?, next_run_at=? WHERE id=?", (request.paused, next_run_at, request.id))
        tx.wake_at(next_run_at)
    return Answer(200, {"schedule": _show(tx, request.id)})


def trigger(tx: Tx, request: ById) -> Answer:
    """Start an execution now, as a tick does: its promise, None where one goes on and the schedule skips."""
    plan = Plan.of(tx, request.id)
    if plan is None:
        raise Refused(404, f"schedule {request.id!r} does not exist")
    return Answer(200, {"promise": begin_at(tx, plan, tx.now, by_hand=True)})


def backfill(tx: Tx, request: ScheduleBackfill) -> Answer:
    """Make up for the ticks of a stretch of time, in their order; what was started for one of them is not again."""
    plan = Plan.of(tx, request.id)
    if plan is None:
        raise Refused(404, f"schedule {request.id!r} does not exist")
    line, tick, ticks = line_of(plan.line), request.since - 1, list[int]()
    while (tick := line.after(tick)) < min(request.until, tx.now + 1):
        ticks.append(tick)
        if len(ticks) > SCHEDULE_TICKS_MAX:
            raise Refused(
                400,
                f"there are more than {SCHEDULE_TICKS_MAX} ticks in that time (SCHEDULE_TICKS_MAX): take a part of it",
            )
    plan = plan._replace(overlap=request.overlap)
    made = [promise for tick in ticks if (promise := begin_at(tx, plan, tick, jitter=False)) is not None]
    return Answer(200, {"promises": made, "ticks": len(ticks)})


def search(tx: Tx, request: ScheduleSearch) -> Answer | Unfinished:
    """A page in order of id. `tags` are those of the schedule's promises."""
    where, parameters = tagged("promise_tags", request.tags)
    limit = request.limit or SEARCH_DEFAULT
    asked = Search("schedules", "schedules", SCHEDULE, schedule_record, limit, where, parameters)
    return begin(tx, asked, request.cursor)


def fire(tx: Tx) -> None:
    """Make the promises of every schedule whose tick has come, and move each to its next one, in this transaction."""
    rows = tx.rows("SELECT id FROM schedules WHERE paused=0 AND next_run_at <= ? ORDER BY next_run_at, id", (tx.now,))
    for (schedule_id,) in rows:
        if not tx.lock_promise_if_free(schedule_id):
            tx.wake_at(tx.now + HELD_ELSEWHERE_MS)
            continue
        plan = Plan.of(tx, schedule_id)
        if plan is None or plan.paused or plan.next_run_at > tx.now:
            continue  # another transaction fired, paused or deleted it before it was locked here
        try:
            line = line_of(plan.line)
        except CronError:  # this machine has no such time zone; everything else goes on, and it is tried again
            tx.execute("UPDATE schedules SET next_run_at=? WHERE id=?", (tx.now + _HOUR_MS, schedule_id))
            continue
        for tick in _due_ticks(line, plan.next_run_at, tx.now, plan.tags.get(MISSED, "once")):
            begin_at(tx, plan, tick)
        tx.execute(
            "UPDATE schedules SET next_run_at=?, last_run_at=? WHERE id=?", (line.after(tx.now), tx.now, schedule_id)
        )


def follow_clock(tx: Tx) -> None:
    """Follow a clock that was set back: what was fired, or made, in a time that is still to come has its next tick
    after now. Those that have an execution already are not fired again."""
    rows = tx.rows("SELECT id, cron, next_run_at FROM schedules WHERE last_run_at > ?1 OR created_at > ?1", (tx.now,))
    for schedule_id, text, next_run_at in rows:
        try:
            following = line_of(text).after(tx.now)
        except CronError:
            continue
        if following < next_run_at:
            tx.execute(
                "UPDATE schedules SET next_run_at=?2, last_run_at=CASE WHEN last_run_at > ?3 THEN ?3 ELSE last_run_at"
                " END WHERE id=?1",
                (schedule_id, following, tx.now),
            )
            tx.wake_at(following)


def _due_ticks(cron: Cron | Every, first: int, now: int, missed: str) -> list[int]:
    """The ticks from `first` to now that are to be fired: the newest when it is on time, others by the policy."""
    if missed == "all":
        ticks = [first]
        while len(ticks) < _ALL_MAX and (following := cron.after(ticks[-1])) <= now:
            ticks.append(following)
        return ticks
    newest = _newest(cron, first, now)
    return [newest] if missed == "once" or now - newest < _ON_TIME_MS else []


def _newest(cron: Cron | Every, first: int, now: int) -> int:
    """The last tick up to now, looking back over growing spans, so that a year of minutes is not walked through."""
    for span_ms in _SPANS_MS:
        tick = cron.after(max(now - span_ms, first))
        if tick <= now:
            while (following := cron.after(tick)) <= now:
                tick = following
            return tick
    return first
