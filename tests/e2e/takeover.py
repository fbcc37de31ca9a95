"""Two engines on one file, killed: `python -m tests.e2e.takeover jobs|sessions [--jobs N] [--seconds S] [--seed N]`.

jobs: every job runs once; with kills each is still settled once, and a step that was recorded is never performed again.
sessions: no two workers ever run one session, and no execution is lost, merged with another or out of order.
A failure prints the seed and keeps the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import durable
from tests.e2e import takeover_jobs
from tests.warm_python import PYTHON

_AUDIT = """
CREATE TABLE audit_settled (id TEXT, before TEXT, after TEXT);
CREATE TRIGGER audit_settled AFTER UPDATE OF state ON promises
    BEGIN INSERT INTO audit_settled VALUES (new.id, old.state, new.state); END;
"""


class Engines:
    """Two engines as processes: any may be killed, its place is taken by a new one."""

    def __init__(self, store: Path | str | Callable[[], str], folder: Path) -> None:
        self._store = store if callable(store) else lambda: str(store)
        self._folder = folder
        self._errors = (folder / "engines.err").open("ab")
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        """By engine id."""
        self._starting: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        arguments = [PYTHON, "-m", "tests.e2e.takeover_engine", self._store(), str(self._folder)]
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=PIPE, stdout=PIPE, stderr=self._errors, start_new_session=True
        )
        assert process.stdout is not None
        engine = (await process.stdout.readline()).decode().strip()
        assert engine, "the engine ended before it was ready; see engines.err"
        self.processes[engine] = process

    async def kill(self, engine: str) -> None:
        process = self.processes.pop(engine)
        process.kill()
        await process.wait()

    async def replace(self) -> None:
        """Begin to start another one; at least one is up when it returns."""
        self._starting.append(asyncio.create_task(self.start()))
        while not self.processes:
            await self._starting.pop(0)

    async def leave(self, engine: str) -> None:
        """Close it in order, which gives back what it holds."""
        process = self.processes.pop(engine)
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0, "closing an engine failed; see engines.err"

    async def close(self) -> None:
        await asyncio.gather(*self._starting)
        for engine in list(self.processes):
            await self.kill(engine)
        self._errors.close()


def marks(folder: Path) -> list[list[str]]:
    log = folder / "marks.log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def recorded_steps(store: Path) -> set[tuple[str, int]]:
    """Job and step of every step whose outcome the store holds."""
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    rows = database.execute("SELECT id FROM promises WHERE id LIKE 'exec:job-%.%' AND state='resolved'").fetchall()
    database.close()
    return {(row[0][5:].partition(".")[0], int(row[0].rpartition(".")[2]) - 1) for row in rows}


def step_runs(folder: Path) -> Counter[tuple[str, int]]:
    return Counter((words[1], int(words[2])) for words in marks(folder) if words[0] == "step")


async def jobs(folder: Path, *, count: int, seconds: float, seed: int, stall: float = 0) -> dict[str, Any]:
    """`count` jobs on two engines, one of which is killed every second for so many seconds (0: none is).

    stall: first one of them is stopped for so many seconds, and goes on when its leases have long been others'.
    """
    store, random_ = folder / "work.db", random.Random(seed)
    engines = Engines(store, folder)
    kills, before, record = 0, Counter[tuple[str, int]](), set[tuple[str, int]]()
    try:
        async with durable.open(store, serve=False) as client:
            _execute(store, _AUDIT)
            await engines.start()
            await engines.start()
            began = time.monotonic()
            starting = asyncio.create_task(_start_jobs(client, count, max(seconds, stall), random_.random()))
            if stall:
                await _stall(engines, stall)
                began = time.monotonic()
            while (left := began + seconds - time.monotonic()) > 0:
                await asyncio.sleep(min(left, kills + 1 - (time.monotonic() - began)))
                await engines.kill(random_.choice(sorted(engines.processes)))
                kills += 1
                runs = step_runs(folder)
                # The other engine goes on: what it performs anew must not be in the record of the last kill.
                again = {step for step in record if runs[step] > before[step]}
                assert not again, f"recorded before a kill and performed again: {sorted(again)[:5]}"
                record, before = recorded_steps(store), step_runs(folder)
                await engines.replace()
            async with asyncio.timeout(60 + count / 10):
                values = await asyncio.gather(*(execution.result() for execution in await starting))
    finally:
        await engines.close()
    assert values == [[job * 10 + step for step in range(takeover_jobs.STEPS)] for job in range(count)]
    settled = Counter(
        row[0] for row in _rows(store, "SELECT id FROM audit_settled WHERE id LIKE 'exec:job-%' AND after<>'pending'")
    )
    assert len(settled) == count * (1 + takeover_jobs.STEPS)
    assert set(settled.values()) == {1}, "settled more than once"
    runs = step_runs(folder)
    if not kills and not stall:
        assert set(runs.values()) == {1}, f"performed more than once: {runs.most_common(3)}"
    both = {words[3] for words in marks(folder)}
    assert len(both) > 1, "only one engine worked"
    return {"jobs": count, "kills": kills, "performed_again": runs.total() - len(runs), "took": _since(began)}


async def _stall(engines: Engines, seconds: float) -> None:
    await asyncio.sleep(1)
    process = next(iter(engines.processes.values()))
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)


async def _start_jobs(client: durable.Engine, count: int, seconds: float, jitter: float) -> list[Any]:
    """Start them so that there is work as long as engines are killed."""
    started = []
    for job in range(count):
        execution = await client.start(takeover_jobs.several_steps, job, 0.02 + 0.2 * jitter, id=f"job-{job}")
        started.append(execution)
        await asyncio.sleep(seconds * 0.8 / count)
    return started


async def sessions(folder: Path, *, desks: int, cells: int, seconds: float, seed: int) -> dict[str, Any]:
    """`cells` executions in each of so many sessions, owners and workers ended at random for so many seconds."""
    store, random_ = folder / "work.db", random.Random(seed)
    engines = Engines(store, folder)
    ended = Counter[str]()
    names = [f"desk-{desk}" for desk in range(desks)]
    try:
        async with durable.open(store, serve=False) as client:
            await engines.start()
            await engines.start()
            began = time.monotonic()
            opened = {name: await client.session(name) for name in names}
            submitting = asyncio.create_task(_submit(opened, cells, seconds, random_.randrange(2**31), folder))
            while time.monotonic() < began + seconds:
                await asyncio.sleep(0.2 + random_.random() * 1.3)
                ended[await _end_something(store, engines, random_)] += 1
                if len(engines.processes) < 2:
                    await engines.start()
            submitted = await submitting
            async with asyncio.timeout(60 + desks * cells / 10):
                outcomes = await asyncio.gather(
                    *(opened[name].result(each) for name in names for each in submitted[name])
                )
            for name in names:
                assert submitted[name] == [f"{name}@{n}" for n in range(1, cells + 1)]
                found = await opened[name].execute("seen")
                assert found.repr == repr(list(range(1, cells + 1))), f"{name}: {found.repr} {found.error}"
    finally:
        await engines.close()
    assert [outcome.value for outcome in outcomes] == [n for _ in names for n in range(1, cells + 1)]
    assert [outcome.stdout for outcome in outcomes] == [f"{n}\n" for _ in names for n in range(1, cells + 1)]
    workers = check_marks(folder, names, cells)
    return {"sessions": desks, "cells": cells, **ended, "workers": workers, "took": _since(began)}


async def _end_something(store: Path, engines: Engines, random_: random.Random) -> str:
    """Kill the owner of a session, or close it, or kill a session's worker; what was done."""
    owned = _rows(store, "SELECT owner, worker_pid FROM sessions WHERE owner IS NOT NULL ORDER BY name")
    living = [row for row in owned if row[0] in engines.processes]
    what = random_.choices(("killed", "closed", "workers_killed"), (6, 2, 2))[0]
    workers = [row[1] for row in living if row[1] is not None]
    if what == "workers_killed" and workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(random_.choice(workers), signal.SIGKILL)
        return what
    owner = random_.choice([row[0] for row in living] or sorted(engines.processes))
    if what == "closed":
        await engines.leave(owner)
        return what
    await engines.kill(owner)
    return "killed"


