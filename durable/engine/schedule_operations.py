"""`engine.schedule` and `engine.schedules`: executions that the clock starts (specs/schedules.md)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.cron import EVERY, CronError, line_of
from durable.core.definition_id import SOURCE
from durable.core.durations import seconds
from durable.core.errors import BadArguments, NotFound, StoreRefused
from durable.core.limits import SCHEDULE_TICKS_MAX
from durable.records.values import pack, unpack

if TYPE_CHECKING:
    from durable.functions.definition import Function
    from durable.store.port import StoreFace

type Overlap = Literal["allow", "skip", "queue", "cancel"]
type Missed = Literal["once", "all", "skip"]

OVERLAPS: tuple[str, ...] = get_args(Overlap.__value__)
MISSED: tuple[str, ...] = get_args(Missed.__value__)
JITTER_S_MAX = 366 * 86_400.0
"""As long as the longest `@every`."""
_NO_ZONE = "timezone is for cron lines; what comes every so many seconds has none"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule: its line (cron, or `@every 15s`), what it starts, and when it was and will be.

    overlap: what a tick does while an execution of it goes on. missed: what becomes of ticks that passed while nothing
    ran. jitter: seconds by which an execution may begin later. timeout: seconds that each execution has, None for no
    limit. skipped: ticks that made nothing, since one went on. last_execution: the id of the newest one that it
    started.
    """

    id: str
    line: str
    function: str
    arguments: Any
    overlap: Overlap
    missed: Missed
    jitter: float
    timeout: float | None
    paused: bool
    skipped: int
    created_at: datetime
    next_at: datetime | None
    last_at: datetime | None
    last_execution: str | None


