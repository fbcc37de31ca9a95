"""`durable replay check [ID…]`: which open executions go on with today's code."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous
from durable.core import ids

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.engine.engine import Engine
    from durable.functions.replay.replay_check import ReplayCheck
    from durable.store.rows import ExecutionRow


@click.group("replay", short_help="Whether executions go on with today's code: check, upgrade.")
def command() -> None:
    """Replay records over today's code, without performing anything."""


@command.command("check", cls=Command, short_help="Which open executions would not replay with today's code.")
@click.argument("execution_ids", metavar="[ID]...", nargs=-1)
@click.option("--function", metavar="NAME", help="Only those of this function: its name, or where::name@version.")
@click.option(
    "--with", "targets", metavar="MODULE|FILE", multiple=True, help="Today's code; else where it was loaded from last."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="At most so many of a state."
)
@asynchronous
async def check(
    chosen: Settings, execution_ids: tuple[str, ...], function: str | None, targets: tuple[str, ...], limit: int
) -> int:
    """Say of each open execution, or of those named, whether its record is replayed by today's code.

    The code of functions runs up to what is not recorded; no step, no question, no write. Ends with 1 where one would
    be halted, would fail, or has no function here. A patch is named while an execution goes its old way.
    """
    from durable.cli.engine_or_client import open_engine
    from durable.cli.execution_status import find
    from durable.cli.load_target import load, load_ids, place_of

    out = chosen.out()
    for target in targets:
        load(place_of(target))
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        if execution_ids:
            rows = [await find(engine.store.reads, each.removeprefix(ids.PREFIX)) for each in execution_ids]
        else:
            rows = await _open(engine, function, limit)
        missing = await load_ids({row.function for row in rows}, engine.store.reads)
        found = [await _check(engine, row, missing) for row in rows]
    _show(out, found, "no open executions of functions")
    return exit_codes.DONE if all(each.ok for each in found) else exit_codes.FAILED


@command.command("upgrade", cls=Command, short_help="Have open executions go on as another version.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--with", "targets", metavar="MODULE|FILE", multiple=True, help="Where NEW is defined.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="At most so many of a state."
)
@click.option("--dry-run", is_flag=True, help="Only say which would.")
@asynchronous
async def upgrade(chosen: Settings, old: str, new: str, targets: tuple[str, ...], limit: int, dry_run: bool) -> int:
    """Have the open executions of the function OLD go on as NEW, both as where::name@version or name@version.

    Those whose record NEW would not replay stay with OLD, and so do those that run now; then it ends with 1.
    """
    from durable.cli.engine_or_client import open_engine
    from durable.cli.exit_codes import Unusable
    from durable.cli.load_target import load, load_ids, place_of
    from durable.core.errors import Conflict
    from durable.functions.definition import known_as

    out = chosen.out()
    for target in targets:
        load(place_of(target))
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        missing = await load_ids([new], engine.store.reads)
        function = known_as(new)
        if function is None:
            raise Unusable(f"{new} is not there: {missing.get(new, 'name where it is defined by --with')}")
        found = []
        for row in await _open(engine, old, limit):
            check = await engine.check_replay(row.id, function)
            if check.ok and not dry_run:
                try:
                    check = await engine.upgrade(row.id, function)
                except Conflict as error:
                    check = replace(check, verdict="differs", reason=str(error))
            found.append(check)
    _show(out, found, f"no open executions of {old}")
    return exit_codes.DONE if all(each.ok for each in found) else exit_codes.FAILED


def _show(out: Out, found: list[ReplayCheck], empty: str) -> None:
    if out.json:
        out.document([{**asdict(each), "ok": each.ok} for each in found])
    else:
        cells = [(each.id, each.function, each.verdict, ", ".join(each.old_patches), each.reason) for each in found]
        out.table(("id", "function", "verdict", "old patches", "reason"), cells, empty)


async def _open(engine: Engine, function: str | None, limit: int) -> list[ExecutionRow]:
    from durable.engine.engine import NOT_REPLAYED
    from durable.executions.states import OPEN

    rows: list[ExecutionRow] = []
    for state in OPEN:
        rows += await engine.executions(state=state.value, function=function, limit=limit)
    own = [row for row in rows if row.function.partition("@")[0] not in NOT_REPLAYED]
    return [row for row in own if row.session is None and "~" not in row.id]


async def _check(engine: Engine, row: ExecutionRow, missing: dict[str, str]) -> ReplayCheck:
    from durable.functions.replay.replay_check import not_checked

    if row.function in missing:
        return not_checked(row.id, row.function, missing[row.function])
    return await engine.check_replay(row.id)
