"""Schedules of ours: what a tick does while an execution goes on, pauses, ticks by hand (specs/schedules.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durable.store.operations.schedule_ticks import Plan
from durable.store.protocol.requests import Value
from tests.contract.opened import T0, Clock, engine, opened, settle, state, status
from tests.contract.test_store_queues import offered, rules

SECOND = 1_000
START = T0
TAGS = {"resonate:target": "poll://any@g", "durable:function": "app.py::job@1"}
SCHEDULE: dict[str, Any] = {
    "id": "s",
    "cron": "@every 10s",
    "promiseId": "exec:{{.id}}-{{.timestamp}}",
    "promiseTimeout": 10**12,
    "promiseTags": TAGS,
}


async def put(store: Any, overlap: str = "allow", line: str = "@every 10s", **more: Any) -> dict[str, Any]:
    data = {**SCHEDULE, "cron": line, "promiseTags": {**TAGS, "durable:missed": more.pop("missed", "all")}}
    return dict((await store.request("schedule.put", {"schedule": data, "overlap": overlap, **more})).data["schedule"])


async def started(store: Any) -> dict[int, str]:
    """The executions of the schedule so far: seconds after START, and their states."""
    found = (await store.request("promise.search", {"tags": {"resonate:schedule": "s"}, "limit": 1000})).data[
        "promises"
    ]
    return {(int(each["id"].rpartition("-")[2]) - START) // SECOND: each["state"] for each in found}


async def shown(store: Any) -> dict[str, Any]:
    [found] = (await store.request("schedule.list", {})).data["schedules"]
    return dict(found)


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "cancel"])
async def test_a_tick_while_an_execution_goes_on(tmp_path: Path, overlap: str) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await put(store, overlap)
        begun: list[str] = []
        for _ in range(3):
            clock.now += 10 * SECOND
            begun += await offered(inbox)
        names = [f"s-{START + n * 10 * SECOND}" for n in (1, 2, 3)]
        if overlap == "allow":
            assert begun == names
        elif overlap == "skip":
            assert begun == names[:1]
            assert (await shown(store))["skipped"] == 2
            await store.request("promise.settle", settle(f"exec:{names[0]}"))
            clock.now += 10 * SECOND
            assert await offered(inbox) == [f"s-{START + 40 * SECOND}"]
        elif overlap == "queue":
            assert begun == names[:1]
            for after in (names[1], names[2]):
                await store.request("promise.settle", settle(f"exec:{begun[-1]}"))
                begun += await offered(inbox)
                assert begun[-1] == after
        else:  # each is cancelled as soon as the next one comes, and cleans up before that begins
            assert begun == names[:1]
            assert await state(store, f"exec:{names[1]}") == "rejected_canceled", "it had not begun"
            action = {"kind": "promise.settle", "data": settle(f"exec:{names[0]}")}
            await store.request("task.fulfill", {"id": f"exec:{names[0]}", "version": 1, "action": action})
            assert await state(store, f"exec:{names[0]}") == "rejected_canceled"
            assert await offered(inbox) == [names[2]]
    assert rules(tmp_path / "s.db") == []


@pytest.mark.parametrize(("missed", "count"), [("all", 200), ("once", 1), ("skip", 0)])
async def test_two_hundred_ticks_that_were_missed(tmp_path: Path, missed: str, count: int) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await put(store, "queue", "@every 100s", missed=missed)
    clock.now += 200 * 100 * SECOND + 90 * SECOND
    begun: list[str] = []
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        while some := await offered(inbox):
            assert len(some) == 1, "one after the other"
            begun += some
            await store.request("promise.settle", settle(f"exec:{some[0]}"))
        assert len(begun) == count
        assert begun == sorted(begun)
        assert set((await started(store)).values()) <= {"resolved"}


async def test_pauses_ticks_by_hand_and_the_past(tmp_path: Path) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await put(store)
        assert (await store.request("schedule.pause", {"id": "s", "paused": True})).data["schedule"]["paused"]
        clock.now += 35 * SECOND
        assert await offered(inbox) == []
        [by_hand] = [(await store.request("schedule.trigger", {"id": "s"})).data["promise"]]
        assert await offered(inbox) == [by_hand.removeprefix("exec:")]
        resumed = (await store.request("schedule.pause", {"id": "s", "paused": False})).data["schedule"]
        assert resumed["nextRunAt"] == START + 40 * SECOND, "what passed while it was paused is not made up for"
        span = {"id": "s", "since": START, "until": START + 40 * SECOND}
        made = (await store.request("schedule.backfill", span)).data
        assert (made["ticks"], len(made["promises"])) == (4, 4)
        assert (await store.request("schedule.backfill", span)).data["promises"] == [], "each tick once"
        assert len(await offered(inbox)) == 1, "one after the other"
        kept = await put(store, "skip")
        assert (kept["nextRunAt"], kept["overlap"], kept["lastPromise"]) == (
            START + 40 * SECOND,
            "skip",
            made["promises"][-1],
        )
        assert (await put(store, line="@every 7s"))["nextRunAt"] % 7_000 == 0
        await store.request("schedule.delete", {"id": "s"})
        for kind in ("trigger", "backfill", "pause"):
            assert await status(store, f"schedule.{kind}", {**span, "paused": True}) == 404


async def test_an_execution_that_makes_up_for_the_past_has_its_time_whole(tmp_path: Path) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await put(store, missed="once")
        await store.request("schedule.put", {"schedule": {**SCHEDULE, "promiseTimeout": 60 * SECOND}})
        clock.now += 3_600 * SECOND
        by_hand = (await store.request("schedule.trigger", {"id": "s"})).data["promise"]
        span = {"id": "s", "since": START, "until": START + 20 * SECOND}
        [_, late] = (await store.request("schedule.backfill", span)).data["promises"]
        missed = f"exec:s-{clock.now}"
        for promise in (by_hand, late, missed):
            found = (await store.request("promise.get", {"id": promise})).data["promise"]
            assert (found["state"], found["timeoutAt"]) == ("pending", clock.now + 60 * SECOND), promise


async def test_each_trigger_starts_one(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", clock=Clock(START)) as store:
        await put(store)
        begun = [(await store.request("schedule.trigger", {"id": "s"})).data["promise"] for _ in range(3)]
        assert begun == [f"exec:s-now-{START + n}" for n in range(3)], "in one millisecond, too"


@pytest.mark.parametrize("overlap", ["queue", "cancel"])
async def test_a_policy_that_changes_counts_for_what_goes_on(tmp_path: Path, overlap: str) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await put(store)
        clock.now += 10 * SECOND
        [first] = await offered(inbox)
        await put(store, overlap)
        clock.now += 10 * SECOND
        assert await offered(inbox) == [], "the first one goes on"
        assert rules(tmp_path / "s.db") == []
        action = {"kind": "promise.settle", "data": settle(f"exec:{first}")}
        await store.request("task.fulfill", {"id": f"exec:{first}", "version": 1, "action": action})
        assert await state(store, f"exec:{first}") == ("resolved" if overlap == "queue" else "rejected_canceled")
        assert await offered(inbox) == [f"s-{clock.now}"]
    assert rules(tmp_path / "s.db") == []


async def test_a_queue_goes_with_its_schedule(tmp_path: Path) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        for ends in (False, True):
            await put(store, "queue")
            promise = (await store.request("schedule.trigger", {"id": "s"})).data["promise"]
            if ends:
                await store.request("promise.settle", settle(promise))
            clock.now += 1
        await store.request("schedule.delete", {"id": "s"})
        assert await status(store, "queue.get", {"queue": "schedule.s"}) == 200, "an execution stands in it"
        await put(store, "queue")
        await store.request("promise.settle", settle(f"exec:s-now-{START}"))
        await store.request("schedule.delete", {"id": "s"})
        assert await status(store, "queue.get", {"queue": "schedule.s"}) == 404


async def test_a_clock_that_was_set_back_is_followed(tmp_path: Path) -> None:
    """Ticks go on from the time that it has now, and none that was started is started again."""
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await put(store)
        clock.now += 365 * 86_400 * SECOND
        await shown(store)
        ahead = set(await started(store))
        clock.now = START + 5 * SECOND
        assert (await shown(store))["nextRunAt"] == START + 10 * SECOND
        clock.now += 20 * SECOND
        await shown(store)
        assert set(await started(store)) == ahead | {10, 20}
    assert rules(tmp_path / "s.db") == []


async def test_what_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await put(store, line="@every 1s")
        far = {"id": "s", "since": 0, "until": 2**50}
        assert await status(store, "schedule.backfill", far) == 400
        schedule = {"id": "t", "cron": "@every 5s", "promiseId": "exec:t", "promiseTimeout": 1}
        assert await status(store, "schedule.put", {"schedule": schedule}) == 400
        for line in ("@every", "@every 5", "@every 0s", "@every 1ms", "@every 5 s", "@every 9999d", "@often"):
            tags = {"resonate:target": "poll://any@g"}
            asked = {"schedule": {**schedule, "cron": line, "promiseTags": tags}}
            assert await status(store, "schedule.put", asked) == 400, line


async def test_jitter_puts_off_and_is_the_same_in_every_process(tmp_path: Path) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await put(store, jitterMs=8 * SECOND)
        plan = Plan("s", "", "", 0, Value(), {}, 0, "allow", 8 * SECOND, False, None)
        tick = START + 10 * SECOND
        begins_at = plan.begins_at(tick)
        assert tick < begins_at <= tick + 8 * SECOND
        clock.now = begins_at - 1
        assert await offered(inbox) == []
        clock.now = begins_at
        assert await offered(inbox) == [f"s-{tick}"]
