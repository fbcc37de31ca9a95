"""Jobs that campaigns kill: each is an engine in a process of its own, telling its progress on stdout.

`python -m tests.e2e.jobs STORE JOB LOG [CHECKPOINT]`. Real runs of steps, calls and statements are appended to LOG.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import durable
from durable.core.events import Event, SessionRestored, WorkerStarted

STEPS = 50
STATEMENTS = 200
PACE_S = 0.004
"""How long a step or call takes: so that kills fall before, within and after it."""
LOG = ""


def say(**found: object) -> None:
    print(json.dumps(found), flush=True)


def ran(kind: str, n: int) -> None:
    """One real run: appended with one write, so that a kill leaves whole lines."""
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{kind} {n}\n".encode())
    os.close(descriptor)


async def double(n: int, total: int) -> int:
    ran("step", n)
    say(progress=n)
    await asyncio.sleep(PACE_S)
    return (total * 31 + n * 7) % 1_000_003


@durable.function(name="fifty")
async def fifty(ctx: durable.Context) -> int:
    total = 1
    for n in range(1, STEPS + 1):
        total = await ctx.run(double, n, total)
    return total


@durable.capability
def tick(n: int) -> int:
    ran("call", n)
    say(progress=n)
    time.sleep(PACE_S)
    return n * n % 97


def script() -> str:
    """200 one-line statements, each ending in a recorded call; `done` is a function that sees later globals."""
    head = [
        "total, log = 1, " + repr(LOG),
        "def done(n, answer): import os; fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT); "
        "os.write(fd, f'statement {n}\\n'.encode()); os.close(fd); return (total * 31 + answer) % 1_000_003",
    ]
    return "\n".join([*head, *(f"total = done({n}, tick({n}))" for n in range(1, STATEMENTS + 1)), "total"])


def expected() -> dict[str, int]:
    """What uninterrupted runs end with."""
    function = statements = 1
    for n in range(1, STEPS + 1):
        function = (function * 31 + n * 7) % 1_000_003
    for n in range(1, STATEMENTS + 1):
        statements = (statements * 31 + n * n % 97) % 1_000_003
    return {"function": function, "session": statements}


def observe(event: Event) -> None:
    if isinstance(event, WorkerStarted):
        say(worker=event.pid)
    elif isinstance(event, SessionRestored):
        say(restored=event.restored, lost=event.lost)
    else:
        print(event, file=sys.stderr, flush=True)


async def main(store: str, job: str, checkpoint: str) -> None:
    async with durable.open(store, capabilities=[tick], observer=observe) as engine:
        say(ready=True)
        if job == "function":
            say(result=await (await engine.start(fifty, id="job")).result())
            return
        session = await engine.session("desk", grants=["tick"])
        try:
            execution = await engine.get("desk@1")
        except durable.NotFound:
            execution = await session.submit(script(), checkpoint="statement" if checkpoint == "statement" else "auto")
        result = await session.result(execution.id)
        say(result=result.value, error=str(result.error) if result.error else None)


if __name__ == "__main__":
    LOG = sys.argv[3]
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[4] if len(sys.argv) > 4 else "auto"))
