"""Attempts, leases, fences and dispatch of the store (specs/store.md S4-S7); statuses are the oracle's business."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path

import pytest

from durable.core.errors import StoreRefused
from durable.core.limits import ATTEMPTS_DIED_MAX, DISPATCH_RETRY_MS, RETRY_FIRST_MS
from durable.store.protocol.requests import Answer, Nothing
from durable.store.writer import Job

from .opened import FUNCTION, T0, Clock, acquire, engine, opened, promise, root, settle, state, status, task


async def test_a_lease_that_ends_releases_the_task_and_fences_its_late_owner(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a", ttl=1_000)
        await store.request("task.heartbeat", {"pid": "e1", "tasks": [{"id": "exec:a", "version": 1}]})
        clock.now += 999
        assert (await task(store, "a"))["state"] == "acquired"
        clock.now += 1
        assert (await task(store, "a"))["state"] == "pending"
        await acquire(store, "a", 1, pid="e2")
        action = {"kind": "promise.settle", "data": settle("exec:a")}
        assert await status(store, "task.fulfill", {"id": "exec:a", "version": 1, "action": action}) == 409
        assert await status(store, "task.fulfill", {"id": "exec:a", "version": 2, "action": action}) == 200


async def test_attempts_without_progress_wait_longer_each_time_and_end_as_lost(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await store.request("promise.create", root("a"))
        for version in range(3):
            assert await inbox.next() == "exec:a"
            await acquire(store, "a", version)
            failed = {"id": "exec:a", "version": version + 1, "error": f"boom {version}", "cause": "failed"}
            await store.request("task.fail", failed)
            clock.now += (RETRY_FIRST_MS << version) - 1
            assert await inbox.quiet()
            clock.now += 1
        row = await store.settled("exec:a")
        assert row.state == "rejected"
        told = json.loads(row.value["message"])
        assert (told["exception_type"], told["attempts"], told["last_error"]) == ("durable.ExecutionLost", 3, "boom 2")
        listed = await store.reads.get_execution("a")
        assert listed is not None
        assert (listed.state, listed.last_error) == ("lost", "boom 2")


async def test_progress_forgives_earlier_attempts(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("a"))
        for version in range(8):
            clock.now += 120_000
            await acquire(store, "a", version)
            if version % 2:
                step = promise(f"exec:a.{version}", resonate_scope="local")
                action = {"kind": "promise.create", "data": step}
                await store.request("task.fence", {"id": "exec:a", "version": version + 1, "action": action})
            await store.request("task.release", {"id": "exec:a", "version": version + 1})
        assert await state(store, "exec:a") == "pending"


async def test_a_fence_that_finds_its_promise_is_no_progress(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("a"))
        await store.request("promise.create", promise("exec:a.1", resonate_scope="local"))
        for version in range(3):
            clock.now += 120_000
            await acquire(store, "a", version)
            action = {"kind": "promise.create", "data": promise("exec:a.1", resonate_scope="local")}
            await store.request("task.fence", {"id": "exec:a", "version": version + 1, "action": action})
            await store.request("task.release", {"id": "exec:a", "version": version + 1})
        assert await state(store, "exec:a") == "rejected"


@pytest.mark.parametrize("ended", ["task.halt", "task.fulfill", "task.fence"])
async def test_a_lease_that_ends_between_two_writes_of_one_transaction_fences_the_second(
    tmp_path: Path, ended: str
) -> None:
    """By another request, or by what follows from the first: its holder settles the execution that it is under."""
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("a"))
        await store.request("promise.create", root("a.1"))
        await acquire(store, "a.1")
        held = {"id": "exec:a.1", "version": 1}
        by_settling = {"kind": "promise.settle", "data": settle("exec:a.1" if ended == "task.fulfill" else "exec:a")}
        ends = {"id": "exec:a.1"} if ended == "task.halt" else {**held, "action": by_settling}

        def made(n: int) -> asyncio.Future[Answer]:
            step = promise(f"exec:a.1.{n}", resonate_scope="local")
            return store.post("task.fence", {**held, "action": {"kind": "promise.create", "data": step}})

        together = threading.Event()
        store._submit(Job(lambda _tx, _nothing: Answer(200, {"after": together.wait(10)}), Nothing(), True, ""))
        first, end, second = made(1), store.post(ended, ends), made(2)
        together.set()
        assert (await first).status == (await end).status == 200
        with pytest.raises(StoreRefused) as refused:
            await second
        assert refused.value.status == 409
        assert await status(store, "promise.get", {"id": "exec:a.1.2"}) == 404


async def test_deaths_of_engines_count_apart_from_failures(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("a"))
        for version in range(ATTEMPTS_DIED_MAX):
            assert await state(store, "exec:a") == "pending"
            clock.now += 120_000
            await acquire(store, "a", version, ttl=1)
            clock.now += 1
        assert await state(store, "exec:a") == "rejected"


async def test_a_task_goes_only_to_an_engine_that_serves_it_and_uses_no_attempt_until_then(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        other = await engine(store, "e1", ["other.py::f@1"])
        await store.request("promise.create", root("a"))
        assert await other.quiet()
        assert (await task(store, "a"))["version"] == 0
        await store.request("engine.serve", {"engine": "e1", "functions": [FUNCTION]})
        assert await other.next() == "exec:a"


async def test_what_was_due_before_an_engine_came_is_offered_when_it_does(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("a"))
        assert await (await engine(store)).next() == "exec:a"


async def test_two_engines_of_one_process_get_a_task_once_and_again_when_nobody_acquires(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        one, two = await engine(store, "e1"), await engine(store, "e2")
        await store.request("promise.create", root("a", target="poll://any@g/e2"))
        assert await two.next() == "exec:a"
        assert await one.quiet()
        assert await two.quiet()
        clock.now += DISPATCH_RETRY_MS
        assert await two.next() == "exec:a"


async def test_a_timer_is_never_dispatched_and_resolves_at_its_time(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        timer = promise("exec:a.1", target="poll://any@g", timeout_at=T0 + 500, resonate_timer="true")
        await store.request("promise.create", timer)
        assert await inbox.quiet()
        clock.now += 500
        row = await store.settled("exec:a.1")
        assert (row.state, row.settled_at) == ("resolved", T0 + 500)
        assert await inbox.quiet()


async def test_a_delay_holds_a_task_back(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await store.request("promise.create", root("a", resonate_delay=str(T0 + 1_000)))
        clock.now += 999
        assert await inbox.quiet()
        clock.now += 1
        assert await inbox.next() == "exec:a"


async def test_settling_resumes_the_awaiter_and_tells_the_listener_in_one_commit(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store)
        await store.request("promise.create", root("a"))
        assert await inbox.next() == "exec:a"
        await acquire(store, "a")
        await store.request("promise.create", promise("exec:a:input:1", resonate_external="true"))
        callback = {"kind": "promise.register_callback", "data": {"awaited": "exec:a:input:1", "awaiter": "exec:a"}}
        await store.request("task.suspend", {"id": "exec:a", "version": 1, "actions": [callback]})
        listener = {"awaited": "exec:a:input:1", "address": inbox.connection.unicast()}
        await store.request("promise.register_listener", listener)
        await store.request("promise.settle", settle("exec:a:input:1"))
        assert {await inbox.next(), await inbox.next()} == {"exec:a", "exec:a:input:1"}
        assert (await task(store, "a"))["version"] == 1


async def test_halted_is_not_dispatched_shows_its_note_and_continues_clean(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        inbox = await engine(store)
        await store.request("promise.create", root("a"))
        assert await inbox.next() == "exec:a"
        await store.request("task.halt", {"id": "exec:a", "note": "the code changed"})
        row = await store.reads.get_execution("a")
        assert row is not None
        assert (row.state, row.note) == ("interrupted", "the code changed")
        assert await inbox.quiet()
        await store.request("task.continue", {"id": "exec:a"})
        assert await inbox.next() == "exec:a"
        row = await store.reads.get_execution("a")
        assert row is not None
        assert row.note is None


async def test_leaving_gives_tasks_back_at_once_without_counting(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        one = await engine(store, "e1")
        await store.request("promise.create", root("a"))
        assert await one.next() == "exec:a"
        await acquire(store, "a", pid="e1")
        two = await engine(store, "e2")
        await one.connection.stop()
        await store.request("engine.leave", {"engine": "e1"})
        assert await two.next() == "exec:a"
        row = await store.reads.get_execution("a")
        assert row is not None
        assert row.attempts == 0
        assert not store.engine_alive("e1")


async def test_a_value_over_the_limit_is_refused_and_the_limit_named(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        data = base64.b64encode(b"x" * (13 * 2**20)).decode()
        with pytest.raises(StoreRefused, match="VALUE_BYTES_MAX") as refused:
            await store.request("promise.create", {**root("a"), "param": {"data": data}})
        assert refused.value.status == 400
        assert await status(store, "promise.get", {"id": "exec:a"}) == 404


async def test_requests_commit_in_the_order_they_were_posted(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        creates = [store.post("promise.create", promise(f"p{i}")) for i in range(200)]
        gets = [store.post("promise.get", {"id": f"p{i}"}) for i in range(200)]
        refused = store.post("promise.get", {"id": "nobody"})
        settled = store.post("promise.settle", settle("p7"))
        assert [(await each).status for each in [*creates, *gets]] == [200] * 400
        with pytest.raises(StoreRefused, match="nobody"):
            await refused
        assert (await settled).data["promise"]["state"] == "resolved"


@pytest.mark.parametrize("serves", [False, True])
async def test_whoever_comes_to_clean_up_has_the_grace_and_nobody_else_has(tmp_path: Path, serves: bool) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a")
        await store.request("task.release", {"id": "exec:a", "version": 1})
        wish = {"id": "exec:a", "reason": "", "grace_ms": 1_000, "serves": serves}
        assert (await store.request("execution.cancel", wish)).data["cancelled"]
        if serves:
            assert await state(store, "exec:a") == "pending"
            clock.now += 1_000
        assert await state(store, "exec:a") == "rejected_canceled"


@pytest.mark.parametrize("ends", ["fulfil", "settle"])
async def test_what_an_execution_made_just_before_its_end_ends_with_it(tmp_path: Path, ends: str) -> None:
    """All of it is on its way to one commit."""
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a")
        posted = []
        for child in (promise("exec:a.1"), promise("exec:a.2", resonate_external="true")):
            action = {"kind": "promise.create", "data": child}
            posted.append(store.post("task.fence", {"id": "exec:a", "version": 1, "action": action}))
        done = {"kind": "promise.settle", "data": settle("exec:a.1")}
        posted.append(store.post("task.fence", {"id": "exec:a", "version": 1, "action": done}))
        over = {"kind": "promise.settle", "data": settle("exec:a")}
        fulfilled = {"id": "exec:a", "version": 1, "action": over}
        kind, data = ("task.fulfill", fulfilled) if ends == "fulfil" else ("promise.settle", settle("exec:a"))
        await asyncio.gather(*posted, store.post(kind, data))
        assert [await state(store, f"exec:a{each}") for each in ("", ".1", ".2")] == [
            "resolved",
            "resolved",
            "rejected_canceled",
        ]
