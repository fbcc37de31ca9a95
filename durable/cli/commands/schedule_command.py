"""`durable schedule …`: executions that the clock starts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous, in_loop, settings
from durable.core import ids

if TYPE_CHECKING:
    from durable.store.port import StoreFace


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
def create(schedule_id: str, cron: str, target: str, words: tuple[str, ...], missed: str) -> int:
    """Run FUNC of FILE at every tick of CRON, as ID-<time in ms>. An ID that exists is a conflict (exit 6).

    CRON has five fields in UTC, or is @hourly, @daily, @weekly, @monthly, @yearly; `CRON_TZ=Europe/Paris 0 9 * * 1-5`
    is in that zone. Ticks fire while any process has the store open; their executions run where the function is served.
    """
    from durable.core.errors import BadArguments
    from durable.store.operations.cron import Cron, CronError

    ids.check_given_id(schedule_id)
    try:
        Cron.parse(cron)
    except CronError as error:
        raise BadArguments(str(error)) from None
    chosen = settings()
    return in_loop(lambda: _create(chosen, schedule_id, cron, target, words, missed))


@command.command("list", cls=Command)
@asynchronous
async def list_(chosen: Settings) -> int:
    """All schedules, by id."""
    from durable.cli.engine_or_client import opened
    from durable.engine.views import schedule_view

    async with opened(chosen, create=False) as store:
        views = [schedule_view(each) for each in await _all(store)]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exit_codes.DONE
    rows = [(view.id, view.cron, view.name, view.next_run_at, view.last_run_at) for view in views]
    out.table(("id", "cron", "runs", "next", "last"), rows, "no schedules")
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
    chosen: Settings, schedule_id: str, cron: str, target: str, words: tuple[str, ...], missed: str
) -> int:
    from durable.cli import lazy_imports
    from durable.cli.arguments import fit
    from durable.cli.engine_or_client import opened
    from durable.cli.load_target import LoadFailed, find, split_target
    from durable.core.clock import TIME_MAX_MS
    from durable.core.definition_id import SOURCE
    from durable.core.errors import Conflict
    from durable.engine.views import schedule_view
    from durable.records.values import pack

    out = chosen.out()
    group = lazy_imports.engine().GROUP
    out.protect()
    try:
        function = find(*split_target(target))
    except LoadFailed as error:
        out.traceback(error.shown)
        raise
    args, kwargs = fit(function, words)
    packed, named, arguments = function.pack(tuple(args), dict(kwargs))
    data = {"func": function.key, "args": packed, "kwargs": named, "version": function.version}
    request: dict[str, Any] = {
        "id": schedule_id,
        "cron": cron,
        "promiseId": f"{ids.PREFIX}{schedule_id}-{{{{.timestamp}}}}",
        "promiseTimeout": TIME_MAX_MS,
        "promiseParam": {"data": pack(data)},
        "promiseTags": {
            "resonate:target": f"poll://any@{group}",
            "durable:function": function.id,
            SOURCE: function.source,
            "durable:arguments": arguments,
            "durable:missed": missed,
            "durable:nonce": uuid.uuid4().hex,
        },
    }
    async with opened(chosen, create=True) as store:
        known = await _known(store, schedule_id)
        found = (await store.request("schedule.create", request)).data["schedule"]
    if known or found["promiseTags"] != request["promiseTags"]:
        raise Conflict(f"schedule {schedule_id!r} exists; `durable schedule delete {schedule_id}` it first")
    view = schedule_view(found)
    if out.json:
        out.document(view)
    else:
        out.data(f"{view.id}\t{view.next_run_at}")
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
    found: list[dict[str, Any]] = []
    page: dict[str, object] = {"limit": 1000}
    while True:
        data = (await store.request("schedule.search", page)).data
        found += data["schedules"]
        if "cursor" not in data:
            return found
        page["cursor"] = data["cursor"]
