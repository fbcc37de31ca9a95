"""`durable resume [ID] [--skip-checkpoint N] [--override-environment]`"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.execution_filter import chooses_many, chosen_rows, filter_of, many, preview
from durable.cli.text_output import counted
from durable.core.errors import Conflict, NotFound, StoreRefused

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.engine.engine import Engine
    from durable.executions.execution_search import ExecutionFilter


@click.command("resume", cls=Command, short_help="Go on with what was interrupted or left.")
@click.argument("execution_id", metavar="[ID]", required=False)
@click.option(
    "--skip-checkpoint", type=click.IntRange(min=1), multiple=True, metavar="N", help="Forget checkpoint N first."
)
@click.option("--override-environment", is_flag=True, help="Also where Python or a package is another one than then.")
@many
def command(
    execution_id: str | None,
    skip_checkpoint: tuple[int, ...],
    override_environment: bool,
    limit: int,
    dry_run: bool,
    **options: Any,
) -> int:
    """Go on with ID, or with everything that has not ended, until it ends or waits.

    With options that choose, only those are resumed that are halted or interrupted, the newest first; whoever serves
    them goes on with them. --dry-run shows which they are.

    --skip-checkpoint N forgets a checkpoint that was refused; the session goes on from the one before it.
    --override-environment goes on from one that was made elsewhere: what cannot be loaded here is lost, and named.
    """
    chosen = replace(settings(), override_environment=override_environment)
    if execution_id is not None:
        wanted = execution_id.removeprefix("exec:")
        chooses_many(execution_id, **options)
        return in_loop(lambda: _resume(chosen, wanted, skip_checkpoint))
    if dry_run or any(options.values()):
        chooses_many(None, **options)
        return in_loop(lambda: _resume_chosen(chosen, filter_of(**options), limit, dry_run))
    return in_loop(lambda: _resume_all(chosen, skip_checkpoint))


async def _resume(chosen: Settings, execution_id: str, skip: tuple[int, ...]) -> int:
    from durable.cli.execution_wait import follow
    from durable.cli.report import report

    out = chosen.out()
    await _skip(chosen, out, skip)

    async def first(engine: Engine) -> None:
        await _continue(engine, execution_id)

    return report(chosen, out, execution_id, await follow(chosen, out, execution_id, first=first))


async def _resume_chosen(chosen: Settings, meant: ExecutionFilter, limit: int, dry_run: bool) -> int:
    """Resume what is halted of those that are chosen; it goes on where it is served."""
    from durable.cli.engine_or_client import opened
    from durable.core import ids

    out = chosen.out()
    async with opened(chosen, create=False) as store:
        rows = await chosen_rows(store, meant, limit, ("interrupted",))
        if dry_run:
            return await preview(out, store, rows)
        resumed = []
        for row in rows:
            try:
                await store.request("task.continue", {"id": ids.execution_promise(row.id)})
                resumed.append(row.id)
            except StoreRefused as refused:  # somebody resumed or ended it meanwhile
                out.say(f"{row.id} is not resumed: {refused.message}")
    if out.json:
        out.document([{"id": id} for id in resumed])
    else:
        out.say(f"{counted(len(resumed), 'execution')} of {len(rows)} resumed")
    return exit_codes.DONE


async def _skip(chosen: Settings, out: Out, checkpoints: tuple[int, ...]) -> None:
    from durable.cli.engine_or_client import opened

    if not checkpoints:
        return
    async with opened(chosen, create=False) as store:
        for checkpoint in checkpoints:
            try:
                await store.request("checkpoint.drop", {"checkpoint": checkpoint})
            except StoreRefused as error:
                if error.status != 404:
                    raise Conflict(error.message) from None
                raise NotFound("checkpoint", str(checkpoint), "the number is in the note of `durable ps`") from None
            out.say(f"checkpoint {checkpoint} is forgotten")


async def _continue(engine: Engine, execution_id: str) -> bool:
    """Let what halts an execution go on: itself, or what it waits for. False when nothing does."""
    from durable.cli.execution_status import IsHalted, stand

    standing = await stand(engine.store.reads, execution_id)
    return isinstance(standing, IsHalted) and await engine.resume(standing.row.id)


async def _resume_all(chosen: Settings, skip: tuple[int, ...]) -> int:
    from durable.cli.engine_or_client import open_engine, opened
    from durable.cli.execution_status import unsettled
    from durable.cli.load_target import load_ids
    from durable.core.definition_id import CELL

    out = chosen.out()
    await _skip(chosen, out, skip)
    async with opened(chosen, create=False) as store:
        rows = await unsettled(store.reads)
    if not rows:
        out.say("there is nothing to go on with")
        if out.json:
            out.document([])
        return exit_codes.DONE
    out.protect()
    async with opened(chosen, create=False) as store:
        missing = await load_ids({row.function for row in rows if row.function} - {CELL}, store.reads)
    for reason in missing.values():
        out.say(f"not served here: {reason}")
    try:
        async with open_engine(chosen, out, serve=True, create=False) as engine:
            for row in rows:
                if row.state == "interrupted":
                    await engine.resume(row.id)
            return await _until_rest(out, engine, [row.id for row in rows])
    except asyncio.CancelledError:
        out.say("what has not ended is kept; go on with: durable resume")
        raise


async def _until_rest(out: Out, engine: Engine, wanted: list[str]) -> int:
    """Serve until each has ended, waits for people, is halted, or is served by nobody; then say how they are."""
    from durable.cli.engine_or_client import LOOK_FIRST_S, LOOK_S
    from durable.cli.execution_status import GoesOn, find, served, stand
    from durable.cli.tables import show_executions

    reads = engine.store.reads
    moving, patience = list(wanted), LOOK_FIRST_S
    while moving:
        change = engine.changed()
        living = await served(engine.store)
        standings = {each: await stand(reads, each) for each in moving}
        moving = [
            each
            for each, standing in standings.items()
            if isinstance(standing, GoesOn)
            and any(living.serve([name]) for name in standing.needs)
            and standing.session not in engine.host.refused
        ]
        if moving:
            done, _ = await asyncio.wait({change}, timeout=patience)
            patience = LOOK_FIRST_S if done else min(2 * patience, LOOK_S)
    rows = [await find(reads, each) for each in wanted]
    await show_executions(out, engine.store, rows, "")
    return _worst({row.state for row in rows})


def _worst(states: set[str]) -> int:
    """The exit code of several: failed before waiting before done."""
    if states <= {"completed"}:
        return exit_codes.DONE
    if states <= {"completed", "waiting"}:
        return exit_codes.WAITING
    return exit_codes.FAILED
