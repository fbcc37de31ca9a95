"""SIGKILL before and after every write and commit of the store: `python -m tests.contract.crash_points [--every N]`.

A process runs the script of crash_script.py and kills itself at the k-th point. Then the file must be, to the last
row, what it was after one of the script's requests: none before the last acknowledged one (no acknowledged write is
lost), none in between (no half cascade). The invariants must hold, and hold again when it has been opened.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreRefused
from durable.core.events import Event, PeerDead
from durable.store.sqlite.fault_points import Fault
from durable.store.sqlite.file import APPLICATION_ID, migrations
from durable.store.sqlite.store import Store

from .crash_script import MAKE_DOOMED, Advance, Connect, Request, Step, before_the_day, the_day
from .invariants import check, contents
from .opened import Clock

BURST = 5
"""Requests posted at once, so that one commit holds several."""

type Contents = dict[str, list[tuple[object, ...]]]


class Burials:
    """Opens a store and waits until what dead engines left in it is released."""

    def __init__(self) -> None:
        self._dead: asyncio.Queue[str] = asyncio.Queue()

    def observe(self, event: Event) -> None:
        if isinstance(event, PeerDead):
            self._dead.put_nowait(event.engine)

    async def open(self, path: Path, clock: Clock, fault: Fault | None = None) -> Store:
        store = await Store.open(path, durability="process", clock=clock, observer=self.observe, fault=fault)
        for _ in await store.reads.engines():
            await self._dead.get()
        return store


async def run(path: Path, steps: list[Step], *, burst: int, fault: Fault | None, said: Callable[[], object]) -> None:
    """Take the steps; `said` is called once when the store is open, and for each step as soon as it is acknowledged."""
    clock = Clock()
    store = await Burials().open(path, clock, fault)
    try:
        said()
        for group in _grouped(steps, burst):
            await _take(store, clock, group, said)
    finally:
        await store.close()


async def _take(store: Store, clock: Clock, group: list[Step], said: Callable[[], object]) -> None:
    match group[0]:
        case Advance(ms):
            clock.now += ms
            await store.request("promise.get", {"id": "plain"})
            said()
        case Connect(engine):
            await store.connect(engine, "g").start()
            await store.request("engine.list", {})
            said()
        case _:
            await _requests(store, [step for step in group if isinstance(step, Request)], said)


async def _requests(store: Store, group: list[Request], said: Callable[[], object]) -> None:
    posted = [(step, store.post(step.kind, step.data)) for step in group]
    for step, future in posted:
        try:
            status = (await future).status
        except StoreRefused as refused:
            status = refused.status
        assert status == step.status, f"{step} was answered {status}"
        said()


def _grouped(steps: list[Step], burst: int) -> list[list[Step]]:
    groups: list[list[Step]] = []
    for requests, group in itertools.groupby(steps, lambda step: isinstance(step, Request)):
        groups += [list(part) for part in itertools.batched(group, burst if requests else 1)]
    return groups


_IDLE: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads that other tests left behind: they wait for work that never comes, and hold nothing."""


