"""Time, chance and ids that a replay gets again: `ctx.now`, `ctx.random`, `ctx.uuid` (specs/execution.md, D1-D4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import durable
from tests.waiting import first_prompt

seen: list[list[Any]] = []
"""What each pass of `draws` drew before its question."""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    seen.clear()
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    seen.clear()
    async with durable.open(place, durability="process") as engine:
        yield engine


async def child(ctx: durable.Context) -> float:
    return ctx.random.random()


@durable.function
async def draws(ctx: durable.Context) -> list[Any]:
    first = ctx.now()
    nested = await ctx.run(child)  # type: ignore[call-overload]
    drawn = [first, ctx.random.random(), ctx.uuid(), nested, ctx.info, ctx.options(name="x").random.random()]
    seen.append([*drawn, ctx.replaying])
    await ctx.ask("go on?")
    assert not ctx.replaying
    return [ctx.random.random(), (ctx.now() - first) / timedelta(seconds=1), ctx.uuid().version]


async def test_a_replay_gets_the_same_and_another_execution_something_else(anywhere: durable.Engine) -> None:
    values = []
    for name in ("one", "two"):
        execution = await anywhere.start(draws, id=name)
        await anywhere.answer((await first_prompt(anywhere)).id, "yes")
        values.append(await execution.result(10))
    first, again, other, _ = seen
    assert first[:-1] == again[:-1]
    assert (first[-1], again[-1]) == (False, True)
    assert len({first[1], first[3], first[5], other[1], other[3], first[2], other[2]}) == 7
    assert values[0][0] != values[1][0]
    assert values[0][1] >= 0
    assert values[0][2] == 4


async def test_what_info_says(engine: durable.Engine) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    await engine.start(draws, id="info", timeout=1000)
    await first_prompt(engine)
    info = seen[0][4]
    assert isinstance(info, durable.FunctionInfo)
    assert (info.id, info.execution, info.function) == ("info", "info", "draws")
    assert info.deadline is not None
    assert before < info.created_at < info.deadline
    assert abs((info.deadline - info.created_at) / timedelta(seconds=1) - 1000) < 2


kept: list[durable.Context] = []


@durable.function
async def hands_out(ctx: durable.Context) -> str:
    def step() -> str:
        kept[0].uuid()
        return "drawn"

    kept[:] = [ctx]
    return await ctx.run(step)


async def test_a_step_cannot_draw_from_its_function(engine: durable.Engine) -> None:
    execution = await engine.start(hands_out)
    with pytest.raises(durable.ExecutionError, match="outside of it"):
        await execution.result(10)
