"""Parents that stay in memory while children of theirs run on the same engine (specs/execution.md, R12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import durable
from durable.core.events import Event, LeaseLost
from durable.functions.resonate import stay_room
from tests.waiting import first_prompt, in_state, until

pytestmark = pytest.mark.parametrize("place", ["path", "postgres"], indirect=True)

CHILDREN = 300
"""More than an engine runs at a time."""

passes: list[str] = []
"""The functions that a pass began."""
under_way = [0, 0]
"""How many steps run now, and the most that ran at a time."""
gates: dict[str, asyncio.Event] = {}
events: list[Event] = []


@pytest.fixture(autouse=True)
def at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a pass that stays does not give up."""
    monkeypatch.setattr(stay_room, "STAY_QUIET_S", 60.0)
    passes.clear()
    gates.clear()
    events.clear()


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    async with durable.open(place, observer=events.append) as engine:
        yield engine


async def counted(n: int) -> int:
    under_way[0] += 1
    under_way[1] = max(under_way)
    await asyncio.sleep(0)
    under_way[0] -= 1
    return n + 1


@durable.function
async def plus_one(ctx: durable.Context, n: int) -> int:
    return await ctx.run(counted, n)


@durable.function
async def sum_of(ctx: durable.Context, count: int, concurrency: int) -> int:
    passes.append("sum_of")
    return sum(await ctx.map(plus_one, range(count), concurrency=concurrency))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while no child runs: between the end of many and the beginning of the next ones."""
    monkeypatch.setattr(stay_room, "STAY_IDLE_S", 60.0)


@pytest.mark.usefixtures("patient")
async def test_a_parent_of_many_children_is_passed_once(engine: durable.Engine) -> None:
    assert await (await engine.start(sum_of, CHILDREN, 1000)).result(60) == sum(range(CHILDREN + 1))
    assert passes == ["sum_of"]


@pytest.mark.usefixtures("patient")
async def test_a_parent_goes_on_with_each_child_that_ends_and_begins_no_more(engine: durable.Engine) -> None:
    under_way[:] = 0, 0
    assert await (await engine.start(sum_of, 20, 2)).result(60) == sum(range(21))
    assert passes == ["sum_of"]
    assert under_way[1] <= 2


async def at_gate(name: str) -> str:
    gates[f"{name} came"].set()
    await gates[name].wait()
    return name


@durable.function
async def gated(ctx: durable.Context, name: str) -> str:
    return await ctx.run(at_gate, name)


@durable.function
async def asks(ctx: durable.Context) -> str:
    answer: str = await ctx.ask("go on?")
    return answer


@durable.function
async def parent(ctx: durable.Context, name: str) -> str:
    passes.append("parent")
    return await ctx.start(gated, name, id=f"{name}-child")


@durable.function
async def parent_of_two(ctx: durable.Context) -> list[str]:
    passes.append("parent_of_two")
    return list(await asyncio.gather(ctx.start(gated, "slow"), ctx.start(asks, id="asking")))


def gate(name: str) -> None:
    gates[name], gates[f"{name} came"] = asyncio.Event(), asyncio.Event()


async def came(name: str) -> None:
    await asyncio.wait_for(gates[f"{name} came"].wait(), 30)


async def test_what_is_recorded_while_it_stays_is_replayed(engine: durable.Engine) -> None:
    gate("slow")
    execution = await engine.start(parent_of_two, id="two")
    await came("slow")
    prompt = await first_prompt(engine)
    gates["slow"].set()
    await in_state(engine, execution, "waiting")
    await engine.answer(prompt.id, "yes")
    assert await execution.result(30) == ["slow", "yes"]
    assert passes == ["parent_of_two"] * 2
    assert (await engine.check_replay("two")).verdict == "replays"


async def test_whoever_waits_for_it_hears_of_a_child_that_is_halted(engine: durable.Engine) -> None:
    gate("slow")
    execution = await engine.start(parent_of_two, id="two")
    await came("slow")
    await first_prompt(engine)
    await in_state(engine, await engine.get("asking"), "waiting")
    waiter = asyncio.ensure_future(execution.result(30))
    await engine.interrupt("asking")
    with pytest.raises(durable.Halted) as told:
        await waiter
    assert told.value.execution_id == "asking"
    gates["slow"].set()
    await engine.resume("asking")
    await engine.answer((await first_prompt(engine)).id, "yes")
    assert await execution.result(30) == ["slow", "yes"]


async def test_it_ends_without_a_word_when_it_is_interrupted_and_goes_on_when_it_is_resumed(
    engine: durable.Engine,
) -> None:
    gate("one")
    execution = await engine.start(parent, "one", id="halted")
    await came("one")
    assert await engine.interrupt("halted")
    assert await execution.state() == "interrupted"
    await engine.resume("halted")
    gates["one"].set()
    assert await execution.result(30) == "one"
    assert not [event for event in events if isinstance(event, LeaseLost)]


async def test_a_cancel_comes_to_it_and_to_its_child(engine: durable.Engine) -> None:
    gate("two")
    execution = await engine.start(parent, "two", id="cancelled")
    await came("two")
    assert await execution.cancel("enough")
    with pytest.raises(durable.ExecutionCancelled):
        await (await engine.get("two-child")).result(30)
    assert await execution.state() == "cancelled"
    assert passes == ["parent"]


async def test_its_deadline_ends_it(engine: durable.Engine) -> None:
    gate("three")
    execution = await engine.start(parent, "three", id="late", timeout=1)
    await came("three")
    with pytest.raises(durable.ExecutionTimedOut):
        await execution.result(30)
    await in_state(engine, await engine.get("three-child"), "cancelled")
    assert engine.running == 0
    assert not [event for event in events if isinstance(event, LeaseLost)]


async def test_what_waits_holds_no_place_of_an_engine_that_has_few(place: str) -> None:
    async with durable.open(place, concurrency=2) as engine:
        gate("four")
        execution = await engine.start(parent, "four", id="few")
        await came("four")
        await in_state(engine, execution, "waiting")
        await until(engine, lambda: runs_one(engine))
        gates["four"].set()
        assert await execution.result(30) == "four"
    assert passes == ["parent"] * 2


async def runs_one(engine: durable.Engine) -> bool:
    return engine.running == 1
