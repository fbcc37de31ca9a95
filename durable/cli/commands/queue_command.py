"""`durable queue …`: what waits in queues, and how much of it may run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from durable.engine.queue_operations import GivenLimits, Queues
    from durable.store.rows import QueueRow

KEYS_MAX = 100

_NONE = "none"


class _Count(click.ParamType[int]):
    """A limit: a whole number from 1, or `none`, which is 0."""

    name = "N|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if str(value) == _NONE:
            return 0
        if not str(value).isascii() or not str(value).isdecimal() or int(value) == 0:
            self.fail(f"{value!r} is neither a whole number from 1 nor `none`", param, ctx)
        return int(value)


class _Rate(click.ParamType[tuple[int, float]]):
    """A count and seconds, as `100/60`, or `none`, which is 0 and 0."""

    name = "COUNT/SECONDS|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        if str(value) == _NONE:
            return 0, 0.0
        count, slash, seconds = str(value).partition("/")
        try:
            return int(count), float(seconds if slash else "")
        except ValueError:
            self.fail(f"{value!r} is neither COUNT/SECONDS, such as 100/60, nor `none`", param, ctx)


@click.group("queue", short_help="Queues: list, show, set, pause, resume, drain, delete.")
def command() -> None:
    """Queues: executions that begin when there is room for them, in turn with those of other keys."""


@command.command("list", cls=Command)
@asynchronous
async def list_(chosen: Settings) -> int:
    """All queues, by name: how many executions wait and run, and for how long the first has waited."""
    from durable.engine.views import queue_view

    async with _queues(chosen) as queues:
        views = [queue_view(row) for row in await queues.list()]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exit_codes.DONE
    columns = ("queue", "state", "delayed", "waiting", "running", "age", "limits")
    rows = [
        (view.name, view.state, view.delayed, view.waiting, view.running, _age(view.age), _limits(asdict(view)))
        for view in views
    ]
    out.table(columns, rows, "no queues")
    return exit_codes.DONE


@command.command("show", cls=Command)
@click.argument("queue", metavar="NAME")
@click.option("--limit", type=click.IntRange(min=1), default=KEYS_MAX, show_default=True, help="At most so many.")
@click.option("--after", metavar="KEY", help="Those after this key: the next page.")
@asynchronous
async def show(chosen: Settings, queue: str, limit: int, after: str | None) -> int:
    """A queue, and its keys with how many executions of each wait and run."""
    from durable.engine.views import queue_view
    from durable.records.view_models import QueueKeyView

    async with _queues(chosen) as queues:
        view = queue_view(await queues.get(queue))
        rows = await queues.keys(queue, limit=limit, after=after)
    keys = [QueueKeyView(row.key, row.waiting, row.running) for row in rows]
    out = chosen.out()
    if out.json:
        out.document({**asdict(view), "keys": [asdict(key) for key in keys]})
        return exit_codes.DONE
    out.say(f"{view.name} is {view.state}: {_limits(asdict(view))}")
    counts = f"{view.delayed} delayed, {view.waiting} waiting, {view.running} running, {view.started} begun so far"
    out.say(counts if view.age is None else f"{counts}; the first has waited for {_age(view.age)}")
    out.table(("key", "waiting", "running"), [(key.key, key.waiting, key.running) for key in keys])
    return exit_codes.DONE


@command.command("set", cls=Command)
@click.argument("queue", metavar="NAME")
@click.option("--concurrency", type=_Count(), help="Executions that have begun and not ended.")
@click.option("--per-engine", type=_Count(), help="Those that one engine runs at a time.")
@click.option("--per-key", type=_Count(), help="Those of one key that have begun and not ended.")
@click.option("--rate", type=_Rate(), help="At most so many begin within so many seconds.")
@asynchronous
async def set_(
    chosen: Settings,
    queue: str,
    concurrency: int | None,
    per_engine: int | None,
    per_key: int | None,
    rate: tuple[int, float] | None,
) -> int:
    """Change limits of a queue while it is in use; one that is not there is made. What has begun goes on."""
    limits: GivenLimits = {}
    if concurrency is not None:
        limits["concurrency"] = concurrency or None
    if per_engine is not None:
        limits["per_engine"] = per_engine or None
    if per_key is not None:
        limits["per_key"] = per_key or None
    if rate is not None:
        limits["rate"] = rate if any(rate) else None
    async with _queues(chosen, create=True) as queues:
        row = await queues.set(queue, **limits)
    return _tell(chosen, row)


@command.command("pause", cls=Command)
@click.argument("queue", metavar="NAME")
@asynchronous
async def pause(chosen: Settings, queue: str) -> int:
    """Let nothing of a queue begin. What runs goes on, and executions can be enqueued."""
    async with _queues(chosen) as queues:
        return _tell(chosen, await queues.pause(queue))


@command.command("resume", cls=Command)
@click.argument("queue", metavar="NAME")
@asynchronous
async def resume(chosen: Settings, queue: str) -> int:
    """Let executions of a queue begin again, and let it take new ones."""
    async with _queues(chosen) as queues:
        return _tell(chosen, await queues.resume(queue))


@command.command("drain", cls=Command)
@click.argument("queue", metavar="NAME")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than that (exit 5).")
@asynchronous
async def drain(chosen: Settings, queue: str, timeout: float | None) -> int:
    """Let a queue take nothing new, and wait until all that is in it has ended. `resume` opens it again."""
    async with _queues(chosen) as queues:
        is_empty = await queues.drain(queue, timeout)
        row = await queues.get(queue)
    _tell(chosen, row)
    return exit_codes.DONE if is_empty else exit_codes.TIMED_OUT


@command.command("delete", cls=Command)
@click.argument("queue", metavar="NAME")
@asynchronous
async def delete(chosen: Settings, queue: str) -> int:
    """Forget a queue with its limits, once all that was in it has ended (`drain`)."""
    async with _queues(chosen) as queues:
        await queues.delete(queue)
    out = chosen.out()
    if out.json:
        out.document({"name": queue, "state": "deleted"})
    out.say(f"{queue} is deleted")
    return exit_codes.DONE


@asynccontextmanager
async def _queues(chosen: Settings, *, create: bool = False) -> AsyncIterator[Queues]:
    from durable.cli.engine_or_client import opened
    from durable.engine.queue_operations import Queues
    from durable.store.changes import Changes

    async with opened(chosen, create=create) as store:
        changes = Changes()
        end = store.watch(lambda _change: changes.tell())
        try:
            yield Queues(store, changes.next)
        finally:
            end()


def _tell(chosen: Settings, row: QueueRow) -> int:
    from durable.engine.views import queue_view

    view, out = queue_view(row), chosen.out()
    if out.json:
        out.document(view)
    out.say(f"{view.name} is {view.state}: {_limits(asdict(view))}; {view.waiting} waiting, {view.running} running")
    return exit_codes.DONE


def _limits(view: dict[str, Any]) -> str:
    found = [
        f"{name.replace('_', ' ')} {view[name]}" for name in ("concurrency", "per_engine", "per_key") if view[name]
    ]
    if view["rate"]:
        count, seconds = view["rate"]
        found.append(f"rate {count:g}/{seconds:g} s")
    return ", ".join(found) or "no limits"


def _age(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"
