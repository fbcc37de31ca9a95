"""Functions that the engines of the takeover campaigns run: `python -m tests.e2e.takeover_engine STORE FOLDER`."""

from __future__ import annotations

import asyncio
import os
import sys

import durable
from durable.core.events import Event

FOLDER = ""
STEPS = 3


def mark(*words: object) -> None:
    """One line of the log, appended with one write, so that a kill leaves whole lines."""
    descriptor = os.open(f"{FOLDER}/marks.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    os.close(descriptor)


async def work(job: int, step: int, seconds: float) -> int:
    mark("step", f"job-{job}", step, os.getpid())
    await asyncio.sleep(seconds)
    return job * 10 + step


@durable.function(name="several_steps")
async def several_steps(ctx: durable.Context, job: int, seconds: float) -> list[int]:
    return [await ctx.run(work, job, step, seconds) for step in range(STEPS)]


CELL = """
def stretch(what):
    import fcntl, os, time
    guard = os.open(folder + "/" + desk + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # A record lock is the process's own: it goes with it, and forked children do not have it.
        fcntl.lockf(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = "held"
    except OSError:
        held = "OVERLAP"
    marks = os.open(folder + "/marks.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(marks, f"{what} {desk} {n} {os.getpid()} {held}\\n".encode())
    time.sleep(seconds / 2)
    os.close(marks)
    os.close(guard)
stretch("begin")
seen = [*globals().get("seen", []), n]
print(n)
stretch("end")
seen[-1]
"""
"""One execution of a session. While a worker is in a stretch it holds the session's lock; `seen` must be every n once,
in order. No statement leaves a file open for the next: a crash between them would close it."""


def observe(event: Event) -> None:
    print(event, file=sys.stderr, flush=True)


async def serve(store: str) -> None:
    """An engine until its stdin ends, or it is killed."""
    async with durable.open(store, observer=observe) as engine:
        print(engine.engine_id, flush=True)
        ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(0, lambda: None if ended.done() else ended.set_result(None))
        await ended
