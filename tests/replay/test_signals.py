"""Signals and promises from outside: in order, once a key, before and after somebody waits (specs/signals.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import durable
from tests.waiting import in_state, until


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    async with durable.open(place, durability="process") as engine:
        yield engine


class Order(BaseModel):
    item: str
    count: int = 1


@durable.function
async def gathers(ctx: durable.Context, wanted: int) -> list[object]:
    return [await ctx.signal("item") for _ in range(wanted)]


@durable.function
async def orders(ctx: durable.Context) -> list[Order]:
    await ctx.signal("go")
    return [await ctx.signal("order", schema=Order), await ctx.signal("order", schema=Order)]


async def test_signals_come_in_order_whether_somebody_waits_or_not(anywhere: durable.Engine) -> None:
    execution = await anywhere.start(gathers, 5, id="five")
    for n in range(2):
        assert await anywhere.signal("five", "item", n)
    await in_state(anywhere, execution, "waiting")
    for n in range(2, 5):
        assert await execution.signal("item", n)
    assert await execution.result(10) == [0, 1, 2, 3, 4]


async def test_a_key_is_sent_once(engine: durable.Engine) -> None:
    execution = await engine.start(gathers, 3, id="keys")
    await in_state(engine, execution, "waiting")
    assert await engine.signal("keys", "item", "a", key="k1")  # somebody waits
    assert not await engine.signal("keys", "item", "a again", key="k1")
    assert await engine.signal("keys", "other", "elsewhere", key="k1")
    assert await engine.signal("keys", "item", "b", key="k2")
    assert not await engine.signal("keys", "item", "b again", key="k2")
    assert await engine.signal("keys", "item", "c", key="k3")
    assert await execution.result(10) == ["a", "b", "c"]
    assert not await engine.signal("keys", "item", "c again", key="k3"), "a repetition is no error when it has ended"
    with pytest.raises(durable.Conflict, match="has ended"):
        await engine.signal("keys", "item", "d")
    with pytest.raises(durable.NotFound):
        await engine.signal("nowhere", "item")


async def test_a_signal_that_does_not_fit_is_refused_or_ignored(engine: durable.Engine) -> None:
    execution = await engine.start_with_signal(orders, id="orders", signal="go")

    async def waits() -> bool:
        return len(await engine.store.reads.children("orders")) == 2 and await execution.state() == "waiting"

    await until(engine, waits)
    with pytest.raises(durable.InvalidAnswer, match="count"):
        await engine.signal("orders", "order", {"item": "a", "count": "many"})
    await engine.signal("orders", "order", {"item": "a", "count": 2})
    other = await engine.start_with_signal(orders, id="early", signal="order", value=7)  # nobody waits: not checked
    await other.signal("go")
    for name in ("orders", "early", "early"):
        await engine.signal(name, "order", Order(item="b"))
    assert await execution.result(10) == [Order(item="a", count=2), Order(item="b")]
    assert await other.result(10) == [Order(item="b"), Order(item="b")]


@durable.function
async def counts(ctx: durable.Context) -> int:
    count: int = await ctx.signal("order", schema=int)
    return count


async def test_signals_of_a_name_have_the_schema_of_whoever_waits(anywhere: durable.Engine) -> None:
    """The sender knows the last one: what it checked against that goes to nobody who wants something else."""
    for turn in range(2):
        execution = await anywhere.start_with_signal(orders, id=f"orders-{turn}", signal="go")
        other = await anywhere.start(counts, id=f"counts-{turn}")
        for each in (execution, other):
            await in_state(anywhere, each, "waiting")
        for wrong in (7, {"count": 7}):
            with pytest.raises(durable.InvalidAnswer):
                await execution.signal("order", wrong)
        with pytest.raises(durable.InvalidAnswer):
            await other.signal("order", {"item": "a"})
        await other.signal("order", 7)
        for item in "ab":
            await execution.signal("order", {"item": item})
        assert await other.result(10) == 7
        assert await execution.result(10) == [Order(item="a"), Order(item="b")]


@durable.function
async def late(ctx: durable.Context) -> list[object]:
    got: list[object] = [await ctx.signal("s", timeout=0.01, default="none")]
    try:
        await ctx.signal("s", timeout=0.01)
    except durable.ExecutionTimedOut:
        got.append("late")
    for _ in range(3):
        try:
            async with asyncio.timeout(0.01):
                await ctx.signal("s")
        except TimeoutError:
            got.append("cancelled")
    await ctx.promise(timeout=0.01, default=None)
    return [*got, await ctx.signal("s"), await ctx.signal("s", timeout=5)]


async def test_a_wait_that_was_given_up_takes_no_signal(engine: durable.Engine) -> None:
    execution = await engine.start(late, id="late")

    async def last() -> bool:
        rows = await engine.store.reads.children("late")
        return any(row.tags["durable:kind"] == "promise" and row.settled_at for row in rows)

    await until(engine, last)
    await engine.signal("late", "s", 1)
    await engine.signal("late", "s", 2)
    assert await execution.result(10) == ["none", "late", "cancelled", "cancelled", "cancelled", 1, 2]
    waits = [row for row in await engine.store.reads.children("late") if row.tags.get("durable:kind") == "signal"]
    assert len(waits) <= 5, "waits that were given up are used again"


@durable.function
async def hooked(ctx: durable.Context) -> str:
    order = ctx.promise(schema=Order)
    failing = ctx.promise()
    await ctx.run(tell, [order.id, failing.id])
    found = await order
    try:
        await failing
    except durable.ExecutionError as error:
        return f"{found.item}: {error}"
    return "nothing failed"


told: list[str] = []


def tell(promises: list[str]) -> None:
    told.extend(promises)


async def test_a_promise_is_settled_by_its_id_and_checked_before(anywhere: durable.Engine) -> None:
    told.clear()
    execution = await anywhere.start(hooked, id="hooked")
    await in_state(anywhere, execution, "waiting")
    order, failing = told
    with pytest.raises(durable.InvalidAnswer, match="item"):
        await anywhere.settle(order, {"count": 1})
    await anywhere.settle(order, {"item": "lathe"})
    await anywhere.settle(order, {"item": "lathe"})  # the same again
    with pytest.raises(durable.Conflict, match="settled before"):
        await anywhere.settle(order, {"item": "other"})
    await anywhere.settle(failing, error="the carrier refused")
    assert "lathe: " in await execution.result(10)
    assert "the carrier refused" in await execution.result(10)
    with pytest.raises(durable.Conflict, match=r"ctx\.promise"):
        await anywhere.settle("exec:hooked.3", 1)
    with pytest.raises(durable.NotFound):
        await anywhere.settle("exec:hooked.9", 1)


@durable.function
async def two_at_once(ctx: durable.Context) -> list[list[object]]:
    async def side(name: str) -> list[object]:
        return [await ctx.signal(name) for _ in range(2)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(side(name)) for name in ("a", "b")]
    return [task.result() for task in tasks]


async def test_branches_wait_for_signals_of_their_own(engine: durable.Engine) -> None:
    execution = await engine.start(two_at_once, id="sides")
    for name, value in (("b", 1), ("a", 2), ("a", 3), ("b", 4)):
        await engine.signal("sides", name, value)
    assert await execution.result(10) == [[2, 3], [1, 4]]
