"""Schedules: promises made by the clock, each tick once across processes and restarts (specs/store.md, S12)."""

from __future__ import annotations

import re

from durable.core.clock import TIME_MAX_MS
from durable.core.limits import HELD_ELSEWHERE_MS
from durable.store.operations.cron import Cron, CronError
from durable.store.operations.promises import check_create, check_target, check_value, create_promise, origin_of
from durable.store.operations.records import SCHEDULE, dump, load_tags, load_value, schedule_record
from durable.store.operations.searches import SEARCH_DEFAULT, Search, Unfinished, begin, tagged
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import (
    EMPTY,
    Answer,
    ById,
    PromiseCreate,
    Record,
    Refused,
    ScheduleCreate,
    ScheduleSearch,
)

MISSED = "durable:missed"
"""Tag of a schedule's promises: what becomes of ticks that passed while nothing ran. `once` (the default) makes up for
the newest, `all` for each, up to a thousand, `skip` for none."""
_ON_TIME_MS = 60_000
_ALL_MAX = 1_000
_HOUR_MS = 3_600_000
_SPANS_MS = (_HOUR_MS, 24 * _HOUR_MS, 32 * 24 * _HOUR_MS, 366 * 24 * _HOUR_MS)
_PLACES = re.compile(r"\{\{\s*\.(id|timestamp)\s*\}\}")


def _find(tx: Tx, schedule_id: str) -> Record:
    row = tx.row(f"SELECT {SCHEDULE} FROM schedules WHERE id=?", (schedule_id,))
    if row is None:
        raise Refused(404, f"schedule {schedule_id!r} does not exist")
    return schedule_record(row)


def get(tx: Tx, request: ById) -> Answer:
    return Answer(200, {"schedule": _find(tx, request.id)})


def create(tx: Tx, request: ScheduleCreate) -> Answer:
    """Make it, or find it as it is."""
    tags = request.promise_tags or {}
    if not tags.get("resonate:target"):
        raise Refused(400, "a schedule's promises need a resonate:target")
    check_target(tags["resonate:target"])
    check_value(request.promise_param)
    try:
        next_run_at = Cron.parse(request.cron).after(tx.now)
    except CronError as error:
        raise Refused(400, str(error)) from error
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
    tx.execute("DELETE FROM schedules WHERE id=?", (request.id,))
    return Answer(200, {})


def search(tx: Tx, request: ScheduleSearch) -> Answer | Unfinished:
    """A page in order of id. `tags` are those of the schedule's promises."""
    where, parameters = tagged("promise_tags", request.tags)
    limit = request.limit or SEARCH_DEFAULT
    asked = Search("schedules", "schedules", SCHEDULE, schedule_record, limit, where, parameters)
    return begin(tx, asked, request.cursor)


def fire(tx: Tx) -> None:
    """Make the promises of every schedule whose tick has come, and move each to its next one, in this transaction."""
    rows = tx.rows(f"SELECT {SCHEDULE} FROM schedules WHERE next_run_at <= ? ORDER BY next_run_at, id", (tx.now,))
    for schedule_id, line, template, timeout_ms, param, tags_text, _, first, _ in rows:
        if not tx.lock_promise_if_free(schedule_id):
            tx.wake_at(tx.now + HELD_ELSEWHERE_MS)
            continue
        if tx.row("SELECT 1 FROM schedules WHERE id=? AND next_run_at <= ?", (schedule_id, tx.now)) is None:
            continue  # another transaction fired or deleted it before it was locked here
        tags = load_tags(tags_text)
        try:
            cron = Cron.parse(line)
        except CronError:  # this machine has no such time zone; everything else goes on, and it is tried again
            tx.execute("UPDATE schedules SET next_run_at=? WHERE id=?", (tx.now + _HOUR_MS, schedule_id))
            continue
        for tick in _due_ticks(cron, first, tx.now, tags.get(MISSED, "once")):
            places = {"id": schedule_id, "timestamp": str(tick)}
            promise_id = _PLACES.sub(lambda found, places=places: places[found[1]], template)  # type: ignore[misc]
            own = {
                "resonate:origin": origin_of(promise_id),
                "resonate:branch": promise_id,
                "resonate:parent": promise_id,
                "resonate:scope": "global",
                "resonate:schedule": schedule_id,
            }
            timeout_at = min(tick + timeout_ms, TIME_MAX_MS)
            request = PromiseCreate(id=promise_id, timeout_at=timeout_at, param=load_value(param), tags={**own, **tags})
            try:
                check_create(request, request.tags or {})
            except Refused:
                continue  # a template whose ids break the rules makes nothing; the schedule shows by its last run
            create_promise(tx, request)
        tx.execute(
            "UPDATE schedules SET next_run_at=?, last_run_at=? WHERE id=?", (cron.after(tx.now), tx.now, schedule_id)
        )


def _due_ticks(cron: Cron, first: int, now: int, missed: str) -> list[int]:
    """The ticks from `first` to now that are to be fired: the newest when it is on time, others by the policy."""
    if missed == "all":
        ticks = [first]
        while len(ticks) < _ALL_MAX and (following := cron.after(ticks[-1])) <= now:
            ticks.append(following)
        return ticks
    newest = _newest(cron, first, now)
    return [newest] if missed == "once" or now - newest < _ON_TIME_MS else []


def _newest(cron: Cron, first: int, now: int) -> int:
    """The last tick up to now, looking back over growing spans, so that a year of minutes is not walked through."""
    for span_ms in _SPANS_MS:
        tick = cron.after(max(now - span_ms, first))
        if tick <= now:
            while (following := cron.after(tick)) <= now:
                tick = following
            return tick
    return first
