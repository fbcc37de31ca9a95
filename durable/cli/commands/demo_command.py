"""`durable demo`"""

from __future__ import annotations

import secrets

import click

from durable.cli.command_group import Command, Settings, in_loop, settings


@click.command("demo", cls=Command, short_help="See a job survive SIGKILL.")
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="When to kill what; the same seed, the same plan."
)
@click.option("--kills", type=click.IntRange(0, 40), default=2, show_default=True, metavar="N", help="How often.")
def command(seed: int | None, kills: int) -> int:
    """Run a real analysis, kill its engine and its worker with SIGKILL, and compare with a run left alone.

    Takes about ten seconds. Exits with 1 if the two results differ. With --store the killed run's store is kept.
    """
    chosen = settings()
    drawn = secrets.randbelow(1_000_000) if seed is None else seed
    return in_loop(lambda: _demo(chosen, drawn, kills))


async def _demo(chosen: Settings, seed: int, kills: int) -> int:
    from durable.demo.main import demo

    return await demo(chosen.out(), seed=seed, kills=kills, store=chosen.store)