async def _submit(
    opened: dict[str, durable.Session], cells: int, seconds: float, seed: int, folder: Path
) -> dict[str, list[str]]:
    """Submit the sessions' executions interleaved, so that there is work as long as engines are killed."""
    random_ = random.Random(seed)
    order = [name for name in opened for _ in range(cells)]
    random_.shuffle(order)
    submitted: dict[str, list[str]] = {name: [] for name in opened}
    for name in order:
        n = len(submitted[name]) + 1
        inputs = {"desk": name, "n": n, "folder": str(folder), "seconds": round(random_.random() * 0.4, 3)}
        execution = await opened[name].submit(takeover_jobs.CELL, inputs=inputs)
        submitted[name].append(execution.id)
        await asyncio.sleep(seconds * 0.8 / len(order))
    return submitted


def check_marks(folder: Path, names: list[str], cells: int) -> int:
    """Each of these sessions ran its executions in order, one at a time, to their ends; in how many workers."""
    found = marks(folder)
    overlaps = [words for words in found if words[4] != "held"]
    assert not overlaps, f"two workers ran one session at a time: {overlaps[:3]}"
    for name in names:
        own = [words for words in found if words[1] == name]
        order = [int(words[2]) for words in own]
        assert order == sorted(order), f"{name} ran out of order: {order}"
        ends = {int(words[2]) for words in own if words[0] == "end"}
        assert ends == set(range(1, cells + 1)), f"{name} never reached the end of {set(range(1, cells + 1)) - ends}"
    return len({words[3] for words in found})


def _execute(store: Path, script: str) -> None:
    database = sqlite3.connect(store, timeout=30)
    database.executescript(script)
    database.close()


def _rows(store: Path, sql: str) -> list[Any]:
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)
    rows = database.execute(sql).fetchall()
    database.close()
    return rows


def _since(began: float) -> float:
    return round(time.monotonic() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["jobs", "sessions"])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60, help="how long engines are killed; 0 for not at all")
    parser.add_argument("--stall", type=float, default=0, help="jobs: first stop an engine for so many seconds")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="takeover-"))
    try:
        if given.campaign == "jobs":
            plan = jobs(folder, count=given.jobs, seconds=given.seconds, seed=given.seed, stall=given.stall)
        else:
            plan = sessions(folder, desks=given.sessions, cells=given.cells, seconds=given.seconds, seed=given.seed)
        happened = asyncio.run(plan)
    except BaseException:
        print(f"seed {given.seed}, see {folder}", file=sys.stderr)
        raise
    print(json.dumps({"seed": given.seed, **happened}))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
