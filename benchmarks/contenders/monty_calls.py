"""Monty (a subset of Python): external functions of the host, `1+1`, and the state of a session as bytes and back.

Its sessions are in processes of its own: one is taken from a pool that has it started.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from pydantic_monty import Monty

from benchmarks.contenders.scripts import timed
from benchmarks.turns import Ready, serve

CALLS = 100
CODE = f"for _ in range({CALLS}): nothing()"
OBJECTS = "kept = [{'i': i, 'name': 'n' + str(i)} for i in range(1000)]\n0"


def nothing() -> None:
    """Nothing at all."""


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    with Monty() as monty:

        async def calls(size: int) -> list[float]:
            samples = []
            for _ in range(size):
                with monty.checkout() as session:  # a session of its own: one allows a thousand calls
                    session.feed_run("nothing()", external_lookup={"nothing": nothing})
                    started = time.perf_counter()
                    session.feed_run(CODE, external_lookup={"nothing": nothing})
                    samples.append((time.perf_counter() - started) / CALLS)
            return samples

        async def evaluation(size: int) -> list[float]:
            samples: list[float] = []
            while len(samples) < size:
                with monty.checkout() as session:
                    session.feed_run("1+1")
                    for _ in range(min(500, size - len(samples))):
                        started = time.perf_counter()
                        session.feed_run("1+1")
                        samples.append(time.perf_counter() - started)
            return samples

        async def snapshot(size: int) -> list[float]:
            with monty.checkout() as session:
                session.feed_run(OBJECTS)
                return await timed(session.dump)(size)

        async def restore(size: int) -> list[float]:
            with monty.checkout() as session:
                session.feed_run(OBJECTS)
                state = session.dump()

            def restored() -> None:
                with monty.checkout() as other:
                    other.load_session(state)

            return await timed(restored)(size)

        turns = {"calls": calls, "evaluation": evaluation, "snapshot": snapshot, "restore": restore}
        yield Ready(f"pydantic-monty {version('pydantic-monty')}", turns)


if __name__ == "__main__":
    serve(setup)
