"""More sessions than workers: one without work gives its place to whoever waits (specs/pool.md, W8-W11)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import durable
from bridge.host.proc_vitals import cpu_seconds
from durable.core.events import Event, PoolHeld, WorkerEnded, WorkerStarted
from tests.waiting import first_prompt, in_state


class Seen:
    """What the engine said, and waiting for some of it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    async def first[T: Event](self, kind: type[T], accepts: Callable[[T], bool] = lambda _: True) -> T:
        async with asyncio.timeout(30):
            while True:
                self._more.clear()
                found = [event for event in self.events if isinstance(event, kind)]
                for event in found:
                    if accepts(event):
                        return event
                await self._more.wait()

    def sessions(self, kind: type[WorkerStarted | WorkerEnded]) -> list[str]:
        return [event.session for event in self.events if isinstance(event, kind)]


@pytest.fixture
def seen() -> Seen:
    return Seen()


def opened(path: Path, seen: Seen, places: int, **options: Any) -> durable.Engine:
    pool = durable.Pool(max=places)
    return durable.open(path / "work.db", durability="process", pool=pool, observer=seen, parked=3600, **options)


def in_queue(engine: durable.Engine, count: int) -> asyncio.Event:
    """Set when so many wait for a place at a time."""
    found, told = asyncio.Event(), engine._pool.on_waiting

    def on_waiting() -> None:
        if engine.workers.waiting >= count:
            found.set()
        told()

    engine._pool.on_waiting = on_waiting
    return found


async def test_five_sessions_share_two_places(tmp_path: Path, seen: Seen) -> None:
    names = list("abcde")
    async with opened(tmp_path, seen, 2) as engine:
        sessions = [await engine.session(name) for name in names]
        for n in range(3):
            cells = [session.execute(f"total = {f'total + {n}' if n else 0}; total") for session in sessions]
            assert [result.value for result in await asyncio.gather(*cells)] == [n * (n + 1) // 2] * 5
        assert engine.workers.live <= 2
        assert not [event for event in seen.events if isinstance(event, PoolHeld)]


async def test_a_worker_that_was_begun_before_the_store_was_open_is_the_first_sessions(
    tmp_path: Path, seen: Seen
) -> None:
    engine = opened(tmp_path, seen, 2)
    engine.start_worker()
    assert engine._pool._filling is not None
    await engine._pool._filling
    assert engine.workers.idle == 1
    async with engine:
        assert (await (await engine.session("first")).execute("1 + 1")).value == 2
        assert (engine.workers.hits, engine.workers.idle, engine.workers.live) == (1, 0, 1)
        assert (await (await engine.session("second")).execute("1 + 1")).value == 2
        assert (engine.workers.hits, engine.workers.idle, engine.workers.live) == (1, 0, 2)


async def test_a_worker_that_was_begun_ends_with_an_engine_that_was_never_open(tmp_path: Path, seen: Seen) -> None:
    engine = opened(tmp_path, seen, 2)
    engine.start_worker()
    assert engine._pool._filling is not None
    await engine._pool._filling
    assert engine.workers.idle == 1
    await engine.close()
    assert (engine.workers.idle, engine.workers.live) == (0, 0)
    with pytest.raises(durable.EngineClosed):
        await engine.open()


async def test_the_one_without_work_for_longest_gives_its_place(tmp_path: Path, seen: Seen) -> None:
    async with opened(tmp_path, seen, 2) as engine:
        first, second, third = [await engine.session(name) for name in ("first", "second", "third")]
        await first.execute("x = 1")
        await second.execute("x = 2")
        await first.execute("x += 1")
        assert (await third.execute("3")).value == 3
        assert seen.sessions(WorkerEnded) == ["second"]
        assert (await second.execute("x")).value == 2  # restored
        assert seen.sessions(WorkerEnded) == ["second", "first"]


async def test_a_session_with_a_queue_takes_turns(tmp_path: Path, seen: Seen) -> None:
    async with opened(tmp_path, seen, 1) as engine:
        busy, *others = [await engine.session(name) for name in ("busy", "one", "two")]
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        cells = [await busy.submit(f"x = open({str(gate)!r}).read()")]
        await in_state(engine, cells[0], "running")
        cells += [await busy.submit(f"x += {n!r}") for n in "23"]
        waited = in_queue(engine, 2)
        waiting = [await session.submit("1") for session in others]
        await waited.wait()
        await asyncio.to_thread(gate.write_text, "1")
        for cell in (*cells, *waiting):
            await cell.result(timeout=30)
        assert seen.sessions(WorkerStarted) == ["busy", "one", "two", "busy"]
        assert (await busy.execute("x")).value == "123"


async def test_code_that_waits_for_a_person_gives_its_place_at_once(tmp_path: Path, seen: Seen) -> None:
    async with opened(tmp_path, seen, 1) as engine:
        asks, other = await engine.session("asks"), await engine.session("other")
        await asks.execute("kept = [1]")
        asked = await asks.submit("kept.append(ask('Go on?')); kept")
        prompt = await first_prompt(engine)
        assert (await other.execute("'here'")).value == "here"
        assert await asked.state() == "waiting"
        await engine.answer(prompt.id, "yes")
        assert (await asked.result(timeout=30))["value"] == [1, "yes"]
        assert seen.sessions(WorkerStarted) == ["asks", "other", "asks"]


KEPT = {
    "a generator": ("numbers = (n for n in range(3)); next(numbers)", "it holds what no checkpoint can"),
    "a task": ("import asyncio\nasyncio.create_task(asyncio.sleep(3600)) and None", "background work is alive in it"),
    "a thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
        "background work is alive in it",
    ),
    "a process": ("import subprocess\nsubprocess.Popen(['sleep', '3600']) and None", "background work is alive in it"),
}


