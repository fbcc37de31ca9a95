"""Compensations: in reverse when a function fails or is cancelled, tried again (specs/execution.md, U1-U4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from tests.waiting import first_prompt, in_state

done: list[str] = []
broken: set[str] = set()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    done.clear()
    broken.clear()
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    done.clear()
    broken.clear()
    async with durable.open(place, durability="process") as engine:
        yield engine


def act(name: str) -> str:
    done.append(name)
    if name in broken:
        raise ValueError(f"{name} is broken")
    return name


@durable.function
async def undo_hotel(ctx: durable.Context, name: str) -> None:
    await ctx.run(act, f"call {name}")
    await ctx.run(act, f"cancel {name}")


@durable.function
async def trip(ctx: durable.Context) -> str:
    async def car(ctx: durable.Context) -> None:
        await ctx.run(act, "car")
        ctx.compensate(act, "return car")
        await ctx.run(act, "insure car")

    await ctx.run(act, "flight")
    ctx.options(retry=durable.Retry(max_retries=1, delay=0.01, on_exhausted="pause")).compensate(act, "cancel flight")
    await ctx.run(act, "hotel")
    ctx.compensate(undo_hotel, "hotel")
    await ctx.run(car)  # type: ignore[call-overload]
    await ctx.ask("pay?")
    return await ctx.run(act, "pay")


async def test_a_function_that_fails_undoes_what_it_did(anywhere: durable.Engine) -> None:
    broken.add("pay")
    execution = await anywhere.start(trip, id="one")
    await anywhere.answer((await first_prompt(anywhere)).id, "yes")
    with pytest.raises(ValueError, match="pay is broken"):
        await execution.result(10)
    assert done == ["flight", "hotel", "car", "insure car", "pay", "call hotel", "cancel hotel", "cancel flight"]
    kinds = [row.tags["durable:kind"] for row in await anywhere.store.reads.children("one")]
    assert kinds.count("compensation") == 2
    with pytest.raises(durable.Conflict, match="has undone"):
        await anywhere.retry("one")


async def test_one_that_succeeds_undoes_nothing_and_one_that_is_cancelled_does(engine: durable.Engine) -> None:
    for id in ("well", "gone"):
        execution = await engine.start(trip, id=id)
        prompt = await first_prompt(engine)
        if id == "well":
            await engine.answer(prompt.id, "yes")
            assert await execution.result(10) == "pay"
            assert "cancel flight" not in done
        else:
            await in_state(engine, execution, "waiting")
            done.clear()
            await execution.cancel()
    assert done == ["call hotel", "cancel hotel", "cancel flight"]


async def test_a_nested_function_undoes_its_own_first(engine: durable.Engine) -> None:
    broken.add("insure car")
    execution = await engine.start(trip, id="one")
    with pytest.raises(ValueError, match="insure car is broken"):
        await execution.result(10)
    assert done[3:] == ["insure car", "return car", "call hotel", "cancel hotel", "cancel flight"]


async def test_a_compensation_that_fails_is_tried_again_and_halts(engine: durable.Engine) -> None:
    broken.update(("pay", "cancel flight", "cancel hotel"))
    execution = await engine.start(trip, id="one")
    await engine.answer((await first_prompt(engine)).id, "yes")
    with pytest.raises(durable.Halted, match="cancel flight is broken"):
        await execution.result(10)
    assert done[-3:] == ["cancel hotel", "cancel flight", "cancel flight"]
    broken.discard("cancel flight")
    await engine.resume("one")
    with pytest.raises(durable.ExecutionError, match="pay is broken") as told:
        await execution.result(10)
    assert any("cancel hotel is broken" in note for note in told.value.__notes__)
    assert done[-1] == "cancel flight"
    assert done.count("cancel hotel") == 1
