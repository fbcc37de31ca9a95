"""`durable checkpoint list|show|diff|restore`"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from durable.cli import exits
from durable.cli.app import Command, Settings, in_loop, settings


@click.group("checkpoint", short_help="What a session has saved: list, show, diff, restore.")
def command() -> None:
    """Checkpoints: saved states of a session. WHICH is a number or a label."""


@command.command("list", cls=Command)
@click.argument("session", metavar="SESSION")
def list_(session: str) -> int:
    """The checkpoints that are kept, oldest first."""
    chosen = settings()
    return in_loop(lambda: _list(chosen, session))


@command.command("show", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH")
def show(session: str, which: str) -> int:
    """What a checkpoint holds, and what it had to leave out."""
    chosen = settings()
    return in_loop(lambda: _show(chosen, session, which))


@command.command("diff", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("before", metavar="WHICH")
@click.argument("after", metavar="WHICH")
def diff(session: str, before: str, after: str) -> int:
    """Names that were added, removed or changed from one checkpoint to another."""
    chosen = settings()
    return in_loop(lambda: _diff(chosen, session, before, after))


@command.command("restore", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH")
@click.option("--clear", is_flag=True, help="First remove the variables that are there.")
def restore(session: str, which: str, clear: bool) -> int:
    """Bring a checkpoint's variables back; others stay."""
    chosen = settings()
    return in_loop(lambda: _restore(chosen, session, which, clear=clear))


async def _list(chosen: Settings, session: str) -> int:
    from durable.cli.driving import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await engine.checkpoints_of(session).listing()
    if out.json:
        out.document([asdict(info) for info in found])
        return exits.DONE
    rows = [
        (info.id, info.label or "", info.execution, "end" if info.final else info.statement, _time(info.created_at_ms))
        for info in found
    ]
    out.table(("checkpoint", "label", "execution", "statement", "made"), rows, f"no checkpoints of {session}")
    return exits.DONE


async def _show(chosen: Settings, session: str, which: str) -> int:
    from durable.cli.driving import open_engine
    from durable.cli.out import line

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await engine.checkpoints_of(session).show(which)
    if out.json:
        out.document(asdict(found))
        return exits.DONE
    out.data(f"checkpoint  {found.info.id} of {line(session)}, {found.size:,} bytes")
    out.data(f"variables   {line(' '.join(found.names))}")
    out.data(f"modules     {line(' '.join(name for name, _module, _version in found.modules))}")
    for entry in found.lost:
        out.data(f"lost        {line(entry.name)}: {line(entry.reason)}")
    return exits.DONE


async def _diff(chosen: Settings, session: str, before: str, after: str) -> int:
    from durable.cli.driving import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await engine.checkpoints_of(session).diff(before, after)
    if out.json:
        out.document([{**asdict(change), "kind": change.kind} for change in found])
        return exits.DONE
    rows = [(change.kind, change.name, change.before or "", change.after or "") for change in found]
    out.table(("what", "name", "before", "after"), rows, "no difference")
    return exits.DONE


async def _restore(chosen: Settings, session: str, which: str, *, clear: bool) -> int:
    from durable.cli.driving import open_engine
    from durable.cli.out import line

    out = chosen.out()
    async with open_engine(chosen, out, serve=True, create=False) as engine:
        info = (await engine.checkpoints_of(session).show(which)).info
        report = await (await engine.session(session)).restore(info.id, clear_existing=clear)
    if out.json:
        out.document(asdict(report))
        return exits.DONE
    out.say(f"restored {len(report.restored)} variables from checkpoint {info.id}")
    for entry in report.lost:
        out.say(f"lost {line(entry.name)}: {line(entry.reason)}")
    return exits.DONE


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
