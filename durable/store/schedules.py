"""Schedules: promises made by the clock (specs/store.md, S12)."""

from __future__ import annotations

from durable.store.cron import Cron, CronError
from durable.store.promises import check_value
from durable.store.records import SCHEDULE, dump, schedule_record
from durable.store.requests import EMPTY, Answer, ById, Record, Refused, ScheduleCreate, ScheduleSearch
from durable.store.transaction import Tx

_SEARCH_DEFAULT = 100


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
    check_value(request.promise_param)
    try:
        next_run_at = Cron.parse(request.cron).after(tx.now)
    except CronError as error:
        raise Refused(400, str(error)) from error
    made = tx.execute(
        f"INSERT INTO schedules ({SCHEDULE}) VALUES (?,?,?,?,?,?,?,?,NULL) ON CONFLICT DO NOTHING",
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
    if made.rowcount:
        tx.wake_at(next_run_at)
    return Answer(200, {"schedule": _find(tx, request.id)})


def delete(tx: Tx, request: ById) -> Answer:
    _find(tx, request.id)
    tx.execute("DELETE FROM schedules WHERE id=?", (request.id,))
    return Answer(200, {})


def search(tx: Tx, request: ScheduleSearch) -> Answer:
    """A page in order of id; `cursor` is there iff there is more. `tags` are those of the schedule's promises."""
    limit = request.limit or _SEARCH_DEFAULT
    where, parameters = ["id > ?"], [request.cursor[1:] if request.cursor else ""]
    for key, value in (request.tags or {}).items():
        where.append("EXISTS (SELECT 1 FROM json_each(promise_tags) tag WHERE tag.key = ? AND tag.value = ?)")
        parameters += [key, value]
    sql = f"SELECT {SCHEDULE} FROM schedules WHERE {' AND '.join(where)} ORDER BY id LIMIT {limit + 1}"
    rows = tx.rows(sql, tuple(parameters))
    data: Record = {"schedules": [schedule_record(row) for row in rows[:limit]]}
    if len(rows) > limit:
        data["cursor"] = f">{rows[limit - 1][0]}"
    return Answer(200, data)
