"""The engines of the queue campaign: `python -m tests.e2e.queue_engine STORE`, until killed."""

from __future__ import annotations

import asyncio
import os
import sys

import durable
from tests.e2e.campaign_store import serve_until_killed


async def note(n: int) -> int:
    """One real effect: a line in the file of all effects."""
    log = os.environ.get("QUEUE_CAMPAIGN_LOG")
    if log:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b"%d\n" % n)
        os.close(descriptor)
    return n


@durable.function(name="queued")
async def queued(ctx: durable.Context, n: int) -> int:
    return await ctx.run(note, n)


if __name__ == "__main__":
    asyncio.run(serve_until_killed(sys.argv[1]))
