"""`durable checkpoint list|show|diff|restore|label|drop|export|import`"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.arguments import which_one
from durable.cli.command_group import Command, Settings, asynchronous, in_loop, settings

if TYPE_CHECKING:
    from durable.sessions.checkpoints.history import CheckpointHistory, CheckpointInfo


@click.group("checkpoint", short_help="What a session has saved: list, show, diff, restore, export.")
def command() -> None:
    """Checkpoints: saved states of a session. WHICH is a number or a label."""


@command.command("list", cls=Command)
@click.argument("session", metavar="SESSION")
@asynchronous
async def list_(chosen: Settings, session: str) -> int:
    """The checkpoints that are kept, oldest first."""
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await engine.checkpoints_of(session).listing()
    if out.json:
        out.document([asdict(info) for info in found])
        return exit_codes.DONE
    rows = [
        (info.id, info.label or "", info.execution, "end" if info.final else info.statement, _time(info.created_at_ms))
        for info in found
    ]
    out.table(("checkpoint", "label", "execution", "statement", "made"), rows, f"no checkpoints of {session}")
    return exit_codes.DONE


@command.command("show", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH", type=which_one)
@asynchronous
async def show(chosen: Settings, session: str, which: str | int) -> int:
    """The contents of a checkpoint, and what it had to leave out."""
    from durable.cli.engine_or_client import open_engine
    from durable.cli.text_output import line

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await engine.checkpoints_of(session).show(which)
    if out.json:
        out.document(asdict(found))
        return exit_codes.DONE
    out.data(f"checkpoint  {found.info.id} of {line(session)}, {found.size:,} bytes")
    out.data(f"variables   {line(' '.join(found.names))}")
    out.data(f"modules     {line(' '.join(name for name, _module, _version in found.modules))}")
    for entry in found.lost:
        out.data(f"lost        {line(entry.name)}: {line(entry.reason)}")
    return exit_codes.DONE


@command.command("diff", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("before", metavar="WHICH", type=which_one)
@click.argument("after", metavar="WHICH", type=which_one)
@asynchronous
async def diff(chosen: Settings, session: str, before: str | int, after: str | int) -> int:
    """Names that were added, removed or changed from one checkpoint to another."""
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await engine.checkpoints_of(session).diff(before, after)
    if out.json:
        out.document([{**asdict(change), "kind": change.kind} for change in found])
        return exit_codes.DONE
    rows = [(change.kind, change.name, change.before or "", change.after or "") for change in found]
    out.table(("what", "name", "before", "after"), rows, "no difference")
    return exit_codes.DONE


@command.command("restore", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH", type=which_one)
@click.option("--clear", is_flag=True, help="First remove the variables that are there.")
@click.option("--override-environment", is_flag=True, help="Also where Python or a package is another one than then.")
@click.option("--recompute", is_flag=True, help="Run again what made the variables that could not be saved.")
def restore(session: str, which: str | int, clear: bool, override_environment: bool, recompute: bool) -> int:
    """Bring a checkpoint's variables back; others stay.

    --recompute runs the executions that made lost variables again; their calls get their recorded answers.
    """
    chosen = settings()
    override = override_environment
    return in_loop(lambda: _restore(chosen, session, which, clear=clear, override=override, recompute=recompute))


@command.command("label", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH", type=which_one)
@click.argument("label", metavar="[LABEL]", required=False)
def label_(session: str, which: str | int, label: str | None) -> int:
    """Give a checkpoint a label, by which it is found and kept; without LABEL take it away."""
    chosen = settings()
    done = "has no label" if label is None else f"is called {label}"
    return in_loop(lambda: _mark(chosen, session, done, lambda known: known.label(which, label)))


@command.command("drop", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH", type=which_one)
def drop(session: str, which: str | int) -> int:
    """Forget a checkpoint."""
    chosen = settings()
    return in_loop(lambda: _mark(chosen, session, "is forgotten", lambda known: known.drop(which)))


@command.command("export", cls=Command)
@click.argument("session", metavar="SESSION")
@click.argument("which", metavar="WHICH", type=which_one)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@asynchronous
async def export(chosen: Settings, session: str, which: str | int, file: Path) -> int:
    """Write a checkpoint to one new file."""
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        written = await engine.checkpoints_of(session).export(which, file)
    if out.json:
        out.document({"path": str(written.path), "bytes": written.size, "key": written.key})
    out.say(f"wrote {written.path}, {written.size:,} bytes, signed with the key {written.key}")
    return exit_codes.DONE


@command.command("import", cls=Command)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("session", metavar="[SESSION]", required=False)
@click.option("--trust", is_flag=True, help="Take it from another store: what it holds runs code when it is restored.")
@asynchronous
async def import_(chosen: Settings, file: Path, session: str | None, trust: bool) -> int:
    """Make a session from a file that `export` wrote, under the name that it had or SESSION."""
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    if not file.is_file():  # looked at before a store is made
        raise exit_codes.Absent(f"there is no file {str(file)!r}; `durable checkpoint export` writes one")
    async with open_engine(chosen, out, serve=True) as engine:
        made = await engine.import_checkpoint(file, session, trust=trust)
    if out.json:
        out.document({"session": made.name, "grants": list(made.grants)})
    out.say(f"session {made.name} begins with what {file} holds")
    return exit_codes.DONE


async def _restore(
    chosen: Settings, session: str, which: str | int, *, clear: bool, override: bool, recompute: bool
) -> int:
    from durable.cli.engine_or_client import open_engine
    from durable.cli.text_output import line

    out = chosen.out()
    async with open_engine(chosen, out, serve=True, create=False, override_environment=override) as engine:
        info = (await engine.checkpoints_of(session).show(which)).info
        desk = await engine.session(session)
        report = await desk.restore(info.id, clear_existing=clear, recompute=recompute)
    if out.json:
        out.document(asdict(report))
        return exit_codes.DONE
    out.say(f"restored {len(report.restored)} variables from checkpoint {info.id}")
    for name, execution in report.recomputed:
        out.say(f"made {line(name)} by running {line(execution)} again")
    for entry in report.lost:
        out.say(f"lost {line(entry.name)}: {line(entry.reason)}")
    return exit_codes.DONE


async def _mark(
    chosen: Settings, session: str, done: str, mark: Callable[[CheckpointHistory], Awaitable[CheckpointInfo]]
) -> int:
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        info = await mark(engine.checkpoints_of(session))
    out.say(f"checkpoint {info.id} of {session} {done}")
    if out.json:
        out.document(asdict(info))
    return exit_codes.DONE


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
