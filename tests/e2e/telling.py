"""An engine with a webhook, as a process that tests kill: `python -m tests.e2e.telling STORE WEBHOOK ANSWERS_AT`."""

from __future__ import annotations

import asyncio
import sys

import durable

SECRET = "a secret of the tests"


@durable.function
async def ships(ctx: durable.Context) -> int:
    return int(await ctx.ask("How many?", schema=int, to=["ana", "team:ops"]))


async def main(store: str, url: str, answers_at: str) -> None:
    hook = durable.Webhook(url, SECRET, answers_at=answers_at, retry_s=0.05)
    async with durable.open(store, durability="process", webhooks=[hook]) as engine:
        execution = await engine.start(ships, id="ship")
        print(await execution.result(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
