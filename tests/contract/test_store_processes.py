"""Several processes on one file, and the death of any of them (specs/store.md W1, S7, S8): real ones, real SIGKILL."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from durable.core.errors import StoreRefused
from durable.store import writer
from tests.warm_python import PYTHON

from .opened import T0, Clock, engine, opened, place_of, promise, root, settle, task

PROGRAM = """
import asyncio, json, sys
from tests.contract.opened import *

async def main():
    async with opened(sys.argv[1], durability="power") as store:
        inbox = await engine(store, sys.argv[2])
        say("ready")
        for line in iter(sys.stdin.readline, ""):
            await globals()[line.strip()](store, inbox)

def say(what):
    print(what, flush=True)

async def settle_p(store, inbox):
    await store.request("promise.settle", settle("p"))
    say("settled")

async def take(store, inbox):
    say(await inbox.next())
    await acquire(store, "a", pid=sys.argv[2], ttl=3_600_000)
    await store.request("session.open", {"session": "desk", "engine": sys.argv[2], "options": {}})
    say("taken")

async def count(store, inbox):
    got = []
    while True:
        try:
            got.append(await asyncio.wait_for(inbox.next(), 1))
        except TimeoutError:
            return say(json.dumps(got))

async def write_on(store, inbox):
    for i in range(10**9):
        names = [f"{i}-{k}" for k in range(8)]
        await asyncio.gather(*(store.request("promise.create", root(name)) for name in names))
        posted = [store.post("promise.settle", settle(f"exec:{name}")) for name in names]
        for name, each in zip(names, posted):
            await each
            say(name)

asyncio.run(main())
"""

TICKER = """
import asyncio, sys
from tests.contract.opened import *

