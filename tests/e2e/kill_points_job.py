"""The engine that `kill_points` kills: a session whose variables all say after which statement they are."""

from __future__ import annotations

import asyncio
import json
import os
import sys

os.environ["KILLING_ENGINE"] = str(os.getpid())

import durable
from tests.e2e import killing

STATEMENTS = 4

SETUP = """
import numpy as np, os, signal
noise = np.random.default_rng(5).random(400_000)
big = noise * 0
a, b, seen = 0, [0], []
class Held:
    n = 0
held = Held()
held.twin = b

def note(text):
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.writev(descriptor, [text.encode()])
    os.close(descriptor)

def step(k, answer):
    global a
    found = (a, b[0], bool((big == noise * a).all()), held.n, held.twin is b, seen)
    if found != (k - 1, k - 1, True, k - 1, True, list(range(1, k))):
        raise AssertionError(f"a mix before statement {k}: {found}")
    a = k
    big[:] = noise * k
    b[0] = held.n = k
    seen.append(k)
    note(f"{k}\\n")

def die():
    if not os.path.exists(journal + ".died"):
        os.mkdir(journal + ".died")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def script() -> str:
    """Some statements, the worker's own death among them, so that every run has a restore."""
    steps = [f"step({k}, tick({k}))" for k in range(1, STATEMENTS + 1)]
    steps.insert(2, "die()")
    return "\n".join([*steps, "[a, b[0], bool((big == noise * a).all()), held.n, seen]"])


@durable.capability
async def tick(n: int) -> int:
    """A call, after which a checkpoint is due."""
    return n


async def main(place: str, journal: str, mode: str) -> None:
    killing.in_engine()
    async with durable.open(place, preload=["numpy", "tests.e2e.killing"], capabilities=[tick]) as engine:
        session = await engine.session("desk", grants=["tick"])
        for number, code in ((1, SETUP), (2, script())):
            try:
                execution = await engine.get(f"desk@{number}")
            except durable.NotFound:
                checkpoint = "statement" if mode == "statement" else "auto"
                execution = await session.submit(code, inputs={"journal": journal}, checkpoint=checkpoint)  # type: ignore[arg-type]
            result = await session.result(execution.id)
        print(json.dumps({"result": result.value, "error": str(result.error or "")}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
