"""`durable schedule …`: executions that the clock starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous, in_loop, settings
from durable.cli.upkeep_options import Duration
from durable.core import ids

if TYPE_CHECKING:
    from durable.engine.schedule_operations import Overlap, Schedule, Schedules
    from durable.store.port import StoreFace


class _Moment(click.ParamType[datetime]):
    """A time in ISO 8601, in UTC where it names no offset."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-03-01T09:00, or 2026-03-01T09:00+01:00", param, ctx)
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


_MOMENT = _Moment()


@click.group("schedule", short_help="Executions that the clock starts.")
def command() -> None:
    """Schedules: a durable function run at every tick of a cron line, each tick once."""


@command.command("create", cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("schedule_id", metavar="ID")
@click.argument("cron")
@click.argument("target", metavar="FILE::FUNC")
@click.argument("words", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--missed",
    type=click.Choice(("once", "all", "skip")),
    default="once",
    show_default=True,
    help="Ticks that passed while nothing ran: the newest, each, or none.",
)
@click.option(
    "--overlap",
    type=click.Choice(("allow", "skip", "queue", "cancel")),
    default="allow",
    show_default=True,
    help="A tick while an execution goes on starts another, none, one behind it, or one after it was cancelled.",
)
@click.option("--jitter", type=Duration(), default=0.0, metavar="TIME", help="Begin up to so much later: 30s, 5m.")
@click.option("--timezone", metavar="ZONE", help="Of CRON, such as Europe/Paris [UTC].")
@click.option("--paused", is_flag=True, help="No tick fires before `durable schedule resume`.")
@click.option("--timeout", type=Duration(), metavar="TIME", help="What each execution has, from when it may begin.")
@click.option("--replace", is_flag=True, help="Let the schedule of this ID be this from now on; a pause goes on.")
def create(schedule_id: str, cron: str, target: str, words: tuple[str, ...], **options: Any) -> int:
    """Run FUNC of FILE at every tick of CRON, as ID-<time in ms>. An ID that exists is a conflict (exit 6).

    CRON has five fields in UTC, or is @hourly, @daily, @weekly, @monthly, @yearly, or `@every 15s`;
    `CRON_TZ=Europe/Paris 0 9 * * 1-5` is in that zone. `0 0 L * *` is the last day of each month, `0 9 * * 1#1` its
    first Monday. Ticks fire while any process has the store open; their
    executions run where the function is served.
    """
    from durable.engine.schedule_operations import line_for

    ids.check_given_id(schedule_id)
    line = line_for(cron, options.pop("timezone"))
    chosen = settings()
    return in_loop(lambda: _create(chosen, schedule_id, line, target, words, options))


@command.command("pause", cls=Command)
@click.argument("schedule_id", metavar="ID")
@asynchronous
async def pause(chosen: Settings, schedule_id: str) -> int:
    """Let no tick fire. What was started goes on."""
    async with _schedules(chosen) as schedules:
        return _tell(chosen, await schedules.pause(schedule_id))


@command.command("resume", cls=Command)
@click.argument("schedule_id", metavar="ID")
@asynchronous
async def resume(chosen: Settings, schedule_id: str) -> int:
    """Let ticks fire again. Those that passed meanwhile are not made up for; `backfill` does that."""
    async with _schedules(chosen) as schedules:
        return _tell(chosen, await schedules.resume(schedule_id))


@command.command("trigger", cls=Command)
@click.argument("schedule_id", metavar="ID")
@asynchronous
async def trigger(chosen: Settings, schedule_id: str) -> int:
    """Start an execution now, whether the schedule is paused or not."""
    async with _schedules(chosen) as schedules:
        execution = await schedules.trigger(schedule_id)
    return _started(chosen, [] if execution is None else [execution])


@command.command("backfill", cls=Command)
@click.argument("schedule_id", metavar="ID")
@click.argument("since", type=_MOMENT)
@click.argument("until", type=_MOMENT)
@click.option(
    "--overlap",
    type=click.Choice(("allow", "skip", "queue", "cancel")),
    default="queue",
    show_default=True,
    help="`queue` runs them one after the other, `allow` all at once.",
)
@asynchronous
async def backfill(chosen: Settings, schedule_id: str, since: datetime, until: datetime, overlap: Overlap) -> int:
    """Make up for the ticks from SINCE up to UNTIL, such as 2026-03-01T09:00 (UTC). No tick is started twice."""
    async with _schedules(chosen) as schedules:
        started = await schedules.backfill(schedule_id, since, until, overlap=overlap)
    return _started(chosen, started)


@command.command("next", cls=Command)
@click.argument("schedule_id", metavar="ID|CRON")
@click.option("--count", type=click.IntRange(1, 10_000), default=5, show_default=True, help="So many.")
@asynchronous
async def next_(chosen: Settings, schedule_id: str, count: int) -> int:
    """The next ticks of a schedule, or of a line, in UTC."""
    from durable.engine.schedule_operations import line_for, next_times

    if ids.is_given_id(schedule_id):
        async with _schedules(chosen) as schedules:
            line = (await schedules.get(schedule_id)).line
    else:
        line = line_for(schedule_id, None)
    times = [at.isoformat().replace("+00:00", "Z") for at in next_times(line, count)]
    out = chosen.out()
    if out.json:
        out.document(times)
        return exit_codes.DONE
    for text in times:
        out.data(text)
    return exit_codes.DONE


@command.command("list", cls=Command)
@asynchronous
async def list_(chosen: Settings) -> int:
    """All schedules, by id."""
    from durable.cli.engine_or_client import looked_at
    from durable.engine.views import schedule_view

    async with looked_at(chosen) as store:
        views = [schedule_view(each) for each in await _all(store)]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exit_codes.DONE
    rows = [
        (view.id, view.cron, view.name, "paused" if view.paused else view.next_run_at, view.last_run_at)
        for view in views
    ]
    out.table(("id", "cron", "runs", "next", "last"), rows, "no schedules")
    return exit_codes.DONE


@command.command("show", cls=Command)
@click.argument("schedule_id", metavar="ID")
@asynchronous
async def show(chosen: Settings, schedule_id: str) -> int:
    """One schedule: its line, what it runs, its policies, its next and its last tick."""
    from durable.cli.engine_or_client import looked_at
    from durable.engine.schedule_operations import schedule_record
    from durable.engine.views import schedule_view

    async with looked_at(chosen) as store:
        view = schedule_view(await schedule_record(store, schedule_id))
    out = chosen.out()
    if out.json:
        out.document(view)
        return exit_codes.DONE
    for name in view.__annotations__:
        value = getattr(view, name)
        if value is not None:
            out.data(f"{name.replace('_', ' ')}: {value}")
    return exit_codes.DONE


@command.command("delete", cls=Command)
@click.argument("schedule_id", metavar="ID")
@asynchronous
async def delete(chosen: Settings, schedule_id: str) -> int:
    """Fire no more ticks. What was started goes on."""
    from durable.cli.engine_or_client import opened
    from durable.core.errors import NotFound

    async with opened(chosen, create=False) as store:
        if not await _known(store, schedule_id):
            raise NotFound("schedule", schedule_id, "`durable schedule list` shows what there is")
        await store.request("schedule.delete", {"id": schedule_id})
    out = chosen.out()
    out.say(f"schedule {schedule_id} is deleted")
    if out.json:
        out.document({"id": schedule_id, "state": "deleted"})
    return exit_codes.DONE


async def _create(
    chosen: Settings, schedule_id: str, cron: str, target: str, words: tuple[str, ...], options: dict[str, Any]
) -> int:
    from durable.cli.arguments import fit
    from durable.cli.engine_or_client import opened
    from durable.cli.load_target import found_or_shown, split_target
    from durable.core.cron import EVERY
    from durable.core.definition_id import SOURCE
    from durable.core.errors import Conflict
    from durable.engine.engine import GROUP
    from durable.engine.schedule_operations import SchedulePolicies, schedule_request
    from durable.engine.views import schedule_view
    from durable.records.values import pack

    out = chosen.out()
    out.protect()
    function = found_or_shown(out, *split_target(target))
    args, kwargs = fit(function, words)
    packed, named, arguments = function.pack(tuple(args), dict(kwargs))
    data = pack({"func": function.key, "args": packed, "kwargs": named, "version": function.version})
    tags = {"durable:function": function.id, SOURCE: function.source, "durable:arguments": arguments}
    replace, paused = options.pop("replace"), options.pop("paused")
    policies = SchedulePolicies(paused=paused or (None if replace else False), **options)
    request = schedule_request(schedule_id, cron, data, tags, policies, GROUP)
    async with opened(chosen, create=True) as store:
        if not replace and await _known(store, schedule_id):
            raise Conflict(f"schedule {schedule_id!r} exists; --replace it, or `durable schedule delete {schedule_id}`")
        if replace or policies[:2] != ("allow", 0.0) or paused or cron.startswith(EVERY):
            found = (await store.request("schedule.put", request)).data["schedule"]
        else:  # as any Resonate server has it
            found = (await store.request("schedule.create", request["schedule"])).data["schedule"]
    if found["promiseTags"] != request["schedule"]["promiseTags"]:
        raise Conflict(f"schedule {schedule_id!r} exists; somebody made it just now")
    view = schedule_view(found)
    if out.json:
        out.document(view)
    else:
        out.data(f"{view.id}\t{view.next_run_at or 'paused'}")
    return exit_codes.DONE


async def _known(store: StoreFace, schedule_id: str) -> bool:
    from durable.core.errors import StoreRefused

    try:
        await store.request("schedule.get", {"id": schedule_id})
    except StoreRefused as refused:
        if refused.status != 404:
            raise
        return False
    return True


async def _all(store: StoreFace) -> list[dict[str, Any]]:
    """Every schedule; of a Resonate server's what the protocol says of it."""
    from durable.core.errors import StoreLacks
    from durable.engine.schedule_operations import list_schedules

    try:
        return await list_schedules(store)
    except StoreLacks:
        pass
    found: list[dict[str, Any]] = []
    page: dict[str, object] = {"limit": 1000}
    while True:
        data = (await store.request("schedule.search", page)).data
        found += data["schedules"]
        if "cursor" not in data:
            return found
        page["cursor"] = data["cursor"]


@asynccontextmanager
async def _schedules(chosen: Settings) -> AsyncIterator[Schedules]:
    from durable.cli.engine_or_client import opened
    from durable.engine.engine import GROUP
    from durable.engine.schedule_operations import Schedules

    async with opened(chosen, create=False) as store:
        yield Schedules(store, GROUP)


def _tell(chosen: Settings, schedule: Schedule) -> int:
    out = chosen.out()
    ticks = "paused" if schedule.next_at is None else f"open; its next tick is at {schedule.next_at.isoformat()}"
    out.say(f"schedule {schedule.id} is {ticks}")
    if out.json:
        out.document({"id": schedule.id, "paused": schedule.paused})
    return exit_codes.DONE


def _started(chosen: Settings, executions: list[str]) -> int:
    out = chosen.out()
    if out.json:
        out.document(executions)
        return exit_codes.DONE
    for execution in executions:
        out.data(execution)
    if not executions:
        out.say("nothing is started: an execution goes on, or was started for each of these ticks")
    return exit_codes.DONE
