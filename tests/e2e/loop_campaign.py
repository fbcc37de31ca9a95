"""A resumable loop under SIGKILL: `python -m tests.e2e.loop_campaign --kills 200 --seed 1 [--iterations N] [--dir D]`.

Every iteration takes at least 5 ms, changes an array of 10 MB, and then writes its number into a journal (a pipe, so
that what was written outlives who wrote it). The worker or its engine is killed at seeded moments. What must hold: each
finished iteration stands in the journal once, in order; after a kill the one in flight may stand there again, no
other; and the array is at the end what it is without kills. A failure prints the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.e2e import loop_job
from tests.warm_python import PYTHON

PAUSE_S = 0.005
PROGRESS_S = 120.0
KILL_DELAY_S = 0.02
"""A kill comes up to so long after the iteration that was drawn for it: two or three later, or in a capture."""


class Loop:
    """The engine's process, the journal, and what both said."""

    def __init__(self, folder: Path, iterations: int, pause_s: float) -> None:
        journal = folder / "journal"
        os.mkfifo(journal)
        self._journal = os.open(journal, os.O_RDWR | os.O_NONBLOCK)
        place = str(folder / "work.db")
        self._command = [PYTHON, "-m", "tests.e2e.loop_job", place, str(journal), str(iterations), str(pause_s)]
        self.numbers: list[int] = []
        self.workers: list[int] = []
        self.result: dict[str, Any] | None = None
        self._rest = b""
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        asyncio.get_running_loop().add_reader(self._journal, self._read_journal)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._journal)
        os.close(self._journal)

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        self._reading = asyncio.create_task(self._read_process())

    async def at(self, number: int | None) -> bool:
        """Return when the journal has this many lines, True; or when the engine's process ended, False."""
        while True:
            assert self._reading is not None
            if self._reading.done():
                return False
            if number is not None and len(self.numbers) >= number:
                return True
            self._news.clear()
            async with asyncio.timeout(PROGRESS_S):  # a campaign that hangs has found something, too
                await self._news.wait()

    async def kill_engine(self) -> None:
        assert self._reading is not None
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading
        self.workers = []

    async def kill_worker(self) -> None:
        while not self.workers:  # the journal may be read before what the engine said of its worker
            self._news.clear()
            async with asyncio.timeout(PROGRESS_S):
                await self._news.wait()
        with suppress(ProcessLookupError):
            os.kill(self.workers[-1], signal.SIGKILL)

    def _read_journal(self) -> None:
        *lines, self._rest = (self._rest + os.read(self._journal, 2**16)).split(b"\n")
        self.numbers += [int(line.split()[0]) for line in lines]
        self._news.set()

    async def _read_process(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
            if "worker" in said:
                self.workers.append(said["worker"])
                self._news.set()
            if "result" in said:
                self.result = said
        await self.process.wait()
        self._news.set()


def check(numbers: list[int], iterations: int, kills: int) -> int:
    """The journal keeps the promise; how many iterations were done again."""
    assert numbers[0] == 0
    assert numbers[-1] == iterations - 1
    again = 0
    for previous, following in pairwise(numbers):
        assert following in (previous, previous + 1), f"iteration {following} came after {previous}"
        again += following == previous
    assert again <= kills
    return again


def expected(iterations: int) -> list[Any]:
    total = sum(number + 1 for number in range(iterations))
    marks = [iterations, iterations * (iterations + 1) // 2]
    return [marks, float(total), len({number * 7919 % loop_job.ITEMS for number in range(iterations)})]


async def campaign(folder: Path, *, kills: int, seed: int, iterations: int, pause_s: float = PAUSE_S) -> dict[str, Any]:
    """Run the loop to its end under `kills` kills; what happened. AssertionError on a broken promise."""
    random_ = random.Random(seed)
    moments = sorted(random_.sample(range(1, iterations - 1), kills))
    killed = {"engine": 0, "worker": 0}
    loop = Loop(folder, iterations, pause_s)
    started = time.monotonic()
    try:
        await loop.start()
        for moment in moments:
            assert await loop.at(moment), f"the engine ended: {loop.result}"
            await asyncio.sleep(random_.random() * KILL_DELAY_S)
            what = random_.choice(["engine", "worker"])
            killed[what] += 1
            if what == "worker":
                await loop.kill_worker()
            else:
                await loop.kill_engine()
                await loop.start()
        await loop.at(None)
    finally:
        with suppress(ProcessLookupError):
            loop.process.kill()
        loop.close()
    assert loop.result is not None
    assert loop.result["result"] == expected(iterations), loop.result
    again = check(loop.numbers, iterations, kills)
    seconds = round(time.monotonic() - started, 1)
    return {"seed": seed, "iterations": iterations, **killed, "done_again": again, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--dir", type=Path, help="a disk for the store")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        try:
            found = asyncio.run(campaign(Path(folder), kills=given.kills, seed=given.seed, iterations=given.iterations))
            print(json.dumps(found))
        except BaseException:
            print(f"seed {given.seed}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
