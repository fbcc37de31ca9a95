"""Executions by their tags, functions, states and times, page by page (specs/store.md, Tags)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
    with pytest.raises(durable.BadArguments, match="not a tag"):
        await engine.start(orders, 1, id="long", tags={"customer": "c" * 300})
    with pytest.raises(durable.NotFound):
        await engine.tag("nowhere", a="b")
    assert await (await engine.start(takes_tags, tags=["a"])).result(10) == ["a"]  # type: ignore[arg-type]
    execution = await engine.start(orders, 1, id="one")
    with pytest.raises(durable.BadArguments, match="64 tags"):
        await engine.tag("one", **{f"t{n}": "" for n in range(65)})
    assert await execution.result(10) == 1


@durable.function
async def letters(ctx: durable.Context, word: str) -> str:
    if word == "stop":
        raise ValueError("Nothing TO send")
    if word == "wait":
        await ctx.signal("stamp")
        await ctx.signal("stamp")
    return f"Dear {word}"


async def test_executions_are_found_by_text_and_by_several_tags(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, word in enumerate(("Müller", "stop", "wait", "Meyer")):
        tags = {"to": word, "kind": "letter" if n else "card"}
        execution = await engine.start(letters, word, id=f"l{n}", tags=tags)
        if word == "wait":
            await in_state(engine, execution, "waiting")
        else:
            await ended(execution)

    async def found(**options: object) -> list[str]:
        return [row.id for row in await engine.executions(**options)]  # type: ignore[arg-type]

    assert await found(text="dear") == ["l3", "l0"]
    assert await found(text="MÜLLER dear") == ["l0"]
    assert await found(text="nothing to") == ["l1"]
    assert await found(text="kind=card") == ["l0"]
    assert await found(text="letters", state="waiting") == ["l2"]
    assert await found(text="nowhere") == []
    assert await found(tag={"kind": "letter", "to": "stop"}) == ["l1"]
    assert await found(tag={"kind": "card", "to": "stop"}) == []
    for size in (1, 2, 3):
        monkeypatch.setattr("durable.executions.execution_search.SEARCH_PAGE_ROWS", size)
        page = await engine.executions(text="dear", limit=1)
        assert ([row.id for row in page], page.cursor) == (["l3"], "l3")
        page = await engine.executions(text="dear", limit=5, before=page.cursor)
        assert ([row.id for row in page], page.cursor) == (["l0"], None)
    monkeypatch.setattr("durable.executions.execution_search.SEARCH_PAGE_ROWS", 1)
    monkeypatch.setattr("durable.executions.execution_search.LOOKED_AT_ROWS_MAX", 2)
    page = await engine.executions(text="card")
    assert (list(page), page.cursor) == ([], "l2"), "so many were looked at; the cursor goes on"
    assert [row.id for row in await engine.executions(text="card", before=page.cursor)] == ["l0"]
    assert (await engine.executions(limit=3)).cursor == "l1"
    assert (await engine.executions(limit=5)).cursor is None
    assert await engine.store.reads.signal_waits(executions=["l0", "l2", "none"]) == [("l2", "stamp")]


async def test_executions_are_counted_by_state(engine: durable.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await engine.count_executions() == {}
    for n, word in enumerate(("a", "b", "stop", "wait")):
        execution = await engine.start(letters, word, id=f"c{n}", tags={"even": str(n % 2 == 0)})
        await (in_state(engine, execution, "waiting") if word == "wait" else ended(execution))
    await (await engine.start(takes_tags, [], id="t")).result(10)
    assert await engine.count_executions() == {"completed": 3, "failed": 1, "waiting": 1}
    assert await engine.count_executions(function="letters") == {"completed": 2, "failed": 1, "waiting": 1}
    assert await engine.count_executions(tag=("even", "True")) == {"completed": 1, "failed": 1}
    assert await engine.count_executions(tag=("even", "True"), function="takes_tags") == {}
    hour = timedelta(hours=1)
    assert await engine.count_executions(until=datetime.now(UTC) - hour) == {}
    assert await engine.count_executions(since=datetime.now(UTC) - hour, function="letters", tag=("even", "False")) == {
        "completed": 1,
        "waiting": 1,
    }
    assert await engine.store.reads.count_executions(session="none") == {}


async def ended(execution: durable.Execution[str]) -> None:
    try:
        await execution.result(10)
    except durable.ExecutionError:
        pass


async def test_what_is_no_search_is_said(engine: durable.Engine) -> None:
    for n in range(3):
        await (await engine.start(tagged_job, id=f"n{n}", tags={"k": "a=b"})).result(20)
    assert sum((await engine.count_executions(tag={"k": "a=b"})).values()) == 3
    wrong: list[dict[str, Any]] = [
        {"limit": -1}, {"limit": "1; x"}, {"limit": True}, {"state": "done"}, {"tag": "k=a"}, {"tag": ("k",)},
        {"tag": ("k", 5)}, {"function": 5}, {"text": 5}, {"since": "2026-01-01"}, {"before": "gone"},
    ]  # fmt: skip
    for given in wrong:
        with pytest.raises(durable.BadArguments):
            await engine.executions(**given)
    with pytest.raises(durable.BadArguments, match="one tag"):
        await engine.count_executions(tag={"k": "a=b", "l": "x"})
    page = await engine.executions(limit=2)
    assert [row.id for row in page] == ["n2", "n1"]
    await engine.delete("n1")
    with pytest.raises(durable.BadArguments, match="it is gone, begin with the newest"):
        await engine.executions(limit=2, before=page.cursor)
    assert list(await engine.executions(before="n0")) == []


@durable.function
async def tagged_job(ctx: durable.Context) -> None:
    return None
