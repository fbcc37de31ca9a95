"""The process that is killed: an engine that serves the job. It speaks to the demo in lines on stdout."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from durable.core import events


def say(*words: object) -> None:
    """One line of tab-separated words, whole and at once."""
    os.write(1, ("\t".join(map(str, words)) + "\n").encode())


def observe(event: events.Event) -> None:
    """Pass on what the report tells about."""
    match event:
        case events.WorkerStarted(_, pid):
            say("worker", pid)
        case events.SessionRestored(_, checkpoint, restored, lost):
            say("restored", checkpoint, restored, ",".join(lost))
        case _:
            events.log_event(event)


async def main(store: str, execution_id: str, session: str) -> None:
    """Serve until the job has ended, or the demo has."""
    import durable
    from durable.demo import data, job

    asyncio.get_running_loop().add_reader(0, _demo_gone)
    options: dict[str, Any] = {"capabilities": [job.weeks], "observer": observe}
    async with durable.open(store, **options) as engine:
        say("ready", os.getpid())
        await engine.session(session, grants=["weeks"])
        execution = await engine.start(job.carbon, str(data.path()), session, id=execution_id)
        await execution.result()
    say("done")


def _demo_gone() -> None:
    if not os.read(0, 4096):
        os._exit(1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
