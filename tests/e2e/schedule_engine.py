"""The engines of the schedule campaign: `python -m tests.e2e.schedule_engine STORE`, until killed."""

from __future__ import annotations

import asyncio
import sys

import durable
from tests.e2e.campaign_store import serve_until_killed

PERIOD_MS = 500


async def note(what: str) -> str:
    return what


@durable.function(name="ticked")
async def ticked(ctx: durable.Context) -> str:
    """What ticks while engines are killed takes 0.1 to 1.3 s; what was missed takes none."""
    tick = int(ctx.id.rpartition("-")[2])
    await ctx.run(note, "begun")
    if ctx.id.startswith("every"):
        await ctx.sleep(0.1 + tick // PERIOD_MS % 7 * 0.2)
    return await ctx.run(note, "done")


if __name__ == "__main__":
    asyncio.run(serve_until_killed(sys.argv[1]))
