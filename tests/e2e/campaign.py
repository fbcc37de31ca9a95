"""SIGKILL at random moments until the job ends: `python -m tests.e2e.campaign --job session --kills 100 --seed 1`.

What must hold: the final value is the uninterrupted run's; a step or call that was recorded before a kill is never
performed again; with checkpoint="statement" only the statement in flight runs again. A failure prints the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.e2e import jobs
from tests.postgres_server import rows_of
from tests.warm_python import PYTHON

EARLY_MAX = 3
"""Kills in a row that may come before any progress."""


class Job:
    """The job's engine as a child process, and what it said."""

    def __init__(self, place: str, job: str, log: Path, checkpoint: str) -> None:
        self._arguments = [PYTHON, "-m", "tests.e2e.jobs", place, job, str(log), checkpoint]
        self.workers: list[int] = []
        self.result: dict[str, Any] | None = None

    async def start(self) -> None:
        self.workers = []
        # stderr is inherited: what an engine says when it dies must be seen.
        self.process = await asyncio.create_subprocess_exec(*self._arguments, stdout=asyncio.subprocess.PIPE)

    async def said(self) -> dict[str, Any] | None:
        """The next thing it said; None when it ended."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        found: dict[str, Any] = json.loads(line)
        if "worker" in found:
            self.workers.append(found["worker"])
        if "result" in found:
            self.result = found
        return found

    async def kill(self, what: str) -> None:
        if what == "worker" and self.workers:
            try:
                os.kill(self.workers[-1], signal.SIGKILL)
            except ProcessLookupError:
                pass
            return
        try:
            self.process.kill()
        except ProcessLookupError:
            pass
        await self.process.wait()


def recorded(store: Path, job: str, place: str | None) -> set[int]:
    """Numbers of the steps or calls whose outcome the store holds."""
    pattern = "exec:job.%" if job == "function" else "exec:desk@1:tick:%"
    sql = f"SELECT id FROM promises WHERE id LIKE '{pattern}' AND state = 'resolved'"
    if place is not None and place.startswith("postgresql:"):
        rows = rows_of(place, sql)
    elif not store.exists():
        return set()
    else:
        database = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
        rows = database.execute(sql).fetchall()
        database.close()
    return {int(row[0].replace(":", ".").rpartition(".")[2]) for row in rows}


def real_runs(log: Path) -> list[tuple[str, int]]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [(kind, int(n)) for kind, n in (line.split() for line in lines)]


def check_record(before: Counter[int], record: set[int], after: Counter[int]) -> None:
    again = {n for n in record if after[n] > before[n]}
    assert not again, f"recorded before the kill and performed again: {sorted(again)}"


def check_statements(runs: list[tuple[str, int]], kills: int) -> None:
    order = [n for kind, n in runs if kind == "statement"]
    again = 0
    for previous, following in pairwise(order):
        assert following in (previous, previous + 1), f"statement {following} ran after {previous}"
        again += following == previous
    assert again <= kills


async def campaign(
    folder: Path, job: str, kills: int, seed: int, checkpoint: str, place: str | None = None
) -> dict[str, Any]:
    """Run one job to its end under `kills` SIGKILLs; what happened. AssertionError on a broken promise.

    `place` is where engines open the store `work.db` of the folder: its path, or a URL where it is served.
    """
    random_ = random.Random(seed)
    store, log = folder / "work.db", folder / "runs.log"
    kind = "step" if job == "function" else "call"
    total = jobs.STEPS if job == "function" else jobs.STATEMENTS
    runner = Job(place or str(store), job, log, checkpoint)
    await runner.start()
    done = {"engine": 0, "worker": 0}
    started = time.monotonic()
    before: Counter[int] = Counter()
    record: set[int] = set()
    early = 0
    while True:
        # The gaps shrink with what is left, so that all kills fall inside the job. Some come before any progress, but
        # not ten in a row: that many attempts without progress end as lost, as they should.
        left, steps = kills - sum(done.values()), total - len(record)
        often = random_.choice([0, 0, 0, 1]) if left >= steps else random_.randint(0, 2 * steps // max(left, 1) - 1)
        gap = -1 if not left else 1 if early >= EARLY_MAX else often
        early = early + 1 if gap == 0 else 0
        delay = random_.random() * 0.01
        ended = await follow(runner, gap)
        if ended and runner.result is not None:
            break
        if not ended:
            await asyncio.sleep(delay)
        what = "engine" if job == "function" or random_.random() < 0.5 else "worker"
        await runner.kill(what)
        if what == "engine" or ended:
            done["engine"] += 1
            counted = Counter(n for k, n in real_runs(log) if k == kind)
            check_record(before, record, counted)
            before, record = counted, recorded(store, job, place)
            await runner.start()
        else:
            done["worker"] += 1
    runs = real_runs(log)
    check_record(before, record, Counter(n for k, n in runs if k == kind))
    assert runner.result is not None
    assert runner.result["result"] == jobs.expected()[job], runner.result
    if checkpoint == "statement" and job == "session":
        check_statements(runs, sum(done.values()))
    extra = len([1 for k, _ in runs if k == kind]) - total
    return {"job": job, "seed": seed, **done, "performed_again": extra, "seconds": round(time.monotonic() - started, 1)}


async def follow(runner: Job, gap: int) -> bool:
    """Read until `gap` more progress was told, or for ever when negative; whether the process ended its output."""
    seen = 0
    while gap < 0 or seen <= gap:
        found = await runner.said()
        if found is None:
            await runner.process.wait()
            return True
        if "result" in found:
            await runner.process.wait()
            return True
        seen += "progress" in found or ("ready" in found and gap == 0)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=["function", "session"], default="session")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--checkpoint", choices=["auto", "statement"], default="statement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(json.dumps(asyncio.run(campaign(Path(folder), given.job, given.kills, given.seed, given.checkpoint))))
        except BaseException:
            print(f"seed {given.seed}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