async def main():
    clock, fired = Clock(int(sys.argv[2])), []
    async with opened(sys.argv[1], clock=clock) as store:
        store.watch(lambda change: None)
        real = store._committed
        def committed(jobs, effects, foreign):
            fired.extend(each for each in effects.settled if each.isdecimal())
            fired.extend(each for each in effects.ready if each.isdecimal())
            real(jobs, effects, foreign)
        store._committed = committed
        print("ready", flush=True)
        for line in iter(sys.stdin.readline, ""):
            clock.now = int(line)
            await store.request("schedule.get", {"id": "tick"})
            print(len(fired), flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def other(path: Path | str, name: str = "far", program: str = PROGRAM) -> AsyncIterator[Process]:
    place = path if isinstance(path, str) else place_of(path)
    process = await asyncio.create_subprocess_exec(
        PYTHON, "-c", program, place, name, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert await heard(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


def tell(process: Process, what: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n".encode())


async def test_a_commit_in_one_process_wakes_a_waiter_in_another(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store, other(tmp_path / "s.db") as far:
        await store.request("promise.create", promise("p"))
        waiting = asyncio.create_task(store.settled("p"))
        tell(far, "settle_p")
        row = await asyncio.wait_for(waiting, 10)
        assert (row.state, row.value) == ("resolved", 2)


@pytest.mark.file_only("another program writes the file behind our back")
async def test_a_waiter_is_woken_even_when_datagrams_are_lost(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", promise("p"))
        waiting = asyncio.create_task(store.settled("p"))
        await store.request("promise.get", {"id": "p"})
        with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as mute:
            mute.execute("UPDATE promises SET state='resolved', settled_at=1 WHERE id='p'")
        mute.close()
        assert (await asyncio.wait_for(waiting, 10)).state == "resolved"


async def test_work_for_another_process_reaches_it_and_what_it_held_comes_back_when_it_is_killed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "s.db") as store:
        async with other(tmp_path / "s.db") as far:
            tell(far, "take")
            await store.request("promise.create", root("a", target="poll://any@g/far"))
            assert [await heard(far), await heard(far)] == ["exec:a", "taken"]
            await store.reads.engines()
            assert store.engine_alive("far")
            near = await engine(store, "near")
            assert await near.quiet()
            far.send_signal(signal.SIGKILL)
            # Its lease had an hour to go: only its death can have released the task.
            assert await near.next() == "exec:a"
        assert (await task(store, "a"))["version"] == 1
        await store.reads.engines()
        assert not store.engine_alive("far")
        assert (await store.request("session.take", {"session": "desk", "engine": "near"})).data["epoch"] == 2


async def test_a_listener_of_one_process_hears_of_a_settlement_in_another(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store, other(tmp_path / "s.db") as far:
        near = await engine(store, "near")
        await store.request("promise.create", promise("p", resonate_external="true"))
        listener = {"awaited": "p", "address": near.connection.unicast()}
        await store.request("promise.register_listener", listener)
        tell(far, "settle_p")
        assert await near.next() == "p"


async def test_two_processes_are_offered_each_task_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store, other(tmp_path / "s.db") as far:
        near = await engine(store, "near")
        tell(far, "count")
        wanted = [f"exec:{i}" for i in range(100)]
        for i in range(100):
            await store.request("promise.create", root(str(i), target=f"poll://any@g/{'near' if i % 2 else 'far'}"))
        theirs = json.loads(await heard(far))
        ours = []
        while not near.messages.empty():
            ours.append(await near.next())
        assert sorted(ours + theirs) == sorted(wanted)


async def test_what_was_acknowledged_before_a_kill_is_there_whole(tmp_path: Path) -> None:
    async with other(tmp_path / "s.db") as far:
        tell(far, "write_on")
        acknowledged = [await heard(far) for _ in range(100)]
        far.kill()
        assert far.stdout is not None
        rest = (await far.stdout.read()).decode().split("\n")
        acknowledged += rest[:-1]  # the last line may be cut
    async with opened(tmp_path / "s.db", debug=True) as store:
        snap = (await store.request("debug.snap", {})).data
        assert isinstance(snap["promises"], list)
        assert isinstance(snap["tasks"], list)
        states = {each["id"]: each["state"] for each in snap["promises"]}
        assert all(states[f"exec:{name}"] == "resolved" for name in acknowledged)
        tasks = {each["id"]: each["state"] for each in snap["tasks"]}
        assert {name: each == "resolved" for name, each in states.items()} == {
            name: each == "fulfilled" for name, each in tasks.items()
        }


async def test_an_engine_id_is_held_by_one_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store, other(tmp_path / "s.db"):
        with pytest.raises(StoreRefused, match="alive in another process"):
            await engine(store, "far")
        listed: Any = (await store.request("engine.list", {})).data["engines"]
        assert [(each["engine"], each["alive"]) for each in listed] == [("far", True)]


async def test_a_tick_fires_once_whichever_process_sees_it_and_whenever_one_of_them_is_killed(tmp_path: Path) -> None:
    path, minute, ticks = tmp_path / "s.db", 60_000, 20
    start = T0 - T0 % minute
    tags = {"resonate:target": "poll://any@g", "durable:missed": "all"}
    made = {"id": "tick", "cron": "* * * * *", "promiseId": "{{.timestamp}}", "promiseTimeout": 10**9}
    clock = Clock(start)
    async with opened(path, clock=clock) as store:
        await store.request("schedule.create", {**made, "promiseTags": tags})
    async with other(path, str(start), TICKER) as one:
        async with other(path, str(start), TICKER) as two:
            counts = [0, 0]
            for n in range(1, ticks + 1):
                for process in (one, two):
                    tell(process, str(start + n * minute))
                counts = [int(await heard(process)) for process in (one, two)]
            assert sum(counts) == ticks
            tell(two, str(start + (ticks + 1) * minute))
            two.send_signal(signal.SIGKILL)
        tell(one, str(start + (ticks + 3) * minute))
        await heard(one)
    async with opened(path, clock=clock) as store:
        promises: Any = (await store.request("promise.search", {"limit": 1000})).data["promises"]
        assert [int(each["id"]) for each in promises] == [start + n * minute for n in range(1, ticks + 4)]


async def test_a_look_that_rests_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_LOOK_S", -1.0)  # every look counts as long
    monkeypatch.setattr(writer, "_LOOK_REST", 500)
    async with opened(tmp_path / "s.db") as one, opened(tmp_path / "s.db") as other:
        names = [f"p{n}" for n in range(5)]
        for name in names:
            await one.request("promise.create", promise(name, resonate_external="true"))
        waiting = [asyncio.create_task(other.settled(name)) for name in names]
        await asyncio.sleep(0)
        for name in names:
            await one.request("promise.settle", settle(name))
        assert [row.value for row in await asyncio.wait_for(asyncio.gather(*waiting), 20)] == [2] * 5
