"""Child executions: their values, failures, ends with and without their parents (specs/children.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.events import AttemptFailed
from tests.waiting import first_prompt, in_state, until


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    async with durable.open(place, durability="process") as engine:
        yield engine


def double(n: int) -> int:
    if n == 13:
        raise ValueError("13 is unlucky")
    return 2 * n


@durable.function
async def doubles(ctx: durable.Context, n: int) -> int:
    return await ctx.run(double, n)


@durable.function
async def family(ctx: durable.Context) -> list[Any]:
    async def nested(ctx: durable.Context) -> object:
        child = ctx.start(doubles, 3)
        return [child.id, await child]

    first, second = ctx.start(doubles, 1), ctx.start(doubles, 13)
    named = ctx.start(doubles, 5, id="named")
    got: list[Any] = [first.id, await first.result(), await first]
    try:
        await second
    except ValueError as error:
        got.append(str(error))
    inner = await ctx.run(nested)  # type: ignore[call-overload]
    return [*got, inner, named.id, await named]


async def test_children_give_values_and_failures(anywhere: durable.Engine) -> None:
    execution = await anywhere.start(family, id="family")
    first, one, again, failure, nested, named, five = await execution.result(10)
    assert (first, one, again) == ("family@@1", 2, 2)
    assert "13 is unlucky" in failure
    assert nested == ["family@@4-1", 6]
    assert (named, five) == ("named", 10)
    assert await (await anywhere.get("family@@1")).result(10) == 2
    assert await (await anywhere.get("family@@2")).state() == "failed"


@durable.function
async def asks(ctx: durable.Context, question: str) -> str:
    try:
        answer: str = await ctx.ask(question)
        return answer
    finally:
        await ctx.run(cleaned.append, question)


cleaned: list[str] = []


@durable.function
async def waits(ctx: durable.Context, close: str) -> str:
    child = ctx.start(asks, f"child {close}", parent_close=close)  # type: ignore[arg-type]
    if await ctx.ask(f"parent {close}") == "wait":
        return await child
    return "without it"


async def test_a_parent_that_ends_cancels_its_children_unless_they_are_detached(engine: durable.Engine) -> None:
    cleaned.clear()
    for close, state in (("cancel", "cancelled"), ("detach", "waiting")):
        parent = await engine.start(waits, close, id=close)
        await first_prompt(engine, f"child {close}")
        child = await engine.get(f"{close}@@1")
        await engine.answer((await first_prompt(engine, f"parent {close}")).id, "go")
        assert await parent.result(10) == "without it"
        await in_state(engine, child, state)
    assert cleaned == ["child cancel"]
    await engine.answer((await first_prompt(engine, "child detach")).id, "later")
    assert await child.result(10) == "later"


@durable.function
async def tree(ctx: durable.Context, depth: int) -> list[str]:
    try:
        if depth:
            return [*await ctx.start(tree, depth - 1), str(depth)]
        await ctx.ask("leaf")
        return []
    finally:
        await ctx.run(cleaned.append, str(depth))


async def test_cancelling_a_parent_cancels_its_tree_clean_up_included(anywhere: durable.Engine) -> None:
    cleaned.clear()
    root = await anywhere.start(tree, 3, id="tree")
    await first_prompt(anywhere, "leaf")
    await root.cancel("enough")
    ids = ["tree", "tree@@1", "tree@@1@@1", "tree@@1@@1@@1"]
    for id in ids:
        execution = await anywhere.get(id)
        with pytest.raises(durable.ExecutionCancelled):
            await execution.result(10)
    assert sorted(cleaned) == ["0", "1", "2", "3"]
    assert await anywhere.prompts() == []


@durable.function
async def cancels(ctx: durable.Context) -> list[object]:
    child = ctx.start(asks, "cancels")
    await ctx.ask("now?")
    done = [await child.cancel("no need"), await child.cancel("again")]
    try:
        await child
    except durable.ExecutionCancelled as error:
        done.append("no need" in str(error))
    return [*done, await child.cancel()]


async def test_a_parent_cancels_a_child(engine: durable.Engine) -> None:
    cleaned.clear()
    execution = await engine.start(cancels, id="cancels")
    await first_prompt(engine, "cancels")
    await engine.answer((await first_prompt(engine, "now?")).id, "yes")
    *done, last = await execution.result(10)
    assert (done, last) == ([True, True, True], False)
    assert cleaned == ["cancels"]


@durable.function
async def attaches(ctx: durable.Context, n: int) -> int:
    return await ctx.start(doubles, n, id="shared")


async def test_a_given_id_is_one_execution_and_a_conflict_with_other_arguments(engine: durable.Engine) -> None:
    one, two = await engine.start(attaches, 4, id="one"), await engine.start(attaches, 4, id="two")
    assert [await one.result(10), await two.result(10)] == [8, 8]
    other = await engine.start(attaches, 5, id="other")
    with pytest.raises(durable.ExecutionError, match="exists with another function or other arguments"):
        await other.result(10)


@durable.function
async def limited(ctx: durable.Context) -> str:
    try:
        await ctx.options(timeout=0.05).start(asks, "too late")
    except durable.ExecutionTimedOut:
        return "timed out"
    return "answered"


async def test_a_child_has_a_deadline_of_its_own(engine: durable.Engine) -> None:
    execution = await engine.start(limited, id="limited")
    assert await execution.result(10) == "timed out"
    assert await (await engine.get("limited@@1")).state() == "timed_out"


@durable.function
async def stands_by(ctx: durable.Context) -> object:
    return await ctx.signal("go")


@durable.function
async def waits_in_vain(ctx: durable.Context) -> object:
    return await ctx.options(timeout=0.2).start(stands_by)


async def test_a_child_that_times_out_with_what_it_waits_for_has_ended(place: str) -> None:
    """Both have the same deadline. What it waited for must not line it up again."""
    events: list[durable.Event] = []
    async with durable.open(place, observer=events.append) as engine:
        execution = await engine.start(waits_in_vain, id="vain")
        with pytest.raises(durable.ExecutionTimedOut):
            await execution.result(20)
        assert await engine.drain(20)
        assert await (await engine.get("vain@@1")).state() == "timed_out"
        assert [each for each in events if isinstance(each, AttemptFailed)] == []


@durable.function
async def maps(ctx: durable.Context, items: list[int], concurrency: int, least: int | None, errors: str) -> list[str]:
    found = await ctx.map(doubles, items, concurrency=concurrency, min_successful=least, on_failure=errors)  # type: ignore[arg-type]
    return [str(each) for each in [*found, *await ctx.map(double, [20])]]


async def test_map_over_children_and_steps(engine: durable.Engine) -> None:
    whole = await engine.start(maps, list(range(30, 50)), 3, None, "raise", id="whole")
    assert await whole.result(20) == [str(2 * n) for n in (*range(30, 50), 20)]
    some = await engine.start(maps, [1, 13, 2], 2, None, "return", id="some")
    first, failed, third, _ = await some.result(20)
    assert (first, third) == ("2", "4")
    assert "unlucky" in failed
    enough = await engine.start(maps, [1, 13, 2], 2, 2, "raise", id="enough")
    assert "unlucky" in (await enough.result(20))[1]
    for name, least, kind in (("raises", None, ValueError), ("few", 3, ExceptionGroup)):
        execution = await engine.start(maps, [1, 13, 2], 1, least, "raise", id=name)
        with pytest.raises(kind):
            await execution.result(20)


@durable.function
async def goes_through_sets(ctx: durable.Context) -> list[str]:
    letters = set("abcdefghijklmnopqrstuvwxyz")
    found: list[str] = await ctx.map(str.upper, letters)
    answer = ctx.choose("Which?", letters, to=letters)
    return [*found, await answer]


async def test_what_is_given_as_a_set_has_the_same_order_in_every_process(engine: durable.Engine) -> None:
    """The order of a set of texts is another one in each process: a replay would ask another question."""
    execution = await engine.start(goes_through_sets, id="sets")
    prompt = (await first_prompt(engine, "Which?")).prompt
    in_order = list("abcdefghijklmnopqrstuvwxyz")
    assert prompt.choices == list(prompt.to) == in_order
    await engine.answer("exec:sets:input:1", "q", by="q")
    assert await execution.result(10) == [*(letter.upper() for letter in in_order), "q"]


async def test_who_waits_for_a_parent_hears_that_its_child_is_halted(engine: durable.Engine) -> None:
    root = await engine.start(tree, 2, id="halts")
    await first_prompt(engine, "leaf")

    async def waiting() -> bool:
        return [await (await engine.get(id)).state() for id in ("halts", "halts@@1")] == ["waiting"] * 2

    await until(engine, waiting)
    waiter = asyncio.ensure_future(root.result(20))
    await engine.interrupt("halts@@1@@1")
    with pytest.raises(durable.Halted) as told:
        await waiter
    assert told.value.execution_id == "halts@@1@@1"
    await engine.resume("halts@@1@@1")
    await engine.answer((await first_prompt(engine, "leaf")).id, "x")
    assert await root.result(10) == ["1", "2"]
