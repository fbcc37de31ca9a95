"""The engine that `loop_campaign` kills: it runs, or goes on with, one resumable loop in a session."""

from __future__ import annotations

import asyncio
import json
import sys

import durable
from durable.core.events import Event, WorkerStarted

ITEMS = 1_250_000
"""Of 8 bytes: 10 MB."""

CODE = f"""
import os, time
import numpy as np
import durable
big = np.zeros({ITEMS})
marks = [0, 0]

def note(number):
    with open(journal, "wb", buffering=0) as file:
        file.write(f"{{number}} {{os.getpid()}}\\n".encode())

for number in durable.resumable(range(iterations)):
    big[number * 7919 % big.size] += number + 1
    marks[0] += 1
    time.sleep(pause_s)
    marks[1] += marks[0]
    note(number)
marks, float(big.sum()), int(np.count_nonzero(big))
"""


def observe(event: Event) -> None:
    if isinstance(event, WorkerStarted):
        print(json.dumps({"worker": event.pid}), flush=True)


async def main(place: str, journal: str, iterations: int, pause_s: float) -> None:
    async with durable.open(place, preload=["numpy"], observer=observe) as engine:
        session = await engine.session("desk")
        try:
            execution = await engine.get("desk@1")
        except durable.NotFound:
            inputs = {"journal": journal, "iterations": iterations, "pause_s": pause_s}
            execution = await session.submit(CODE, inputs=inputs, checkpoint="statement")
        result = await session.result(execution.id)
        print(json.dumps({"result": result.value, "error": str(result.error or "")}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