class Schedules:
    """The schedules of the store. `engine.schedules`."""

    def __init__(self, store: StoreFace, group: str) -> None:
        self._store = store
        self._group = group

    async def put(
        self,
        id: str,
        when: str | float | timedelta,
        function: Function[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        timezone: str | None = None,
        overlap: Overlap = "allow",
        jitter: float | timedelta | None = None,
        missed: Missed = "once",
        paused: bool | None = None,
        timeout: float | timedelta | None = None,
    ) -> Schedule:
        """Make a schedule, or let the one of this id be what is given from now on. BadArguments, InvalidId."""
        line = line_for(when, timezone)
        packed, named, arguments = function.pack(args, kwargs)
        data = {"func": function.key, "args": packed, "kwargs": named, "version": function.version}
        tags = {"durable:function": function.id, SOURCE: function.source, "durable:arguments": arguments}
        policies = SchedulePolicies(overlap, jitter, missed, paused, timeout)
        request = schedule_request(id, line, pack(data), tags, policies, self._group)
        return _schedule((await self._ask("schedule.put", id, request))["schedule"])

    async def list(self) -> _Schedules:
        """All schedules, by id."""
        return [_schedule(each) for each in await list_schedules(self._store)]

    async def get(self, id: str) -> Schedule:
        """One schedule. NotFound."""
        return _schedule(await schedule_record(self._store, id))

    async def pause(self, id: str) -> Schedule:
        """Let no tick of it fire. What it started goes on. NotFound."""
        return _schedule((await self._ask("schedule.pause", id, {"id": id, "paused": True}))["schedule"])

    async def resume(self, id: str) -> Schedule:
        """Let its ticks fire again; those that passed meanwhile are not made up for. NotFound."""
        return _schedule((await self._ask("schedule.pause", id, {"id": id, "paused": False}))["schedule"])

    async def trigger(self, id: str) -> str | None:
        """Start an execution of it now, whether it is paused or not: its id; None where it skips, since one goes on.

        NotFound.
        """
        promise = (await self._ask("schedule.trigger", id, {"id": id}))["promise"]
        return None if promise is None else str(promise).removeprefix(ids.PREFIX)

    async def backfill(self, id: str, since: datetime, until: datetime, *, overlap: Overlap = "queue") -> _Ids:
        """Make up for the ticks from `since` up to `until`, in their order: the ids of what is started.

        A tick for which an execution was started before is left out. overlap: as for the schedule; one after the other
        when not given. NotFound; BadArguments for more than SCHEDULE_TICKS_MAX ticks, and for time that is to come.
        """
        first, last = _ms(since), _ms(until)
        if first > last:
            raise BadArguments(f"since ({since}) is later than until ({until})")
        if first < 0:
            raise BadArguments(f"{since} is before 1970")
        if first > now_ms():
            raise BadArguments(f"{since} is to come: a backfill makes up for ticks that passed")
        _check_word("overlap", overlap, OVERLAPS)
        found = await self._ask("schedule.backfill", id, {"id": id, "since": first, "until": last, "overlap": overlap})
        return [each.removeprefix(ids.PREFIX) for each in found["promises"]]

    async def delete(self, id: str) -> None:
        """Fire no more ticks. What it started goes on. NotFound."""
        await self._ask("schedule.delete", id, {"id": id})

    async def _ask(self, kind: str, id: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return (await self._store.request(kind, request)).data
        except StoreRefused as refused:
            if refused.status == 404:
                raise _not_found(id) from None
            raise BadArguments(refused.message) from None


class SchedulePolicies(NamedTuple):
    """The policies of a schedule as they are given. jitter, timeout: seconds or timedelta. paused: None: as it is."""

    overlap: Overlap = "allow"
    jitter: float | timedelta | None = None
    missed: Missed = "once"
    paused: bool | None = None
    timeout: float | timedelta | None = None


def schedule_request(
    id: str, line: str, data: str | None, tags: dict[str, str], policies: SchedulePolicies, group: str
) -> dict[str, Any]:
    """The request `schedule.put` of a call: its data, and the tags that say what it is. BadArguments, InvalidId."""
    ids.check_given_id(id)
    _check_word("overlap", policies.overlap, OVERLAPS)
    _check_word("missed", policies.missed, MISSED)
    if policies.paused not in (None, True, False):
        raise BadArguments(f"paused is True, False or None for as it is, not {policies.paused!r}")
    limit, jitter_s = seconds(policies.timeout), seconds(policies.jitter) or 0.0
    if jitter_s > JITTER_S_MAX:
        raise BadArguments(f"jitter is at most {JITTER_S_MAX / 86_400:.0f} days, not {policies.jitter!r}")
    schedule = {
        "id": id,
        "cron": line,
        "promiseId": f"{ids.PREFIX}{id}-{{{{.timestamp}}}}",
        "promiseTimeout": TIME_MAX_MS if limit is None else int(limit * 1000),
        "promiseParam": {"data": data},
        "promiseTags": {
            "resonate:target": f"poll://any@{group}",
            **tags,
            "durable:missed": policies.missed,
            "durable:nonce": os.urandom(16).hex(),
        },
    }
    jitter_ms = round(jitter_s * 1000)
    return {"schedule": schedule, "overlap": policies.overlap, "jitterMs": jitter_ms, "paused": policies.paused}


def _check_word(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadArguments(f"{name} is one of {', '.join(known)}, not {value!r}")


async def schedule_record(store: StoreFace, id: str) -> dict[str, Any]:
    """The record of one schedule. NotFound."""
    found = (await store.request("schedule.list", {"id": id})).data["schedules"]
    if not found:
        raise _not_found(id)
    record: dict[str, Any] = found[0]
    return record


async def list_schedules(store: StoreFace) -> list[dict[str, Any]]:
    """The records of all schedules, by id. StoreLacks."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else ""
        page = (await store.request("schedule.list", {"after": after})).data
        found += page["schedules"]
        if not page["more"]:
            return found


type _Schedules = list[Schedule]
type _Ids = list[str]


def line_for(when: str | float | timedelta, timezone: str | None) -> str:
    """The line of a schedule: a cron line in a time zone, or one that counts time alone. BadArguments."""
    if isinstance(when, str):
        line = when.strip()
        counts = line[: len(EVERY)].lower() == EVERY
        if counts:
            line = EVERY + line[len(EVERY) :]
        if timezone is not None:
            if counts:
                raise BadArguments(_NO_ZONE)
            if line.startswith(("CRON_TZ=", "TZ=")):
                raise BadArguments(f"the line names its time zone already, beside timezone={timezone!r}")
            line = f"CRON_TZ={timezone} {line}"
    elif timezone is not None:
        raise BadArguments(_NO_ZONE)
    else:
        line = f"{EVERY}{round((seconds(when) or 0) * 1000)}ms"
    try:
        line_of(line)
    except CronError as error:
        raise BadArguments(str(error)) from None
    return line


def next_times(line: str, count: int, *, after: datetime | None = None) -> list[datetime]:
    """The next `count` ticks of a line, in UTC. BadArguments for what is no line, or too many."""
    if not 0 <= count <= SCHEDULE_TICKS_MAX:
        raise BadArguments(f"at most {SCHEDULE_TICKS_MAX} ticks are shown (SCHEDULE_TICKS_MAX), not {count}")
    ticks = itertools.islice(_ticks(line, now_ms() if after is None else _ms(after)), count)
    try:
        return [_time(tick) for tick in ticks]
    except (CronError, OverflowError, ValueError):
        raise BadArguments(f"there are not {count} ticks before the year 10000") from None


def _ticks(line: str, after_ms: int) -> Iterator[int]:
    try:
        ticks = line_of(line)
    except CronError as error:
        raise BadArguments(str(error)) from None
    while True:
        after_ms = ticks.after(after_ms)
        yield after_ms


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(at: datetime) -> int:
    if not isinstance(at, datetime):
        raise BadArguments(f"{at!r} is no datetime")
    if at.tzinfo is None:
        raise BadArguments(f"{at} has no time zone; datetime(..., tzinfo=UTC) has one")
    return int(at.timestamp() * 1000)


def _not_found(id: str) -> NotFound:
    return NotFound("schedule", id, "`durable schedule list` shows what there is")


def _schedule(record: dict[str, Any]) -> Schedule:
    tags, call = record["promiseTags"], unpack(record["promiseParam"].get("data"))
    last = record.get("lastRunAt")
    return Schedule(
        id=record["id"],
        line=record["cron"],
        function=tags.get("durable:function", ""),
        arguments={key: call.get(key) for key in ("args", "kwargs")} if isinstance(call, dict) else call,
        overlap=record["overlap"],
        missed=tags.get("durable:missed", "once"),
        jitter=record["jitterMs"] / 1000,
        timeout=None if record["promiseTimeout"] >= TIME_MAX_MS else record["promiseTimeout"] / 1000,
        paused=record["paused"],
        skipped=record["skipped"],
        created_at=_time(record["createdAt"]),
        next_at=None if record["paused"] else _time(record["nextRunAt"]),
        last_at=None if last is None else _time(last),
        last_execution=None if record["lastPromise"] is None else record["lastPromise"].removeprefix(ids.PREFIX),
    )
