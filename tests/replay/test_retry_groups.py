"""Retries of what failed by several failures, or by one that came from another: all of them are begun again, and
nothing else (specs/fork.md)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

import durable
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.executions.exported_record import export
from durable.executions.record_fork import RecordFork
from tests.waiting import first_prompt

performed: list[str] = []
broken: set[str] = set()
cases: dict[str, Callable[[durable.Context], Awaitable[Any]]] = {}
ALL = {"a", "b", "c"}


@pytest.fixture
async def engine(place: str) -> AsyncIterator[durable.Engine]:
    performed.clear()
    broken.clear()
    async with durable.open(place, durability="process") as engine:
        yield engine


def act(name: str) -> str:
    performed.append(name)
    if name in broken:
        raise ValueError("it is broken")  # all have the same text: they are told apart by where they failed
    return name


@durable.function
async def child(ctx: durable.Context, name: str) -> str:
    return await ctx.run(act, name)


@durable.function
async def does(ctx: durable.Context, case: str) -> Any:
    return await cases[case](ctx)


def case(fn: Callable[[durable.Context], Awaitable[Any]]) -> Callable[[durable.Context], Awaitable[Any]]:
    cases[fn.__name__] = fn
    return fn


@case
async def task_group(ctx: durable.Context) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.run(act, name)) for name in "abc"]
    return [task.result() for task in tasks]


@case
async def group_of_all(ctx: durable.Context) -> list[Any]:
    found = await asyncio.gather(*(ctx.run(act, name) for name in "abc"), return_exceptions=True)
    failures = [each for each in found if isinstance(each, Exception)]
    if failures:
        raise ExceptionGroup("some failed", failures)
    return found


@case
async def groups_in_groups(ctx: durable.Context) -> list[Any]:
    first = await ctx.run(act, "a")
    found = await asyncio.gather(*(ctx.run(act, name) for name in "bc"), return_exceptions=True)
    failures = [each for each in found if isinstance(each, Exception)]
    if failures:
        inner = ExceptionGroup("inner", failures[:1])
        raise ExceptionGroup("outer", [inner, *([ExceptionGroup("other", failures[1:])] if failures[1:] else [])])
    return [first, *found]


@case
async def from_a_group(ctx: durable.Context) -> list[Any]:
    try:
        return await group_of_all(ctx)
    except ExceptionGroup as group:
        raise LookupError("none") from group


@case
async def wrapped(ctx: durable.Context) -> list[str]:
    found = [await ctx.run(act, "a")]
    try:
        found.append(await ctx.run(act, "b"))
    except ValueError as error:
        raise LookupError("told by b") from error
    return [*found, await ctx.run(act, "c")]


@case
async def hidden(ctx: durable.Context) -> list[str]:
    found = [await ctx.run(act, "a")]
    try:
        found.append(await ctx.run(act, "b"))
    except ValueError:
        raise LookupError("told by b") from None
    return [*found, await ctx.run(act, "c")]


@case
async def nested(ctx: durable.Context) -> list[str]:
    async def inner(ctx: durable.Context) -> list[Any]:
        return await group_of_all(ctx)

    try:
        return await ctx.run(inner)  # type: ignore[call-overload]
    except ExceptionGroup as error:
        raise LookupError("nested") from error


@case
async def mapped_children(ctx: durable.Context) -> list[str]:
    return await ctx.map(child, ["a", "b", "c"], min_successful=2)


@case
async def gathered(ctx: durable.Context) -> list[str]:
    return list(await asyncio.gather(*(ctx.run(act, name) for name in "abc")))


WRAPS = ["wrapped", "hidden"]
GROUPS = ["group_of_all", "groups_in_groups", "from_a_group", "nested", "mapped_children"]


async def failed(engine: durable.Engine, name: str) -> None:
    with pytest.raises(durable.ExecutionError):
        await (await engine.start(does, name, id="one")).result(20)
    performed.clear()
    broken.clear()


@pytest.mark.parametrize("name", GROUPS)
async def test_what_made_the_group_is_begun_again_and_nothing_else(engine: durable.Engine, name: str) -> None:
    broken.update("bc")
    await failed(engine, name)
    retry = await engine.retry("one")
    assert await retry.result(20) == ["a", "b", "c"]
    assert sorted(performed) == ["b", "c"]


@pytest.mark.parametrize("name", WRAPS)
async def test_an_error_that_another_was_raised_from_is_begun_again(engine: durable.Engine, name: str) -> None:
    broken.add("b")
    await failed(engine, name)
    assert await (await engine.retry("one")).result(20) == ["a", "b", "c"]
    assert performed == ["b", "c"]


@pytest.mark.parametrize("name", ["gathered", "task_group"])
async def test_what_failed_beside_it_and_was_not_heard_of_is_begun_again(engine: durable.Engine, name: str) -> None:
    broken.update("bc")
    await failed(engine, name)
    assert await (await engine.retry("one")).result(20) == ["a", "b", "c"]
    assert sorted(performed) == ["b", "c"]


@case
async def catches(ctx: durable.Context) -> list[str]:
    found = []
    for name in "ab":
        try:
            found.append(await ctx.run(act, name))
        except ValueError:
            found.append("caught")
    return [*found, await ctx.run(act, "c")]


@case
async def catches_some(ctx: durable.Context) -> list[str]:
    both = await asyncio.gather(ctx.run(act, "a"), ctx.run(act, "b"), return_exceptions=True)
    return [*(each if isinstance(each, str) else "caught" for each in both), await ctx.run(act, "c")]


@case
async def another_way(ctx: durable.Context) -> list[str]:
    try:
        return [await ctx.run(act, "a")]
    except ValueError:
        found = await ctx.run(act, "b")
        async with asyncio.TaskGroup() as group:  # what it raises has a's failure as its context
            task = group.create_task(ctx.run(act, "c"))
        return ["caught", found, task.result()]


@case
async def its_own(ctx: durable.Context) -> list[str]:
    found = await catches(ctx)
    if "own" in broken:
        raise LookupError("it is broken")
    return found


@pytest.mark.parametrize("name", ["catches", "catches_some", "another_way", "its_own"])
async def test_a_failure_that_was_caught_is_not_begun_again(engine: durable.Engine, name: str) -> None:
    broken.update({"a", "own"} if name == "its_own" else {"a", "c"})
    await failed(engine, name)
    assert await (await engine.retry("one")).result(20) == ["caught", "b", "c"]
    assert performed == ([] if name == "its_own" else ["c"])


@case
async def asks_meanwhile(ctx: durable.Context) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in (ctx.ask("sure?"), ctx.start(child, "b").result())]
    return [task.result() for task in tasks]


async def test_what_was_cancelled_for_the_group_is_begun_again(engine: durable.Engine) -> None:
    broken.add("b")
    await failed(engine, "asks_meanwhile")
    retry = await engine.retry("one")
    await engine.answer((await first_prompt(engine)).id, "yes")
    assert await retry.result(20) == ["yes", "b"]
    assert performed == ["b"]


@durable.function
async def named_failure(ctx: durable.Context) -> list[str]:
    begun = ctx.start(child, "b", id="named")
    return [begun.id, await begun]


async def test_a_child_of_a_given_id_begins_anew_under_another(engine: durable.Engine) -> None:
    broken.add("b")
    with pytest.raises(durable.ExecutionError, match="it is broken"):
        await (await engine.start(named_failure, id="one")).result(20)
    with pytest.raises(durable.ExecutionError, match="it is broken"):
        await (await engine.retry("one")).result(20)
    broken.clear()
    assert await (await engine.retry("one-retry-1")).result(20) == ["one-retry-2@@1", "b"]
    again = await engine.start(named_failure, id="other")
    with pytest.raises(durable.ExecutionError, match="it is broken"):
        await again.result(20)
    assert performed == ["b", "b", "b"], "another start of the given id finds what that came to"


@case
async def by_asyncio(ctx: durable.Context) -> Any:
    async with asyncio.timeout(0.3):
        return await ctx.signal("go")


@case
async def by_anyio(ctx: durable.Context) -> Any:
    with anyio.fail_after(0.3):
        return await ctx.signal("go")


@case
async def by_signal(ctx: durable.Context) -> Any:
    return await ctx.signal("go", timeout=0.3)


@durable.function
async def awaits_go(ctx: durable.Context) -> Any:
    return await ctx.signal("go")


@case
async def by_child(ctx: durable.Context) -> Any:
    return await ctx.options(timeout=0.3).start(awaits_go, id=None)


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("by_asyncio", ["one.1", "one.2"]),
        ("by_anyio", ["one.1", "one.2"]),
        ("by_signal", ["one.1"]),
        ("by_child", ["one.1"]),
    ],
)
async def test_a_wait_that_took_too_long_has_its_time_again(
    engine: durable.Engine, name: str, again: list[str]
) -> None:
    execution = await engine.start(does, name, id="one")
    with pytest.raises((TimeoutError, durable.ExecutionError)):
        await execution.result(20)
    chosen = RecordFork(await export(engine.store, await execution.info()))
    chosen.up_to_failure()
    assert chosen.begun_again == again
    now = now_ms() + 3_600_000
    limits = [
        int(each["tags"].get("durable:until", each["timeoutAt"]))
        for each in chosen.document("two", now)["promises"][1:]
        if each["timeoutAt"] < TIME_MAX_MS or "durable:until" in each["tags"]
    ]
    assert len(limits) == 1
    assert abs(limits[0] - now) < 60_000, "it has the 0.3 s again, counted from then on"


@case
async def fails_twice(ctx: durable.Context) -> list[str]:
    try:
        first = await ctx.run(act, "a")
    except ValueError:
        first = "caught"
    return [first, await ctx.run(act, "b")]


async def test_a_failure_that_names_no_operations_is_that_of_the_newest_like_it(engine: durable.Engine) -> None:
    broken.update("ab")
    await failed(engine, "fails_twice")
    record = await export(engine.store, await (await engine.get("one")).info())
    data = json.loads(base64.b64decode(record["promises"][0]["value"]["data"]))
    message = json.loads(data["message"])
    assert message.pop("operations") == {"failed": [2], "caught": [1]}
    data["message"] = json.dumps(message)
    record["promises"][0]["value"]["data"] = base64.b64encode(json.dumps(data).encode()).decode()
    chosen = RecordFork(record)
    chosen.up_to_failure()
    assert chosen.begun_again == ["one.2"]
