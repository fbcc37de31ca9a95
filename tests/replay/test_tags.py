"""Executions by their tags, functions, states and times, page by page (specs/store.md, Tags)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import durable
from tests.waiting import in_state


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    async with durable.open(place, durability="process") as engine:
        yield engine


@durable.function
async def orders(ctx: durable.Context, n: int) -> int:
    async def nested(ctx: durable.Context) -> None:
        await ctx.tag(size="large" if n > 2 else "small", old=None)

    await ctx.run(nested)  # type: ignore[call-overload]
    if n == 3:
        await ctx.signal("go")
    return n


@durable.function
async def takes_tags(ctx: durable.Context, tags: list[str]) -> list[str]:
    return tags


async def test_executions_are_found_by_their_tags(engine: durable.Engine) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    for n in range(6):
        execution = await engine.start(orders, n, id=f"o{n}", tags={"customer": f"c{n % 2}", "old": "yes"})
        await (in_state(engine, execution, "waiting") if n == 3 else execution.result(10))

    async def found(**options: object) -> list[str]:
        return [row.id for row in await engine.executions(**options)]  # type: ignore[arg-type]

    assert await found(tag=("customer", "c1")) == ["o5", "o3", "o1"]
    assert await found(tag=("customer", "c1"), limit=2) == ["o5", "o3"]
    assert await found(tag=("customer", "c1"), before="o3") == ["o1"]
    assert await found(tag=("customer", "c1"), state="waiting") == ["o3"]
    assert await found(tag=("customer", "c1"), function="orders", state="completed") == ["o5", "o1"]
    assert await found(tag=("customer", "c1"), function="other") == []
    assert await found(tag=("size", "small")) == ["o2", "o1", "o0"]
    assert await found(tag=("old", "yes")) == []
    assert await found(tag=("size", "large"), since=before) == ["o5", "o4", "o3"]
    assert await found(tag=("size", "large"), until=before) == await found(since=before + timedelta(days=1)) == []
    assert len(await found(function="orders", since=before, until=before + timedelta(days=1))) == 6
    assert await engine.tag("o0", customer="c9", paid="1") == {"customer": "c9", "paid": "1", "size": "small"}
    assert await found(tag=("customer", "c9")) == ["o0"]
    assert await found(tag=("customer", "c0")) == ["o4", "o2"]


async def test_what_is_no_tag_is_refused(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "s.db") as engine:
        await _refusals(engine)


async def _refusals(engine: durable.Engine) -> None:
    with pytest.raises(durable.BadArguments, match="too long"):
        await engine.start(orders, 1, id="long", tags={"customer": "c" * 300})
    with pytest.raises(durable.NotFound):
        await engine.tag("nowhere", a="b")
    assert await (await engine.start(takes_tags, tags=["a"])).result(10) == ["a"]  # type: ignore[arg-type]
    execution = await engine.start(orders, 1, id="one")
    with pytest.raises(durable.BadArguments, match="64 tags"):
        await engine.tag("one", **{f"t{n}": "" for n in range(65)})
    assert await execution.result(10) == 1
