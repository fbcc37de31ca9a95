"""Leases that ran out: who holds the engine's lock decides, what is unchanged goes on (specs/store.md, Leases)."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from durable.core.clock import now_ms
from durable.core.events import Event, PeerDead, ResultDiscarded
from durable.core.limits import DISCARDS_KEPT, LEASE_ASK_MS, RETRY_MAX_MS
from durable.functions.resonate.lease_keeper import HeldTasks
from durable.store.sqlite.store import Store

from .opened import T0, Clock, acquire, engine, opened, promise, root, settle, state, status, task
from .test_store_processes import heard, other, tell

DAY = 86_400_000
TTL = 60_000


def fence(name: str, version: int = 1, *, step: str = "1", kind: str = "promise.settle") -> dict[str, Any]:
    """A fenced write of the execution `name`: the settlement, or creation, of one of its steps."""
    step_id = f"exec:{name}.{step}"
    data = settle(step_id) if kind == "promise.settle" else promise(step_id)
    return {"id": f"exec:{name}", "version": version, "action": {"kind": kind, "data": data}}


def fulfil(name: str, version: int = 1) -> dict[str, Any]:
    action = {"kind": "promise.settle", "data": settle(f"exec:{name}")}
    return {"id": f"exec:{name}", "version": version, "action": action}


async def turned(store: Store) -> None:
    """Return when the loop has had turns enough to have taken in all that was answered to it."""
    for _ in range(100):
        await asyncio.sleep(0)
    await store.request("engine.list", {})


async def _running(store: Store, clock: Clock, *, pid: str = "e1", name: str = "a") -> None:
    """An execution that was acquired, and whose lease has run out by now."""
    await store.request("promise.create", root(name))
    await acquire(store, name, pid=pid, ttl=TTL)
    clock.now += TTL


@pytest.mark.parametrize("jump", [0, DAY, 10 * DAY])
async def test_what_an_engine_runs_stays_its_own(tmp_path: Path, jump: int) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        held = HeldTasks()
        store.keep_leases("e1", held)
        inbox = await engine(store)
        await store.request("promise.create", root("a"))
        assert await inbox.next() == "exec:a"
        await acquire(store, "a", ttl=TTL)
        held.start("exec:a", 1)
        for _ in range(3):
            clock.now += TTL + jump
            assert (await task(store, "a"))["state"] == "acquired"
        assert await inbox.quiet()
        await store.request("task.fulfill", fulfil("a"))
        row = await store.reads.get_execution("a")
        assert row is not None
        assert (row.starts, row.attempts, row.state) == (1, 0, "completed")


async def test_what_an_engine_has_let_go_of_is_offered_again(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        held = HeldTasks()
        store.keep_leases("e1", held)
        inbox = await engine(store)
        await store.request("promise.create", root("a"))
        assert await inbox.next() == "exec:a"
        await acquire(store, "a", ttl=TTL)
        held.start("exec:a", 1)
        clock.now += TTL
        assert (await task(store, "a"))["state"] == "acquired"
        held.stop("exec:a")  # its pass is over, and nothing was released
        clock.now += TTL
        assert (await task(store, "a"))["state"] == "acquired", "the engine is asked first"
        await turned(store)
        clock.now += LEASE_ASK_MS
        assert (await task(store, "a"))["state"] == "pending"
        clock.now += RETRY_MAX_MS
        assert await inbox.next() == "exec:a"


@pytest.mark.file_only("a trace of the file's connection shows when the writer looks")
async def test_a_task_that_the_loop_could_not_take_in_yet_is_not_given_away(tmp_path: Path) -> None:
    """It was acquired, and the loop stood still before it heard of that."""
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        held = HeldTasks()
        store.keep_leases("e1", held)
        await engine(store)
        await store.request("promise.create", root("a"))
        acquired = asyncio.ensure_future(acquire(store, "a", ttl=TTL))
        acquired.add_done_callback(lambda _: held.start("exec:a", 1))
        await asyncio.sleep(0)  # posted
        done = threading.Event()
        watched = store._connection  # the writer's own, which commits on its thread
        watched.set_trace_callback(lambda sql: done.set() if "lease_at=" in sql and "WHERE id=" in sql else None)
        for _ in range(3):  # the loop does nothing but this
            clock.now += TTL
            done.clear()
            store._writer.wake()
            assert done.wait(10), "the writer looks at the lease"
        watched.set_trace_callback(None)
        await acquired
        await turned(store)
        assert (await task(store, "a")) | {"ttl": TTL} == {
            "id": "exec:a", "state": "acquired", "version": 1, "resumes": 0, "ttl": TTL, "pid": "e1",
        }  # fmt: skip


@pytest.mark.file_only("a stopped process keeps its lock on a file, and loses its lease in a database")
async def test_a_stopped_engine_of_another_process_keeps_its_tasks_and_a_dead_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    clock = Clock(now_ms())  # the other process has the real one
    dead = asyncio.Event()
    async with (
        opened(path, clock=clock, observer=lambda event: dead.set() if isinstance(event, PeerDead) else None) as store,
        other(path) as far,
    ):
        tell(far, "take")
        await store.request("promise.create", root("a"))
        assert await heard(far) == "exec:a"
        assert await heard(far) == "taken"
        inbox = await engine(store, "near")
        far.send_signal(signal.SIGSTOP)
        for _ in range(3):
            clock.now += DAY
            assert (await task(store, "a"))["state"] == "acquired"
        assert await inbox.quiet()
        far.kill()
        await asyncio.wait_for(dead.wait(), 10)
        clock.now += RETRY_MAX_MS
        assert await inbox.next() == "exec:a"


@pytest.mark.parametrize("how", ["create", "settle", "fulfill", "suspend", "heartbeat", "release"])
async def test_a_lapsed_lease_that_nobody_took_goes_on(tmp_path: Path, how: str) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a", pid="elsewhere", ttl=TTL)
        await store.request("task.fence", fence("a", kind="promise.create"))
        await store.request("promise.create", promise("exec:p", resonate_external="true"))
        clock.now += TTL
        assert (await task(store, "a"))["state"] == "pending"
        action = {"kind": "promise.register_callback", "data": {"awaited": "exec:p", "awaiter": "exec:a"}}
        kind, data = {
            "create": ("task.fence", fence("a", step="2", kind="promise.create")),
            "settle": ("task.fence", fence("a")),
            "fulfill": ("task.fulfill", fulfil("a")),
            "suspend": ("task.suspend", {"id": "exec:a", "version": 1, "actions": [action]}),
            "heartbeat": ("task.heartbeat", {"pid": "elsewhere", "tasks": [{"id": "exec:a", "version": 1}]}),
            "release": ("task.release", {"id": "exec:a", "version": 1}),
        }[how]
        assert await status(store, kind, data) == 200
        found = await task(store, "a")
        expected = {"fulfill": "fulfilled", "suspend": "suspended", "release": "pending"}.get(how, "acquired")
        assert (found["state"], found["version"]) == (expected, 1)
        if expected == "acquired":
            assert (found["pid"], found["ttl"]) == ("elsewhere", TTL)
            row = await store.reads.get_execution("a")
            assert row is not None
            assert row.attempts == 0, "nobody died"
            clock.now += TTL - 1
            assert (await task(store, "a"))["state"] == "acquired"


async def test_a_heartbeat_of_somebody_else_does_not_renew_what_lapsed(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await _running(store, clock, pid="elsewhere")
        for pid, version in (("other", 1), ("elsewhere", 0), ("elsewhere", 2)):
            beat = {"pid": pid, "tasks": [{"id": "exec:a", "version": version}]}
            await store.request("task.heartbeat", beat)
            assert (await task(store, "a"))["state"] == "pending"


@pytest.mark.parametrize("end", ["release", "halt", "cancel"])
async def test_what_was_given_back_or_stopped_is_not_taken_up_again(tmp_path: Path, end: str) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await _running(store, clock, pid="elsewhere")
        if end == "release":
            await store.request("task.release", {"id": "exec:a", "version": 1})
        elif end == "halt":
            await store.request("task.halt", {"id": "exec:a"})
            await store.request("task.continue", {"id": "exec:a"})
        else:
            await store.request("promise.settle", settle("exec:a", "rejected_canceled"))
        assert await status(store, "task.fence", fence("a", kind="promise.create")) == 409
        assert await status(store, "task.fulfill", fulfil("a")) == 409


async def test_a_result_of_a_lease_that_another_has_is_thrown_away_told_and_noted(tmp_path: Path) -> None:
    clock = Clock()
    events: list[Event] = []
    async with opened(tmp_path / "s.db", clock=clock, observer=events.append) as store:
        await _running(store, clock, pid="elsewhere")
        await store.request("task.fence", fence("a", kind="promise.create"))
        clock.now += TTL
        await acquire(store, "a", 1, pid="other")
        assert await status(store, "task.fence", fence("a", kind="promise.create", step="2")) == 409  # no result
        assert await status(store, "task.fence", fence("a")) == 409
        assert await status(store, "task.fulfill", fulfil("a")) == 409
        await store.request("engine.list", {})
        rows = await store.reads.discards("a")
        reason = "task 'exec:a' is acquired in version 2, not acquired in version 1"
        assert [(row.step, row.version, row.reason) for row in rows] == [("a", 1, reason), ("a.1", 1, reason)]
        told = [event for event in events if isinstance(event, ResultDiscarded)]
        assert told == [ResultDiscarded("a", "exec:a.1", reason), ResultDiscarded("a", "exec:a", reason)]
        assert await state(store, "exec:a") == "pending"


async def test_only_the_newest_results_thrown_away_are_noted(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock, observer=lambda _: None) as store:
        await _running(store, clock, pid="elsewhere")
        await acquire(store, "a", 1, pid="other")
        for n in range(DISCARDS_KEPT + 5):
            clock.now += 1
            assert await status(store, "task.fence", fence("a", step=str(n))) == 409
            await store.request("engine.list", {})  # behind the note of it, which has a time of its own so
        rows = await store.reads.discards("a")
        assert [row.step for row in rows] == [f"a.{n}" for n in range(5, DISCARDS_KEPT + 5)]


async def test_time_follows_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """Delays go on from there, leases too; a promise's deadline is a time of day, and stays."""
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        for name in ("a", "b"):
            await store.request("promise.create", root(name))
            await inbox.next()
            await acquire(store, name, pid="elsewhere", ttl=TTL)
        await store.request("task.release", {"id": "exec:a", "version": 1})
        clock.now -= DAY
        assert await inbox.next() == "exec:a"
        clock.now += TTL
        assert (await task(store, "b"))["state"] == "pending"


@pytest.mark.file_only("a database's clock is the server's")
async def test_a_store_opened_after_the_clock_was_set_back_does_not_wait_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", clock=Clock()) as store:
        for name in ("a", "b"):
            await store.request("promise.create", root(name))
            await acquire(store, name, pid="elsewhere", ttl=TTL)
        await store.request("task.release", {"id": "exec:a", "version": 1})
    clock = Clock(T0 - DAY)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        assert await inbox.next() == "exec:a"
        clock.now += TTL
        assert (await task(store, "b"))["state"] == "pending"


async def test_a_delayed_task_waits_for_its_time_whatever_the_clock_did(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await store.request("promise.create", root("a", resonate_delay=str(T0 + 1_000)))
        clock.now -= DAY
        assert await inbox.quiet()
        clock.now += DAY + 1_000
        assert await inbox.next() == "exec:a"
