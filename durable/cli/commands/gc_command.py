"""`durable gc`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.upkeep_options import Duration, check_direct, size

if TYPE_CHECKING:
    from durable.sessions.checkpoints.retention import Keep


@click.command("gc", cls=Command, short_help="Forget what ended long ago.")
@click.option("--older-than", type=Duration(), default="30d", show_default=True, metavar="AGE", help="30d, 12h, 90m.")
@click.option("--keep", type=click.IntRange(min=0), default=0, metavar="N", help="Keep the newest N, however old.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, say what would be.")
@click.option("--checkpoints", type=click.IntRange(min=1), metavar="N", help="Keep N of each session, beside labelled.")
@click.option("--checkpoint-age", type=Duration(), metavar="AGE", help="Of those, only younger ones.")
@click.option("--labelled", is_flag=True, help="Count the labelled ones too.")
@click.option("--rules", is_flag=True, help="Only show how long executions of which functions are kept by rules.")
@click.option("--actors", is_flag=True, help="Also actors that were stopped or failed before, and dead letters.")
def command(
    older_than: float,
    keep: int,
    dry_run: bool,
    checkpoints: int | None,
    checkpoint_age: float | None,
    labelled: bool,
    rules: bool,
    actors: bool,
) -> int:
    """Forget executions that ended longer ago than AGE, with their steps, calls and output.

    Those for which there is a rule (`retention=` in code) go when that says so, whatever AGE is; --rules shows them.
    Also what foreign code had kept under their ids, blobs that nothing uses, messages that nobody came for, and
    old entries of the audit. With --actors also actors, with their state, that were stopped or failed longer ago than
    AGE, and dead letters that are older. Sessions keep their variables, and with --checkpoints or --checkpoint-age
    fewer states to go back to. Engines go on meanwhile; Ctrl-C ends it after any batch. Space is used again, the file
    does not shrink.
    """
    chosen = settings()
    check_direct(chosen)
    if rules:
        return in_loop(lambda: _show_rules(chosen))
    fewer = None
    if checkpoints is not None or checkpoint_age is not None or labelled:
        from durable.sessions.checkpoints.retention import Keep

        fewer = Keep(last=checkpoints or 2**31, age=checkpoint_age, labelled=not labelled)
    return in_loop(lambda: _gc(chosen, older_than, keep, fewer, dry_run, actors))


async def _show_rules(chosen: Settings) -> int:
    from durable.engine.retention_rules import read_rules
    from durable.records.duration_text import duration
    from durable.store.port import open_direct

    out = chosen.out()
    store = await open_direct(chosen.path, create=False)
    try:
        rules = (await store.request("retention.list", {})).data["rules"]
    finally:
        await store.close()
    if out.json:
        out.document(rules)
        return exit_codes.DONE
    rows = [
        (function, state, "for ever" if seconds is None else duration(seconds))
        for function, state, seconds in read_rules(rules)
    ]
    out.table(("function", "state", "kept"), rows, "no rules")
    return exit_codes.DONE


async def _gc(chosen: Settings, older_than: float, keep: int, fewer: Keep | None, dry_run: bool, actors: bool) -> int:
    import asyncio
    import time
    from dataclasses import asdict, replace

    from durable.core.clock import now_ms
    from durable.sessions.checkpoints.retention import sweep_chunks
    from durable.store.port import open_direct
    from durable.store.upkeep.gc import Collected, collect, sweep_actors, thin

    out = chosen.out()
    before = max(0, now_ms() - int(older_than * 1000))
    done, directories = Collected(), 0
    store = await open_direct(chosen.path, create=False)
    try:
        async for found in collect(store, before=before, keep=keep, dry_run=dry_run):
            done = found
        if fewer is not None:
            async for found in thin(store, fewer.to_json(), dry_run=dry_run):
                done = replace(done, checkpoints=found.checkpoints)
        if actors:
            async for found in sweep_actors(store, before=before, dry_run=dry_run):
                done = replace(done, actors=found.actors, letters=found.letters)
        directories = await asyncio.to_thread(store.sweep_run_files, dry_run=dry_run)
        swept = await asyncio.to_thread(sweep_chunks, store, now_s=time.time(), dry_run=dry_run)
    except BaseException:
        if not dry_run:
            out.say(f"ended early: {done.executions} executions are forgotten; run it again to go on")
        raise
    finally:
        await store.close()
    if out.json:
        found_bytes = {"blobs": swept.blobs, "unfinished_blobs": swept.unfinished, "bytes": swept.bytes}
        out.document({**asdict(done), "directories": directories, **found_bytes, "dry_run": dry_run})
        return exit_codes.DONE
    verb = "would forget" if dry_run else "forgot"
    out.data(
        f"{verb} {done.executions} executions ({done.promises} promises), {done.messages} messages,"
        f" {done.checkpoints} checkpoints, {done.entries} audit entries,"
        f"{f' {done.actors} actors, {done.letters} dead letters,' if actors else ''}"
        f" {swept.blobs + swept.unfinished} blobs ({size(swept.bytes)})"
    )
    return exit_codes.DONE