def killed(main: Callable[[], None]) -> bool:
    """Run it in a forked process; whether that was killed. What it raises is shown, and is a failure here."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread not in _IDLE:
            thread.join(timeout=5)  # of a store that was closed just now: forking beside threads may deadlock
            if thread.is_alive():
                _IDLE.add(thread)
    child = os.fork()
    if child == 0:
        try:
            main()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the child ended with {status}"
    return status != 0


def kill_at(wanted: int) -> Fault:
    """A hook that kills the process at the point of that number."""
    points = itertools.count()

    def fault(_when: str, _sql: str) -> None:
        if next(points) == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


class Campaign:
    """The script's states, and kills compared with them."""

    def __init__(self, folder: Path, *, burst: int) -> None:
        self._folder = folder
        self._burst = burst
        self._template = folder / "template"
        self._template.mkdir(parents=True)
        assert killed(lambda: asyncio.run(_leave_behind(self._template / "s.db")))
        self.states: list[Contents] = [contents(self._template / "s.db")]
        """After nothing, after the burial of the dead, then after each step."""
        self.passed: list[str] = []
        path = self._copy() / "s.db"
        asyncio.run(run(path, the_day(), burst=1, fault=None, said=lambda: self.states.append(contents(path))))
        asyncio.run(run(self._copy() / "s.db", the_day(), burst=burst, fault=self._pass, said=lambda: None))

    def _pass(self, when: str, sql: str) -> None:
        self.passed.append(f"{when} {sql}")

    def _copy(self) -> Path:
        place = self._folder / "run"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._template, place, ignore=shutil.ignore_patterns("*-shm", "peers"))
        return place

    def kill(self, point: int) -> bool:
        """Kill at one point and look at what is left; False when the run ended before."""
        place = self._copy()
        path, told = place / "s.db", place / "acknowledged"
        log = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        fault, steps = kill_at(point), the_day()
        # A byte for each acknowledgement, with one write: what a client was told is told, whatever comes next.
        was_killed = killed(
            lambda: asyncio.run(run(path, steps, burst=self._burst, fault=fault, said=lambda: os.write(log, b".")))
        )
        os.close(log)
        acknowledged = told.stat().st_size
        check(path)
        found = contents(path)
        possible = self.states[acknowledged : acknowledged + self._burst + 1]
        assert found in possible, self._difference(point, acknowledged, found)
        asyncio.run(_open_again(path))
        check(path)
        return was_killed

    def _difference(self, point: int, acknowledged: int, found: Contents) -> str:
        wanted = self.states[acknowledged]
        rows = {
            table: (
                sorted(set(wanted[table]) - set(found[table]), key=repr),
                sorted(set(found[table]) - set(wanted[table]), key=repr),
            )
            for table in wanted
            if wanted[table] != found[table]
        }
        elsewhere = [n for n, state in enumerate(self.states) if state == found]
        at = self.passed[point] if point < len(self.passed) else "the end"
        return (
            f"killed {at!r} after {acknowledged} acknowledgements: states {elsewhere}; missing and extra rows: {rows}"
        )


async def _leave_behind(path: Path) -> None:
    store = await Store.open(path, durability="process", clock=Clock())
    for step in before_the_day():
        assert isinstance(step, Request)
        await store.request(step.kind, step.data)
    store._connection.execute(MAKE_DOOMED)
    os.kill(os.getpid(), signal.SIGKILL)


async def _open_again(path: Path) -> None:
    store = await Burials().open(path, Clock())
    await store.request("promise.search", {})
    await store.close()


def creation(folder: Path, every: int) -> int:
    """Kill at every n-th point of making a store; whatever is left opens. Returns the number of kills."""
    for point in itertools.count(step=every):
        place = folder / f"made-{point}"
        place.mkdir()
        if not killed(partial(_make, place / "s.db", kill_at(point))):
            return point // every
        asyncio.run(_open_again(place / "s.db"))
        check(place / "s.db")
    raise AssertionError


def upgrade(folder: Path, every: int) -> int:
    """Kill at every n-th point of bringing a file of version 1 up to date: it is whole in one version or the other."""
    old, newest = folder / "old.db", len(migrations())
    _make_old(old)
    for point in itertools.count(step=every):
        place = folder / f"upgraded-{point}"
        place.mkdir()
        path = place / "s.db"
        shutil.copy(old, path)
        was_killed = killed(partial(_make, path, kill_at(point)))
        with closing(sqlite3.connect(path)) as file:
            version = file.execute("PRAGMA user_version").fetchone()[0]
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        assert (version, "discards" in tables, "audit" in tables) in ((1, False, False), (newest, True, True))
        if not was_killed:
            assert version == newest
            return point // every
        asyncio.run(_open_again(path))
        check(path)
        assert contents(path)["promises"] == contents(old, tables=("promises",))["promises"]
    raise AssertionError


def _make_old(path: Path) -> None:
    """A file as the first version made it, with a promise."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript(migrations()[0])
        file.execute(f"PRAGMA application_id={APPLICATION_ID}")
        file.execute("PRAGMA user_version=1")
        file.execute(
            "INSERT INTO promises (id, tags, timeout_at, created_at, external) VALUES ('old', '{}', ?, 1, 1)",
            (TIME_MAX_MS,),
        )
        file.commit()


def _make(path: Path, fault: Fault) -> None:
    async def make() -> None:
        await (await Store.open(path, fault=fault)).close()

    asyncio.run(make())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="every n-th point only")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        print(f"creation: killed at {creation(Path(folder), given.every)} points", flush=True)
        print(f"upgrade: killed at {upgrade(Path(folder), given.every)} points", flush=True)
        for burst in (1, BURST):
            campaign = Campaign(Path(folder) / f"{burst}", burst=burst)
            points = range(given.first, len(campaign.passed), given.every)
            kills = sum(campaign.kill(point) for point in points)
            print(f"burst {burst}: {len(campaign.passed)} points, killed at {kills}", flush=True)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