@pytest.mark.parametrize("what", KEPT)
async def test_what_a_restore_would_not_bring_back_keeps_its_place(tmp_path: Path, seen: Seen, what: str) -> None:
    code, why = KEPT[what]
    async with opened(tmp_path, seen, 1) as engine:
        keeps, other = await engine.session("keeps"), await engine.session("other")
        await keeps.execute(code)
        waits = asyncio.create_task(other.execute("'here'"))
        held = await seen.first(PoolHeld)
        assert held.waiting == 1
        assert [holder.startswith(f"keeps: {why}") for holder in held.holders] == [True]
        assert seen.sessions(WorkerEnded) == []
        assert not waits.done()
        await keeps.close()
        assert (await waits).value == "here"


async def test_unjournaled_code_keeps_its_place_until_it_is_saved(tmp_path: Path, seen: Seen) -> None:
    async with opened(tmp_path, seen, 1) as engine:
        keeps, other = await engine.session("keeps"), await engine.session("other")
        await keeps.execute("x = 1", journal=False)
        waits = asyncio.create_task(other.execute("'here'"))
        assert "unjournaled" in (await seen.first(PoolHeld)).holders[0]
        await keeps.checkpoint()
        assert (await waits).value == "here"
        assert (await keeps.execute("x")).value == 1


async def test_background_work_that_ends_gives_the_place(tmp_path: Path, seen: Seen) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    reads = f"os.read(os.open({str(gate)!r}, os.O_RDWR), 1)"
    code = f"import asyncio, os\nasyncio.create_task(asyncio.to_thread(lambda: {reads})) and None"
    async with opened(tmp_path, seen, 1) as engine:
        keeps, other = await engine.session("keeps"), await engine.session("other")
        await keeps.execute(code)
        waits = asyncio.create_task(other.execute("'here'"))
        await seen.first(PoolHeld)
        await asyncio.to_thread(gate.write_text, "g")
        assert (await waits).value == "here"


async def test_a_stopped_worker_keeps_its_place_and_others_give_theirs(tmp_path: Path, seen: Seen) -> None:
    async with opened(tmp_path, seen, 2) as engine:
        stopped, idle, other = [await engine.session(name) for name in ("stopped", "idle", "other")]
        await stopped.execute("x = 1")
        await idle.execute("x = 2")
        pid = next(event.pid for event in seen.events if isinstance(event, WorkerStarted))
        os.kill(pid, 19)
        assert (await other.execute("3")).value == 3
        assert seen.sessions(WorkerEnded) == ["idle"]
        assert cpu_seconds(pid) is not None
