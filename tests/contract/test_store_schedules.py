"""Schedules fire by themselves, each tick once, and make up for missed ones by their policy (specs/store.md S12)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable.store.sqlite.store import Store

from .opened import T0, Clock, engine, opened

MINUTE = 60_000
START = T0 - T0 % (60 * MINUTE)


async def schedule(store: Store, **tags: str) -> None:
    named = {"resonate:target": "poll://any@g", **{name.replace("_", ":", 1): text for name, text in tags.items()}}
    data = {"id": "tick", "cron": "* * * * *", "promiseId": "{{.id}}-{{.timestamp}}", "promiseTags": named}
    await store.request("schedule.create", {**data, "promiseTimeout": MINUTE, "promiseParam": {"data": "MQ=="}})


async def fired(store: Store) -> list[int]:
    found: Any = (await store.request("promise.search", {"limit": 1000})).data["promises"]
    return [(int(each["id"].removeprefix("tick-")) - START) // MINUTE for each in found]


async def test_a_tick_makes_its_promise_and_its_task_is_dispatched(tmp_path: Path) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as store:
        inbox = await engine(store)
        await schedule(store)
        clock.now += MINUTE - 1
        assert await fired(store) == []
        clock.now += 1
        assert await inbox.next() == f"tick-{START + MINUTE}"
        made: Any = (await store.request("promise.get", {"id": f"tick-{START + MINUTE}"})).data["promise"]
        assert made["timeoutAt"] == START + 2 * MINUTE
        assert made["tags"]["resonate:schedule"] == "tick"
        kept: Any = (await store.request("schedule.get", {"id": "tick"})).data["schedule"]
        assert (kept["nextRunAt"], kept["lastRunAt"]) == (START + 2 * MINUTE, START + MINUTE)
        await store.request("schedule.delete", {"id": "tick"})
        clock.now += 10 * MINUTE
        assert await fired(store) == [1]


async def test_two_stores_fire_a_tick_once(tmp_path: Path) -> None:
    clock = Clock(START)
    async with opened(tmp_path / "s.db", clock=clock) as one, opened(tmp_path / "s.db", clock=clock) as two:
        await schedule(one, durable_missed="all")
        for _ in range(20):
            clock.now += MINUTE
            await asyncio.gather(fired(one), fired(two))
        assert await fired(one) == list(range(1, 21))


@pytest.mark.parametrize(("policy", "expected"), [("all", [1, 2, 3]), ("once", [3]), ("skip", [])])
async def test_ticks_that_passed_while_nothing_ran(tmp_path: Path, policy: str, expected: list[int]) -> None:
    clock = Clock(START)
    cron = {"all": "* * * * *", "once": "* * * * *", "skip": "1-3 * * * *"}
    async with opened(tmp_path / "s.db", clock=clock) as store:
        named = {"resonate:target": "poll://any@g", "durable:missed": policy}
        data = {"id": "tick", "cron": cron[policy], "promiseId": "{{.id}}-{{.timestamp}}", "promiseTags": named}
        await store.request("schedule.create", {**data, "promiseTimeout": MINUTE})
    clock.now += (5 if policy == "skip" else 3) * MINUTE
    async with opened(tmp_path / "s.db", clock=clock) as store:
        assert [n for n in await fired(store) if n <= 3] == expected
