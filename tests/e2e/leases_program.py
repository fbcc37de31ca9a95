"""A program whose engine stands still: a step that blocks the loop, a clock that is set, a process that is stopped.

    python -m tests.e2e.leases_program STORE NAME LEASE_MS [SECONDS]

NAME: `blocks` starts one execution of `job` and waits for it; `serves` only serves. A store is a path, or a URL. Steps
report themselves on the standard output, one line each; SIGUSR1 sets the clock a day ahead, SIGUSR2 a day back.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from durable.core import limits

limits.LEASE_MS = int(sys.argv[3])
limits.LEASE_ASK_MS = min(limits.LEASE_ASK_MS, limits.LEASE_MS)

import durable  # noqa: E402 - its parts take the limits as they are now

DAY_NS = 86_400 * 10**9
SECONDS = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
_real = time.time_ns
_offset = 0


def _set_clock(by_ns: int) -> None:
    global _offset
    _offset += by_ns
    say(f"clock {by_ns // DAY_NS:+d}")


def say(what: str) -> None:
    """A line that whoever runs this can wait for."""
    print(what, flush=True)


time.time_ns = lambda: _real() + _offset
signal.signal(signal.SIGUSR1, lambda *_: _set_clock(DAY_NS))
signal.signal(signal.SIGUSR2, lambda *_: _set_clock(-DAY_NS))


async def block() -> int:
    """Stand still: the loop does nothing else. A signal's handler runs, and the sleep goes on."""
    say("begin")
    time.sleep(SECONDS)  # noqa: ASYNC251 - it is what this is about
    say("end")
    return 7


async def after(value: int) -> int:
    say("after")
    return value * 2


@durable.function(name="leases_job")
async def job(ctx: durable.Context) -> int:
    value = await ctx.run(block)
    await ctx.sleep(0.05)
    return await ctx.run(after, value)


async def main() -> None:
    async with durable.open(sys.argv[1]) as engine:
        say("ready")
        if sys.argv[2] == "blocks":
            execution = await engine.start(job, id="job")
            say(f"result {await execution.result()}")
            row = await execution.info()
            say(f"starts {row.starts} attempts {row.attempts}")
        else:
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
