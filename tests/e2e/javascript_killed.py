"""A JavaScript session whose cell asks its host six times, in an engine that dies after an effect, or kills its worker.

`python -m tests.e2e.javascript_killed DIRECTORY engine|worker AMOUNT` (test_javascript_session.py).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import durable
from durable.core.events import Event, WorkerStarted
from tests.e2e.sandboxed import LEDGER

CELL = """
let sum = 0;
for (const n of [1, 2, 3, 4, 5, 6]) { sum += charge(n); told.push(n) }
const name = input('who? ');
[sum, told, name]
"""


def charging(directory: Path, whom: str, at: int) -> tuple[durable.Capability, list[int]]:
    """The capability, and where the pids of workers are to be put."""
    workers: list[int] = []

    @durable.capability
    def charge(amount: int) -> int:
        first = not (directory / LEDGER).exists() or f":{amount} " not in (directory / LEDGER).read_text()
        ledger = os.open(directory / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(ledger, f"{durable.call_id()} :{amount} \n".encode())
        os.close(ledger)
        if amount == at and first:
            os.kill(os.getpid() if whom == "engine" else workers[-1], signal.SIGKILL)
        return amount * 7

    found: durable.Capability = charge
    return found, workers


async def main(directory: Path, whom: str, at: int) -> None:
    charge, workers = charging(directory, whom, at)

    def watch(event: Event) -> None:
        if isinstance(event, WorkerStarted):
            workers.append(event.pid)

    async with durable.open(directory / "work.db", capabilities=[charge], observer=watch) as engine:
        session = await engine.session("js", language="javascript", grants=["charge"])
        if not await engine.store.reads.list_executions(session="js", limit=1):
            await session.execute("let told = []; 0")
            await session.submit(CELL)
        while (change := engine.changed()) and not await engine.prompts():
            await change
        os.kill(os.getpid(), signal.SIGKILL)  # a question waits: that is for another engine to answer


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
