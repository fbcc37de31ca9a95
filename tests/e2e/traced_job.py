"""A program whose spans go to the collector that its environment names. It kills itself twice, then asks a person.

python -m tests.e2e.traced_job STORE LIVES [ANSWER]
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from opentelemetry import trace

import durable
from durable.telemetry import OpenTelemetry

STORE, LIVES = Path(sys.argv[1]), Path(sys.argv[2])


def fetch() -> int:
    with trace.get_tracer("the step's own").start_as_current_span("download"):
        return 7


def dies_twice() -> int:
    lives = LIVES.stat().st_size if LIVES.exists() else 0
    with LIVES.open("a") as file:
        file.write("x")
    if lives < 2:
        trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]  # what has ended by now is there
        os.kill(os.getpid(), signal.SIGKILL)
    return lives


@durable.function
async def job(ctx: durable.Context) -> int:
    rows = await ctx.run(fetch)
    lives = await ctx.run(dies_twice)
    more = await ctx.ask("How many more?", schema=int)
    return rows + lives + int(more)


async def main() -> None:
    answer = sys.argv[3] if len(sys.argv) > 3 else None
    with OpenTelemetry() as telemetry:
        async with durable.open(STORE, durability="process", observer=telemetry) as engine:
            execution = await engine.start(job, id="job")
            if answer is not None:
                (prompt,) = await engine.prompts()
                await engine.answer(prompt.id, int(answer), by="ana")
                print(await execution.result())
            else:
                change = engine.changed()
                while (await execution.info()).state != "waiting":
                    await change
                    change = engine.changed()
    print(f"dropped {telemetry.dropped}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
