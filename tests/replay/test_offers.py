"""Offers of tasks that wait for a slot of their engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import durable
from durable.functions.resonate import sdk
from durable.store.operations.dispatch import execute_message

runs: list[None] = []


@durable.function
async def counted(ctx: durable.Context) -> int:
    runs.append(None)
    return len(runs)


async def test_an_offer_that_waits_for_a_slot_is_not_queued_again(tmp_path: Path) -> None:
    runs.clear()
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        runtime = engine._resonate._runtime
        runtime.execute_sema = slots = asyncio.Semaphore(0)
        places = sdk.slots_of(engine._resonate)
        while places.take():
            pass
        offered = asyncio.Event()
        engine._connection.recv(lambda _message: offered.set())
        execution = await engine.start(counted, id="busy")
        assert not places.free()
        places.give()
        await asyncio.wait_for(offered.wait(), 10)
        queued = len(runtime.bg_tasks)
        assert queued
        for _ in range(5):
            engine._connection._push(execute_message("exec:busy", 0))
        assert len(runtime.bg_tasks) == queued
        slots.release()
        assert await execution.result() == 1
        engine._connection._push(execute_message("exec:busy", 0))  # it has ended: refused, and nothing waits for ever
        slots.release()
        assert await (await engine.start(counted, id="next")).result() == 2
        assert await engine.start(counted, id="never")  # an engine that closes drops what waits, without a word
