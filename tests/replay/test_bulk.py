"""One action on many executions, as one call on an engine (docs/search.md)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

import durable
from tests.waiting import in_state

broken: set[str] = set()


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    broken.clear()
    async with durable.open(place, durability="process") as engine:
        yield engine


def act(name: str) -> str:
    if name in broken:
        raise ValueError(f"{name} is broken")
    return name


@durable.function
async def order(ctx: durable.Context, name: str) -> list[str]:
    return [await ctx.run(act, "first"), await ctx.run(act, name)]


@durable.function
async def waits(ctx: durable.Context) -> Any:
    return await ctx.signal("go")


async def settled(engine: durable.Engine, *names: str) -> None:
    """Run an order of each name, which is its id; those that are broken fail."""
    for name in names:
        execution = await engine.start(order, name, id=name, tags={"customer": "ana", "kind": "order"})
        if name in broken:
            with pytest.raises(ValueError, match="is broken"):
                await execution.result(20)
        else:
            await execution.result(20)


def shown(outcome: Any) -> list[tuple[str, bool]]:
    return [(each.id, each.able) for each in outcome.items]


async def test_what_failed_is_retried_after_a_look(engine: durable.Engine, place: str) -> None:
    broken.update({"b", "c"})
    await settled(engine, "a", "b", "c")
    meant: dict[str, Any] = {"tags": {"customer": "ana", "kind": "order"}, "function": "order"}
    would = await engine.bulk("retry", **meant, dry_run=True)
    assert shown(would) == [("c", True), ("b", True), ("a", False)]
    assert [each.made for each in would.items] == ["c-retry-1", "b-retry-1", None]
    assert "begins again: b.2" in would.items[1].note
    assert len(await engine.executions()) == 3, "nothing is done yet"
    assert [row.id for row in await engine.executions(tags=meant["tags"], state="failed")] == ["c", "b"]
    if place.startswith("http"):
        async with durable.Client(place, os.environ["DURABLE_TOKEN"]) as client:
            assert await client.bulk("retry", **meant, dry_run=True) == would, "over HTTP it is the same"
    broken.clear()
    first = await engine.bulk("retry", state="failed", limit=1)
    assert (shown(first), first.dry_run) == ([("c", True)], False)
    rest = await engine.bulk("retry", state="failed", limit=1, cursor=first.next)
    assert shown(rest) == [("b", True)]
    for name in "bc":
        assert await (await engine.get(f"{name}-retry-1")).result(20) == ["first", name]
    for dry_run in (True, False):
        again = await engine.bulk("retry", state="failed", dry_run=dry_run)
        assert shown(again) == [("c", False), ("b", False)], "their work was done by their retries"
        assert again.items[0].note.startswith("c was retried as c-retry-1, which is completed")
    assert len(await engine.executions()) == 5


@durable.function
async def batch(ctx: durable.Context, names: list[str]) -> list[list[str]]:
    return list(await asyncio.gather(*[ctx.start(order, name, id=name) for name in names]))


async def test_of_a_failed_tree_the_root_is_retried(engine: durable.Engine) -> None:
    broken.update({"x", "y"})
    with pytest.raises(ValueError, match="is broken"):
        await (await engine.start(batch, ["x", "y"], id="all")).result(20)
    for name in "xy":
        await in_state(engine, await engine.get(name), "failed", "cancelled")
    left = [await engine.bulk("retry", state=state) for state in ("failed", "cancelled")]
    changes = {each.id: each for outcome in left for each in outcome.items}
    assert {name: each.made for name, each in changes.items()} == {"all": "all-retry-1", "x": None, "y": None}
    assert changes["x"].note == "x is a child of all, which is failed: retry that one"
    assert (await engine.retry("x")).id == "x-retry-1", "whoever names it means it"


async def test_of_two_that_retry_at_once_one_does(engine: durable.Engine, place: str) -> None:
    broken.add("b")
    await settled(engine, "b")
    async with durable.open(place, serve=False) as other:
        tries = [each.retry("b") for _ in range(3) for each in (engine, other)]
        found = await asyncio.gather(*tries, return_exceptions=True)
    (made,) = [each for each in found if isinstance(each, durable.Execution)]
    refused = [each for each in found if isinstance(each, durable.Conflict)]
    assert len(refused) == 5
    assert [str(each) for each in refused if "was retried as" not in str(each)] == []
    broken.clear()
    await in_state(engine, await engine.get(made.id), "completed", "failed")
    await engine.delete(made.id)
    assert (await engine.retry("b")).id == "b-retry-1", "where the retry is forgotten it can be retried again"


async def test_many_are_cancelled_resumed_tagged_forked_and_deleted(engine: durable.Engine) -> None:
    for n in range(4):
        await in_state(engine, await engine.start(waits, id=f"w{n}"), "waiting")
    for n in range(4):
        assert await engine.interrupt(f"w{n}")
    resumed = await engine.bulk("resume", ids=["w3", "exec:w2", "gone", "w3"])
    assert shown(resumed) == [("w3", True), ("w2", True), ("gone", False)]
    tagged = await engine.bulk("tag", state="interrupted", set={"seen": "yes"})
    assert shown(tagged) == [("w1", True), ("w0", True)]
    assert [row.id for row in await engine.executions(tag=("seen", "yes"))] == ["w1", "w0"]
    forked = await engine.bulk("fork", tags={"seen": "yes"}, step=1)
    assert [each.made for each in forked.items] == ["w1-fork-1", "w0-fork-1"]
    rewound = await engine.bulk("rewind", ids=["w0"], step=1)
    assert [each.made for each in rewound.items] == ["w0-rewind-1"]
    cancelled = await engine.bulk("cancel", function="waits", reason="enough")
    assert sorted(each.id for each in cancelled.items if each.able) == sorted(
        ["w1", "w2", "w3", "w0-fork-1", "w1-fork-1", "w0-rewind-1"]
    )
    with pytest.raises(durable.ExecutionCancelled, match="enough"):
        await (await engine.get("w3")).result(20)
    deleted, cursor = list[str](), None
    while cursor is not None or not deleted:
        outcome = await engine.bulk("delete", function="waits", limit=2, cursor=cursor)
        deleted += [each.id for each in outcome.items if each.able]
        cursor = outcome.next
    assert len(deleted) == 7
    assert await engine.executions() == [], "also behind what a page before has deleted"


async def test_wrong_use_says_what_is_wrong(engine: durable.Engine) -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ("stop", {"state": "failed"}, "the action is one of cancel, resume"),
        ("cancel", {}, "name ids, or choose by"),
        ("cancel", {"text": " "}, "name ids, or choose by"),
        ("cancel", {"ids": ["a"], "state": "failed"}, "name ids, or choose by state; not both"),
        ("cancel", {"ids": "a"}, "ids is a list"),
        ("cancel", {"state": "dead"}, "state is one of"),
        ("cancel", {"state": "failed", "limit": 0}, "limit is a whole number from 1"),
        ("cancel", {"state": "failed", "cursor": "made up"}, "cursor is none"),
        ("cancel", {"state": "failed", "set": {"a": "b"}}, "cancel takes no 'set'"),
        ("retry", {"state": "failed", "step": 1}, "retry takes no 'step'"),
        ("fork", {"state": "failed"}, "fork takes a step"),
        ("rewind", {"state": "failed", "step": 0}, "rewind takes a step"),
        ("tag", {"state": "failed"}, "set names the tags"),
        ("tag", {"state": "failed", "tags": "a=b", "set": {"a": "b"}}, "tag is a name and a value"),
    ]
    for action, given, told in wrong:
        with pytest.raises(durable.BadArguments, match=told):
            await engine.bulk(action, **given)
