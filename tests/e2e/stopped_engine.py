"""An engine that tests stop: `python -m tests.e2e.stopped_engine URL`. It tells its progress on stdout."""

from __future__ import annotations

import asyncio
import sys

import durable
from durable.core.events import Event, ResultDiscarded
from durable.store.postgres.store import PostgresStore

LEASE_MS = 1_500
far = False


def shorten_leases() -> None:
    """Engines of this process may be silent for LEASE_MS."""
    defaults = PostgresStore.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
    defaults["lease_ms"] = LEASE_MS


async def who() -> str:
    """Here, wait for a line before answering; the other process answers at once."""
    if not far:
        return "near"
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return "far"


@durable.function(name="ask_who")
async def ask_who(ctx: durable.Context) -> str:
    return await ctx.run(who)


def _observe(event: Event) -> None:
    if isinstance(event, ResultDiscarded):
        print(f"discarded {event.execution}", flush=True)


async def _main(url: str) -> None:
    global far
    far = True
    shorten_leases()
    async with durable.open(url, observer=_observe) as engine:
        session = await engine.session("desk")
        found = await session.execute("import os; os.getpid()")
        print(found.value, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    # Under the name by which the other process imports it: a function's id has that of its module.
    from tests.e2e import stopped_engine

    asyncio.run(stopped_engine._main(sys.argv[1]))
