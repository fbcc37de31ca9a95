"""Retries, forks and rewinds of what stood in a queue stand in it, under its limits (specs/queues.md, Q16-Q19)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest

import durable
from durable.store.rows import QueueRow
from durable.store.upkeep import invariants
from tests.contract import postgres_rules
from tests.waiting import first_prompt, in_state

QUEUE = durable.Queue("work", concurrency=1)
performed: list[str] = []
broken: set[str] = set()
at_once: list[int] = [0, 0]
"""How many steps run now, and the most that did."""


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    performed.clear()
    broken.clear()
    at_once[:] = [0, 0]
    async with durable.open(place, durability="process") as engine:
        yield engine
    if place.startswith("postgresql:"):
        assert postgres_rules.broken(place) == []
    elif not place.startswith("http"):
        with closing(sqlite3.connect(place)) as file:
            assert invariants.broken(file.execute) == []


async def act(name: str) -> str:
    at_once[0] += 1
    at_once[1] = max(at_once)
    await asyncio.sleep(0)
    at_once[0] -= 1
    performed.append(name)
    if name in broken:
        raise ValueError(f"{name} is broken")
    return name


@durable.function
async def job(ctx: durable.Context, name: str) -> list[str]:
    return [await ctx.run(act, "first"), await ctx.run(act, name)]


@durable.function
async def child(ctx: durable.Context, name: str) -> str:
    return await ctx.run(act, name)


@durable.function
async def parent(ctx: durable.Context, name: str) -> list[str]:
    async def asks(ctx: durable.Context) -> str:
        return str(await ctx.ask("sure?", timeout=60))

    asked = ctx.run(asks)  # type: ignore[call-overload]
    begun = ctx.start(child, name)
    return [await begun, str(await asked)]


@durable.function
async def hurries(ctx: durable.Context) -> str:
    async with asyncio.timeout(0.5):
        return str(await ctx.signal("go"))


@durable.function
async def waits(ctx: durable.Context, name: str) -> str:
    await ctx.run(act, name)
    return str(await ctx.signal("go"))


async def failed(engine: durable.Engine, fn: Any, *args: str, **place: Any) -> None:
    execution: durable.Execution[Any] = await engine.enqueue(QUEUE, fn, *args, **place)
    await in_state(engine, execution, "failed")


async def counts(engine: durable.Engine) -> tuple[int, int, int]:
    row: QueueRow = await engine.queues.get("work")
    return row.delayed, row.waiting, row.running


async def test_what_is_made_of_it_stands_in_its_line(engine: durable.Engine) -> None:
    broken.update("abc")
    for name in "abc":
        await failed(engine, job, name, id=name, key=f"of {name}", priority=2 if name == "c" else 0, delay=0.01)
    await engine.queues.pause(QUEUE)
    planned = await engine.bulk("retry", state="failed", dry_run=True)
    assert [each.note for each in planned.items] == [
        f"as {name}-retry-1, with 2 recorded operations, in the queue work; begins again: {name}.2" for name in "cba"
    ]
    outcome = await engine.bulk("retry", state="failed")
    assert [each.made for each in outcome.items] == ["c-retry-1", "b-retry-1", "a-retry-1"]
    fork = await engine.fork_execution("a", step=2, new_id="fork")
    rewound = await engine.rewind("b-retry-1", step=1, new_id="whole")
    assert await counts(engine) == (0, 4, 0)
    assert [(row.key, row.waiting) for row in await engine.queues.keys(QUEUE)] == [
        ("of a", 2),
        ("of b", 1),
        ("of c", 1),
    ]
    assert await (await engine.get("c-retry-1")).state() == "pending"
    broken.clear()
    performed.clear()
    await engine.queues.resume(QUEUE)
    for name in ("a-retry-1", "c-retry-1"):
        assert await (await engine.get(name)).result(20) == ["first", name[0]]
    assert await fork.result(20) == ["first", "a"]
    assert await rewound.result(20) == ["first", "b"]
    assert performed == ["c", "first", "b", "a", "a"], "by priority, by the turn of the key, none of it done twice"
    assert at_once[1] == 1
    assert await counts(engine) == (0, 0, 0)


async def test_a_line_of_retries_begins_nothing_before_its_turn(engine: durable.Engine) -> None:
    broken.add("x")
    for n in range(2):
        await failed(engine, parent, "x", id=f"p{n}")
    slow = await engine.enqueue(QUEUE, waits, "slow", id="slow")
    await in_state(engine, slow, "waiting")
    broken.clear()
    retries = [await engine.retry(f"p{n}") for n in range(2)]
    assert [await retry.state() for retry in retries] == ["pending", "pending"]
    assert [row.state for row in await engine.executions(function="child")] == ["failed", "failed"], "none begins"
    await engine.signal("slow", "go", "on")
    await engine.answer((await first_prompt(engine)).id, "yes")
    await engine.answer((await first_prompt(engine)).id, "yes")
    for retry in retries:
        assert await retry.result(20) == ["x", "yes"]


async def test_time_is_counted_from_the_place_in_the_queue(engine: durable.Engine) -> None:
    await failed(engine, hurries, id="one")
    await engine.queues.pause(QUEUE)
    retry = await engine.retry("one")
    await engine.queues.resume(QUEUE)
    await in_state(engine, retry, "failed")
    await engine.queues.pause(QUEUE)
    again = await engine.retry("one-retry-1")
    assert again.id == "one-retry-2"

    async def timer() -> dict[str, Any]:
        promise: dict[str, Any] = (await engine.store.request("promise.get", {"id": "exec:one-retry-2.1"})).data[
            "promise"
        ]
        assert promise["tags"]["resonate:timer"] == "true"
        return promise

    assert (await timer())["timeoutAt"] > 2**50, "while it waits nothing runs out"
    await again.signal("go", "now")
    await engine.queues.resume(QUEUE)
    assert await again.result(20) == "now"
    begun = await timer()
    assert begun["timeoutAt"] - begun["createdAt"] <= 600, "all its time again, and no more with each retry"


async def test_a_rewind_takes_over_the_place(engine: durable.Engine) -> None:
    one = await engine.enqueue(QUEUE, waits, "one", id="one")
    await in_state(engine, one, "waiting")
    for name in ("two", "three"):
        await engine.enqueue(QUEUE, waits, name, id=name)
    await engine.interrupt("two")
    await engine.queues.drain(QUEUE, timeout=0)
    rewound = await engine.rewind("one", step=1)
    other = await engine.rewind("three", step=1)
    assert await counts(engine) == (0, 1, 1), "the place and the line are theirs"
    await in_state(engine, rewound, "waiting")
    assert await other.state() == "pending"
    with pytest.raises(durable.Conflict, match="drained"):
        await engine.fork_execution("one", step=1)
    held = await engine.rewind("two", step=1)
    assert await held.state() == "pending", "one that is rewound goes on"
    for execution in (rewound, other, held):
        await in_state(engine, execution, "waiting")
        await execution.signal("go", "on")
        assert await execution.result(20) == "on"
    assert performed == ["one", "one", "three", "two"]
    assert await counts(engine) == (0, 0, 0)


async def test_one_call_of_a_word_at_a_time(engine: durable.Engine) -> None:
    broken.add("x")
    await failed(engine, job, "x", id="one", dedupe="x")
    await failed(engine, job, "x", id="other", dedupe="x")
    await engine.queues.pause(QUEUE)
    retry = await engine.retry("one")
    same = await engine.enqueue(QUEUE, job, "new", dedupe="x", debounce=1)
    assert same.id == retry.id
    with pytest.raises(durable.Conflict, match="one-retry-1 is the call of dedupe='x' in the queue 'work'"):
        await engine.retry("other")
    beside = await engine.fork_execution("other", step=2)
    broken.clear()
    await engine.queues.resume(QUEUE)
    assert await retry.result(20) == ["first", "x"], "a record has the arguments that it was made with"
    assert await beside.result(20) == ["first", "x"]
    assert (await engine.retry("other")).id == "other-retry-1"


async def test_a_queue_that_is_gone_or_takes_nothing(engine: durable.Engine) -> None:
    broken.add("x")
    await failed(engine, job, "x", id="one", key="k", priority=1)
    await failed(engine, job, "x", id="two")
    broken.clear()
    await engine.queues.drain(QUEUE)
    with pytest.raises(durable.Conflict, match="the queue 'work' is drained"):
        await engine.retry("one")
    for dry_run in (True, False):
        outcome = await engine.bulk("retry", ids=["one"], dry_run=dry_run)
        assert "is drained" in outcome.items[0].note
        assert not outcome.items[0].able
    await engine.queues.delete(QUEUE)
    retry = await engine.retry("one")
    assert await retry.result(20) == ["first", "x"]
    assert not [name for name in (await retry.info()).tags if name.startswith("durable:queue")]
    assert await engine.queues.list() == []


async def test_a_waiting_retry_is_cancelled_and_retried(engine: durable.Engine) -> None:
    broken.add("x")
    await failed(engine, parent, "x", id="one")
    await engine.queues.pause(QUEUE)
    retry = await engine.retry("one")
    await retry.cancel()
    assert await counts(engine) == (0, 0, 0)
    broken.clear()
    again = await engine.retry(retry.id)
    assert again.id == "one-retry-2"
    await engine.queues.resume(QUEUE)
    await engine.answer((await first_prompt(engine)).id, "yes")
    assert await again.result(20) == ["x", "yes"]
    assert len(performed) == 2, "no child began for the one that never did"
