"""Offers of tasks that wait for a slot of their engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

import durable
from durable.core.limits import BEGUN_ROWS
from durable.store.operations.dispatch import execute_message
from durable.store.protocol.requests import Answer
from tests.waiting import in_state, until

runs: list[None] = []


@durable.function
async def counted(ctx: durable.Context) -> int:
    runs.append(None)
    return len(runs)


async def test_an_offer_that_waits_for_a_slot_is_not_queued_again(tmp_path: Path) -> None:
    runs.clear()
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        runtime = engine._runner
        assert runtime is not None
        runtime.places = slots = asyncio.Semaphore(0)
        places = runtime.slots
        while places.take():
            pass
        offered = asyncio.Event()
        engine._connection.recv(lambda _message: offered.set())
        engine._connection._end.begin = None  # offers by messages, as where the loop stands still
        execution = await engine.start(counted, id="busy")
        assert not places.free()
        places.give()
        await asyncio.wait_for(offered.wait(), 10)
        queued = len(runtime.jobs)
        assert queued
        for _ in range(5):
            engine._connection._push(execute_message("exec:busy", 0))
        assert len(runtime.jobs) == queued
        slots.release()
        assert await execution.result() == 1
        engine._connection._push(execute_message("exec:busy", 0))  # it has ended: refused, and nothing waits for ever
        slots.release()
        assert await (await engine.start(counted, id="next")).result() == 2
        assert await engine.start(counted, id="never")  # an engine that closes drops what waits, without a word


@durable.function
async def approved(ctx: durable.Context) -> str:
    words: list[str] = await ctx.map(worded, ["not", "yet"])
    return " ".join([*words, await ctx.signal("approved", schema=str)])


@durable.function
async def worded(ctx: durable.Context, word: str) -> str:
    return word


@pytest.mark.parametrize("place", ["path", "postgres"], indirect=True)
async def test_what_a_request_makes_due_comes_with_its_lease(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with durable.open(place) as engine:
        kinds: list[str] = []
        store = engine.store.local
        assert store is not None
        enqueue = store.enqueue

        def seen(kind: str, request: msgspec.Struct, **options: bool) -> asyncio.Future[Answer]:
            kinds.append(kind)
            return enqueue(kind, request, **options)

        monkeypatch.setattr(store, "enqueue", seen)
        execution = await engine.start(approved, id="order")
        await until(engine, lambda: waits_for_signal(engine))
        assert "task.acquire" not in kinds
        kinds.clear()
        await engine.signal("order", "approved", "now")
        assert await execution.result() == "not yet now"
        assert "task.fulfill" in kinds
        assert not {"task.acquire", "call.list"} & set(kinds), "its record comes with its lease"
        await until(engine, lambda: no_slot_held(engine))


@durable.function
async def long(ctx: durable.Context, steps: int) -> tuple[int, str]:
    done = await asyncio.gather(*(ctx.run(counted_step, number) for number in range(steps)))
    return len(done), await ctx.signal("approved", schema=str)


async def counted_step(number: int) -> int:
    return number


@pytest.mark.parametrize("place", ["path", "postgres"], indirect=True)
async def test_a_record_that_is_longer_than_what_comes_with_its_lease_is_read_to_its_end(place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        for steps in (BEGUN_ROWS - 2, BEGUN_ROWS - 1, BEGUN_ROWS, BEGUN_ROWS + 1):
            execution = await engine.start(long, steps)
            await in_state(engine, execution, "waiting")
            await execution.signal("approved", "yes")
            assert await execution.result(30) == (steps, "yes")


@pytest.mark.parametrize("place", ["path", "postgres"], indirect=True)
async def test_what_a_later_request_of_the_transaction_halts_does_not_begin(place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        execution = await engine.start(approved, id="order")
        await until(engine, lambda: waits_for_signal(engine))
        store = engine.store.local
        assert store is not None
        signal = {"execution": "exec:order", "name": "approved", "value": {"data": "Im5vdyI="}}
        async with asyncio.timeout(30):  # both are sent before the writer has a turn, and so one transaction's
            await asyncio.gather(store.post("signal.send", signal), store.post("task.halt", {"id": "exec:order"}))
        task = (await engine.store.request("task.get", {"id": "exec:order"})).data["task"]
        assert task["state"] == "halted"
        assert engine.running == 0
        await engine.resume("order")
        assert await execution.result(30) == "not yet now"


async def waits_for_signal(engine: durable.Engine) -> bool:
    task = await engine.store.request("task.get", {"id": "exec:order"})
    return task.data["task"]["state"] == "suspended" and "exec:order.3" in await promises(engine)


async def promises(engine: durable.Engine) -> list[str]:
    found = await engine.store.request("call.list", {"execution": "exec:order", "limit": 10, "after": ""})
    return [promise["id"] for promise in found.data["promises"]]


async def no_slot_held(engine: durable.Engine) -> bool:
    return engine.running == 0


@pytest.mark.parametrize("place", ["path", "postgres"], indirect=True)
async def test_a_task_that_was_acquired_for_an_engine_which_closes_is_given_back(place: str) -> None:
    async with durable.open(place) as engine:
        await engine.start(approved, id="order")
        await until(engine, lambda: waits_for_signal(engine))
        assert engine._runner is not None
        engine._runner.stopping = True  # as of a close that has begun
        await engine.signal("order", "approved", "later")
        task = (await engine.store.request("task.get", {"id": "exec:order"})).data["task"]
        assert (task["state"], task["pid"]) == ("acquired", engine.engine_id)
        await until(engine, lambda: no_slot_held(engine))
    async with durable.open(place) as engine:
        execution = await engine.get("order")
        assert await execution.result() == "not yet later"
        rows = {row.id: row for row in await engine.store.reads.list_executions(limit=9)}
        assert rows["order"].attempts == 0
