"""Changed code: patches, their end of life, versions side by side, what a replay check says (specs/versions.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from tests.waiting import in_state


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    async with durable.open(place, durability="process") as engine:
        yield engine


DONE: list[str] = []


async def act(name: str) -> str:
    DONE.append(name)
    return name


BODY: dict[str, Any] = {}
"""The code of `changing` today, by its name."""


@durable.function
async def changing(ctx: durable.Context, name: str = "body") -> Any:
    return await BODY[name](ctx)


async def plain(ctx: durable.Context) -> list[str]:
    out = [await ctx.run(act, "one")]
    await ctx.signal("go")
    return [*out, await ctx.run(act, "old"), await ctx.run(act, "last")]


async def patched(ctx: durable.Context) -> list[str]:
    out = [await ctx.run(act, "one")]
    if ctx.patched("extra"):
        out.append(await ctx.run(act, "extra"))
    await ctx.signal("go")
    out.append(await ctx.run(act, "new" if ctx.patched("later") else "old"))
    return [*out, await ctx.run(act, "last")]


async def retired(ctx: durable.Context) -> list[str]:
    out = [await ctx.run(act, "one"), await ctx.run(act, "extra")]
    await ctx.signal("go")
    return [*out, await ctx.run(act, "new"), await ctx.run(act, "last")]


@pytest.fixture(autouse=True)
def fresh() -> None:
    DONE.clear()
    BODY.clear()


async def waiting(engine: durable.Engine, id: str, code: Any) -> durable.Execution[Any]:
    BODY["body"] = code
    execution = await engine.start(changing, id=id)
    await in_state(engine, execution, "waiting")
    return execution


async def test_what_went_the_old_way_goes_on_with_it_and_what_is_new_takes_the_new_one(
    anywhere: durable.Engine,
) -> None:
    old = await waiting(anywhere, "old", plain)
    new = await waiting(anywhere, "new", patched)
    for each in (old, new):
        await each.signal("go")
    # `later` was not asked for before the signal came: nothing recorded went the old way there
    assert await old.result(20) == ["one", "new", "last"]
    assert await new.result(20) == ["one", "extra", "new", "last"]
    assert sorted(DONE) == sorted(["one", "new", "last", "one", "extra", "new", "last"])


async def test_the_end_of_a_patch_is_to_forget_it(engine: durable.Engine) -> None:
    execution = await waiting(engine, "marked", patched)
    BODY["body"] = retired
    await execution.signal("go")
    assert await execution.result(10) == ["one", "extra", "new", "last"]
    again = await engine.fork_execution("marked", step=6, new_id="again")  # behind `later`'s own record
    assert await again.result(10) == ["one", "extra", "new", "last"]
    assert DONE.count("extra") == 1


async def loops(ctx: durable.Context) -> list[bool]:
    found = []
    for n in range(6):
        found.append("loop" in BODY and ctx.patched("loop"))
        await ctx.run(act, str(n))
        if n == 2:
            await ctx.signal("go")
    return found


async def test_an_execution_keeps_the_answer_that_it_got_first(engine: durable.Engine) -> None:
    execution = await waiting(engine, "loop", loops)
    BODY["loop"] = True
    await execution.signal("go")
    assert await execution.result(10) == [False] * 6, "the replay of the first rounds went the old way"
    fresh_one = await waiting(engine, "fresh", loops)
    await fresh_one.signal("go")
    assert await fresh_one.result(10) == [True] * 6


async def branches(ctx: durable.Context) -> list[str]:
    import asyncio

    async def branch(n: int) -> str:
        name = f"p{n}" if ctx.patched(f"branch {n % 2}") else f"q{n}"
        return await ctx.run(act, name)

    @durable.function
    async def nested(ctx: durable.Context) -> str:
        return await ctx.run(act, "inside" if ctx.patched("branch 0") else "old inside")

    found = await asyncio.gather(*(branch(n) for n in range(3)), ctx.run(nested))
    await ctx.signal("go")
    return [*found, str(ctx.patched("branch 1"))]


async def test_patches_in_branches_and_nested_functions(engine: durable.Engine) -> None:
    execution = await waiting(engine, "branches", branches)
    await execution.signal("go")
    assert await execution.result(10) == ["p0", "p1", "p2", "inside", "True"]
    BODY["body"] = unnamed
    refused = await engine.start(changing, id="unnamed")
    with pytest.raises(durable.ExecutionError, match="1 to 200"):
        await refused.result(10)


async def unnamed(ctx: durable.Context) -> bool:
    return ctx.patched("")


# -- versions side by side --------------------------------------------------------------------------------------------


@durable.function(name="billing", version=1)
async def billing_1(ctx: durable.Context) -> str:
    await ctx.signal("go")
    return await ctx.run(act, "bill 1")


@durable.function(name="billing", version=2)
async def billing_2(ctx: durable.Context) -> str:
    await ctx.signal("go")
    return await ctx.run(act, "bill 2") + await ctx.run(act, "mail")


async def test_each_version_runs_what_it_began(engine: durable.Engine) -> None:
    executions = [await engine.start(each, id=f"v{n}") for n, each in enumerate((billing_1, billing_2), 1)]
    for each in executions:
        await each.signal("go")
    assert [await each.result(10) for each in executions] == ["bill 1", "bill 2mail"]
    with pytest.raises(durable.Conflict, match="billing@1"):
        await engine.start(billing_2, id="v1")


# -- replay checks ----------------------------------------------------------------------------------------------------


async def reordered(ctx: durable.Context) -> list[str]:
    return [await ctx.run(act, "other"), await ctx.run(act, "one")]


async def shorter(ctx: durable.Context) -> list[str]:
    return [await ctx.run(act, "one")]


async def raises(ctx: durable.Context) -> list[str]:
    out = [await ctx.run(act, "one")]
    await ctx.signal("go")
    raise ValueError(out)


async def test_a_check_says_what_a_replay_would_and_does_nothing(anywhere: durable.Engine) -> None:
    await waiting(anywhere, "open", plain)
    before = [row.id for row in await anywhere.store.reads.children("open")]
    DONE.clear()
    for code, verdict, parts, old in (
        (plain, "replays", "", []),
        (patched, "replays", "", ["extra"]),
        (raises, "replays", "", []),  # what it does afterwards is its own business
        (reordered, "differs", "'act'", []),
        (shorter, "differs", "the function ended", []),
        (retired, "differs", "signal", []),
    ):
        BODY["body"] = code
        found = await anywhere.check_replay("open")
        assert (found.verdict, found.old_patches) == (verdict, old), (code, found)
        assert parts in found.reason, found
    assert DONE == []
    assert [row.id for row in await anywhere.store.reads.children("open")] == before
    row = await anywhere.store.reads.get_execution("open")
    assert row is not None
    assert row.state == "waiting"
    assert [(each.id, each.ok) for each in await anywhere.check_replays()] == [("open", False)]


@durable.function(name="narrowed")
async def takes_two(ctx: durable.Context, one: int, two: int = 0) -> None:
    await ctx.signal("go")


@durable.function(name="narrowed", version=2)
async def takes_one(ctx: durable.Context, one: int) -> None:
    await ctx.signal("go")


async def nests(ctx: durable.Context) -> list[Any]:
    import asyncio

    @durable.function
    async def inner(ctx: durable.Context, n: int) -> Any:
        await ctx.run(act, f"in {n}")
        return await ctx.signal(f"go {n}") if n else n

    await ctx.stream("s").write("begin")
    await ctx.publish(state="nests")
    found = await asyncio.gather(ctx.run(inner, 0), ctx.run(inner, 1), ctx.sleep(1000), ctx.ask("ok?"))
    return [*found]


async def nests_otherwise(ctx: durable.Context) -> list[Any]:
    @durable.function
    async def inner(ctx: durable.Context, n: int) -> Any:
        return await ctx.signal(f"go {n}")

    await ctx.stream("s").write("begin")
    await ctx.publish(state="nests")
    return [await ctx.run(inner, 0)]


async def test_a_check_of_nested_functions_and_of_other_versions(engine: durable.Engine) -> None:
    await waiting(engine, "nests", nests)
    assert (await engine.check_replay("nests")).verdict == "replays"
    BODY["body"] = nests_otherwise
    assert (await engine.check_replay("nests")).verdict == "differs"
    execution = await engine.start(takes_two, 1, id="narrow")
    await in_state(engine, execution, "waiting")
    assert (await engine.check_replay("narrow", takes_one)).verdict == "replays"
    other = await engine.start(takes_two, 1, 2, id="wide")
    await in_state(engine, other, "waiting")
    found = await engine.check_replay("wide", takes_one)
    assert found.verdict == "differs"
    assert "BadArguments" in found.reason
    with pytest.raises(durable.NotFound):
        await engine.check_replay("nowhere")


@durable.function(name="shipping")
async def ships(ctx: durable.Context) -> str:
    await ctx.signal("go")
    return await ctx.run(act, "ship 1")


@durable.function(name="shipping", version=2)
async def ships_faster(ctx: durable.Context) -> str:
    await ctx.signal("go")
    return await ctx.run(act, "ship 2")


@durable.function(name="shipping", version=3)
async def asks_before(ctx: durable.Context) -> str:
    await ctx.ask("ok?")
    return "shipped"


async def test_a_waiting_execution_goes_on_as_another_version_where_that_replays_it(anywhere: durable.Engine) -> None:
    execution = await anywhere.start(ships, id="ship")
    await in_state(anywhere, execution, "waiting")
    with pytest.raises(durable.Conflict, match="would not be replayed by shipping@3"):
        await anywhere.upgrade("ship", asks_before)
    assert (await anywhere.upgrade("ship", ships_faster)).function == "shipping@2"
    await execution.signal("go")
    assert await execution.result(20) == "ship 2"
    assert (await execution.info()).function == "shipping@2"
    with pytest.raises(durable.Conflict, match="has ended"):
        await anywhere.upgrade("ship", ships_faster)
