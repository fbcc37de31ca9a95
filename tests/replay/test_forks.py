"""Forks and retries: what is before is not done again, what failed is (specs/fork.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.clock import now_ms
from durable.core.errors import StoreRefused
from durable.engine.views import ServedFunctions, execution_view
from durable.executions.exported_record import export
from durable.executions.forking import fork, rewind
from durable.executions.record_fork import RecordFork
from tests.waiting import first_prompt, in_state

performed: list[str] = []
broken: set[str] = set()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    performed.clear()
    broken.clear()
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    performed.clear()
    broken.clear()
    async with durable.open(place, durability="process") as engine:
        yield engine


def act(name: str) -> str:
    performed.append(name)
    if name in broken:
        raise ValueError(f"{name} is broken")
    return name


@durable.function
async def child(ctx: durable.Context, name: str) -> str:
    return await ctx.run(act, name)


@durable.function
async def works(ctx: durable.Context) -> list[str]:
    async def nested(ctx: durable.Context) -> list[str]:
        return [await ctx.run(act, "n1"), await ctx.run(act, "n2"), str(ctx.random.random())]

    got = [await ctx.run(act, "a"), str(ctx.uuid()), await ctx.ask("question?")]
    inner, mapped, started = await asyncio.gather(
        ctx.run(nested),  # type: ignore[call-overload]
        ctx.map(act, ["m1", "m2", "m3"]),
        ctx.map(child, ["c1", "c2"]),
    )
    try:
        got.append(await ctx.run(act, "b"))
    except ValueError:
        got.append(await ctx.run(act, "after b"))
        raise
    return [*got, *inner, *mapped, *started, await ctx.run(act, "z"), ctx.now().isoformat()[:10]]


async def run(engine: durable.Engine, id: str) -> durable.Execution[list[str]]:
    execution = await engine.start(works, id=id)
    await engine.answer((await first_prompt(engine)).id, "answer")
    return execution


STEPS = {"a", "n1", "n2", "m1", "m2", "m3", "c1", "c2", "b", "z"}


async def test_a_retry_performs_what_failed_and_nothing_else(anywhere: durable.Engine) -> None:
    broken.add("b")
    execution = await run(anywhere, "one")
    with pytest.raises(ValueError, match="b is broken"):
        await execution.result(10)
    assert set(performed) == STEPS - {"z"} | {"after b"}
    performed.clear()
    broken.clear()
    retry = await anywhere.retry("one")
    assert retry.id == "one-retry-1"
    found = await retry.result(10)
    assert performed == ["b", "z"]
    assert found[0] == "a"
    assert found[2:5] == ["answer", "b", "n1"]
    assert await anywhere.prompts() == []
    with pytest.raises(durable.Conflict, match="what is retried has failed"):
        await anywhere.retry("one-retry-1")
    with pytest.raises(durable.Conflict, match="one was retried as one-retry-1, which is completed: `durable fork"):
        await anywhere.retry("one")
    view = execution_view(await (await anywhere.get("one")).info(), ServedFunctions(frozenset(), {}))
    assert (view.retried_as, view.forked_from) == ("one-retry-1", "")


@pytest.mark.parametrize(("name", "again"), [("n2", ["n2"]), ("m2", ["m2"]), ("c1", ["c1"])])
async def test_a_retry_of_a_failure_among_branches(engine: durable.Engine, name: str, again: list[str]) -> None:
    broken.add(name)
    execution = await run(engine, "one")
    with pytest.raises(ValueError, match="is broken"):
        await execution.result(10)
    done = set(performed) - {name}
    performed.clear()
    broken.clear()
    retry = await engine.retry("one", new_id="again")
    assert retry.id == "again"
    await retry.result(10)
    assert set(performed) >= set(again)
    assert set(performed) | done == STEPS
    # What had ended before the failure is not performed again; what was under way beside it may be.
    assert "a" not in performed
    assert name != "n2" or "n1" not in performed


async def test_a_fork_keeps_what_is_before_the_step(engine: durable.Engine) -> None:
    execution = await run(engine, "one")
    first = await execution.result(10)
    performed.clear()
    second = await (await engine.fork_execution("one", step=3)).result(10)  # behind the question
    assert set(performed) == STEPS - {"a"}
    assert second[1:3] == first[1:3], "chance before the step is the same, and the answer stays"
    performed.clear()
    whole = await engine.fork_execution("one", step=1, new_id="whole")
    await first_prompt(engine)
    assert performed == ["a"]
    await whole.cancel()
    with pytest.raises(durable.Conflict, match="there is no step 99"):
        await engine.fork_execution("one", step=99)
    with pytest.raises(durable.NotFound):
        await engine.fork_execution("nowhere", step=1)
    with pytest.raises(durable.Conflict):
        await engine.fork_execution("one", step=2, new_id="whole")


@durable.function
async def waits(ctx: durable.Context) -> list[str]:
    first = await ctx.run(act, "first")
    answer, signal = await asyncio.gather(ctx.ask("go?"), ctx.signal("s"))
    return [first, answer, signal]


async def test_a_fork_of_one_that_waits_waits_itself(engine: durable.Engine) -> None:
    execution = await engine.start(waits, id="one")
    await in_state(engine, execution, "waiting")
    other = await engine.fork_execution("one", step=4, new_id="two")
    await in_state(engine, other, "waiting")
    assert performed == ["first"]
    assert sorted(each.id for each in await engine.prompts()) == ["exec:one:input:1", "exec:two:input:1"]
    for id in ("one", "two"):
        await engine.answer(f"exec:{id}:input:1", f"to {id}")
        await engine.signal(id, "s", f"sent to {id}")
    assert await execution.result(10) == ["first", "to one", "sent to one"]
    assert await other.result(10) == ["first", "to two", "sent to two"]


async def test_a_retry_of_one_that_was_cancelled_goes_on(engine: durable.Engine) -> None:
    execution = await engine.start(waits, id="one")
    await in_state(engine, execution, "waiting")
    await execution.cancel()
    planned = await fork(engine.store, "one", None, dry_run=True)
    assert (planned.kept, planned.begun_again) == (3, ["one.2", "one:input:1"])
    retry = await engine.retry("one")
    await engine.answer((await first_prompt(engine)).id, "yes")
    await retry.signal("s", "now")
    assert await retry.result(10) == ["first", "yes", "now"]
    assert performed == ["first"]


PAUSE = durable.Retry(max_retries=2, delay=0.01, on_exhausted="pause", give_up_on=KeyError)


@durable.function
async def pauses(ctx: durable.Context, name: str) -> list[str]:
    return [await ctx.run(act, "first"), await ctx.options(retry=PAUSE).run(act, name)]


async def test_a_step_that_used_up_its_retries_pauses(engine: durable.Engine) -> None:
    broken.add("second")
    execution = await engine.start(pauses, "second", id="one")
    for tries in (3, 4):
        with pytest.raises(durable.Halted, match=r"step act \(one\.2\) used up its 2 retries.*second is broken"):
            await execution.result(10)
        assert performed == ["first", *["second"] * tries]
        if tries == 4:
            broken.clear()
        await engine.resume("one")
    assert await execution.result(10) == ["first", "second"]
    with pytest.raises(durable.BadArguments, match="on_exhausted"):
        durable.Retry(on_exhausted="stop")  # type: ignore[arg-type]


async def test_a_rewound_execution_gives_its_place_to_another(anywhere: durable.Engine) -> None:
    execution = await anywhere.start(waits, id="one")
    await in_state(anywhere, execution, "waiting")
    waiter = asyncio.create_task(execution.result(20))
    await anywhere.signal("one", "later", "for whom comes")
    plan = await rewind(anywhere.store, "one", 2, dry_run=True)
    assert (plan.id, plan.kept, await execution.state()) == ("one-rewind-1", 1, "waiting")
    other = await anywhere.rewind("one", step=2)
    assert other.id == "one-rewind-1"
    with pytest.raises(durable.ExecutionCancelled, match="rewound before its step 2: one-rewind-1 has taken its place"):
        await waiter
    await in_state(anywhere, other, "waiting")
    assert [each.id for each in await anywhere.prompts()] == ["exec:one-rewind-1:input:1"]
    views = {row.id: execution_view(row, ServedFunctions(frozenset(), {})) for row in await anywhere.executions()}
    assert (views["one"].rewound_as, views["one-rewind-1"].forked_from) == ("one-rewind-1", "one")
    look = {"execution": "exec:one-rewind-1", "name": "later"}
    assert (await anywhere.store.request("signal.look", look)).data["open"] == 1, "nobody had taken it"
    with pytest.raises(durable.Conflict, match="rewound as one-rewind-1"):
        await anywhere.rewind("one", step=1)
    await anywhere.answer((await first_prompt(anywhere)).id, "yes")
    await other.signal("s", "now")
    assert await other.result(20) == ["first", "yes", "now"]
    assert performed == ["first"], "what is before the step is not done again"
    again = await anywhere.rewind("one-rewind-1", step=1, new_id="third")
    await in_state(anywhere, again, "waiting")
    assert await other.result(20) == ["first", "yes", "now"], "what has ended keeps its result"
    assert performed == ["first", "first"]
    await again.cancel()


@durable.function
async def undoes(ctx: durable.Context) -> str:
    ctx.compensate(act, "undone")
    name = await ctx.run(act, "done")
    begun = ctx.start(waits)
    return name + str(await begun)


@durable.function
async def awaits(ctx: durable.Context) -> str:
    try:
        return await ctx.start(undoes, id="inner")
    except durable.ExecutionCancelled as error:
        return str(error)


async def test_what_was_rewound_undoes_nothing_and_leaves_no_child_behind(anywhere: durable.Engine) -> None:
    outer = await anywhere.start(awaits, id="outer")
    await first_prompt(anywhere)
    inner = await anywhere.rewind("inner", step=2)
    assert "inner-rewind-1 has taken its place" in await outer.result(20)
    await in_state(anywhere, inner, "waiting")
    await in_state(anywhere, await anywhere.get("inner-rewind-1@@2"), "waiting")
    assert performed == ["done", "first", "first"], "the child begins anew, and nothing was undone"
    children = {row.id: row.state for row in await anywhere.executions() if "@@" in row.id}
    assert children.pop("inner@@2") == "cancelled"
    assert set(children.values()) <= {"waiting", "running"}
    await inner.cancel()


async def test_a_record_that_went_on_while_it_was_rewound_is_read_again(engine: durable.Engine) -> None:
    execution = await engine.start(waits, id="one")
    await in_state(engine, execution, "waiting")
    stale = RecordFork(await export(engine.store, await execution.info()))
    stale.up_to(4)
    request = stale.document("late", now_ms(), "rewind") | {"rewinds": stale.rewinds("as late")}
    await engine.answer("exec:one:input:1", "meanwhile")
    with pytest.raises(StoreRefused, match="read it again"):
        await engine.store.request("execution.import", request)
    other = await engine.rewind("one", step=4)
    await other.signal("s", "now")
    assert await other.result(10) == ["first", "meanwhile", "now"], "an answer is never lost"


async def test_many_are_rewound_each_for_itself(engine: durable.Engine) -> None:
    for n in range(2):
        await (await engine.start(mails, "x", id=f"m{n}")).result(10)
    rows = await engine.executions()
    planned = await engine.rewind_executions(rows, step=2, changed={"to": "bob"}, dry_run=True)
    assert sorted(each.id for each in planned) == ["m0-rewind-1", "m1-rewind-1"]
    for made in await engine.rewind_executions(rows, step=2, changed={"to": "bob"}):
        assert await (await engine.get(made.id)).result(10) == "xbob"
    assert all("rewound as" in each.problem for each in await engine.rewind_executions(rows, step=2))


@durable.function
async def mails(ctx: durable.Context, first: str, to: str = "ana") -> str:
    return await ctx.run(act, first) + await ctx.run(act, to)


async def test_a_fork_with_other_arguments_keeps_what_does_not_depend_on_them(anywhere: durable.Engine) -> None:
    await (await anywhere.start(mails, "one", id="old")).result(20)
    changed = await anywhere.fork_execution("old", step=2, new_id="new", changed={"to": "bob"})
    assert await changed.result(20) == "onebob"
    assert await (await anywhere.start(mails, "one", to="bob", id="new")).result(20) == "onebob", "its digest is theirs"
    earlier = await anywhere.fork_execution("old", step=2, changed={"first": "two"})
    with pytest.raises(durable.Halted, match="the record says step 'act'"):
        await earlier.result(20)
    with pytest.raises(durable.BadArguments, match="no argument 'cc'; it has first, to"):
        await anywhere.fork_execution("old", step=2, changed={"cc": 1})
    with pytest.raises(durable.BadArguments):
        await anywhere.fork_execution("old", step=2, changed={"to": 1})


@durable.function
async def takes_many(
    ctx: durable.Context, head: int, /, n: int = 2, *items: int, loud: bool = False, **more: str
) -> Any:
    return [head, n, [*items], loud, more]


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"loud": True}, [1, 5, [6, 7], True, {"a": "b"}]),
        ({"items": []}, [1, 5, [], False, {"a": "b"}]),
        ({"items": [9], "head": 0, "n": 1}, [0, 1, [9], False, {"a": "b"}]),
        ({"a": "z", "c": "d"}, [1, 5, [6, 7], False, {"a": "z", "c": "d"}]),
    ],
)
async def test_any_argument_can_be_another_one(engine: durable.Engine, changed: Any, wanted: Any) -> None:
    assert await (await engine.start(takes_many, 1, 5, 6, 7, id="old", a="b")).result(20) == [
        1,
        5,
        [6, 7],
        False,
        {"a": "b"},
    ]
    assert await (await engine.fork_execution("old", step=1, changed=changed)).result(20) == wanted


async def test_arguments_that_do_not_fit(engine: durable.Engine) -> None:
    await (await engine.start(takes_many, 1, id="old")).result(20)
    for changed in ({"items": 5}, {"items": ["x"]}, {"more": {"a": "b"}}, {"ctx": 1}, {"a": 5}):
        with pytest.raises(durable.BadArguments):
            await engine.fork_execution("old", step=1, changed=changed)
    assert [row.id for row in await engine.executions()] == ["old"]


@durable.function
async def counts_words(ctx: durable.Context) -> list[object]:
    cell = await ctx.execute("len('three words here'.split())", session="desk")
    return [cell.value, await ctx.run(act, "told")]


async def test_a_cell_that_a_fork_has_from_another_execution_is_called_so(engine: durable.Engine) -> None:
    assert await (await engine.start(counts_words, id="words")).result(60) == [3, "told"]
    assert await (await engine.fork_execution("words", step=2)).result(60) == [3, "told"]
    names = {row.id: execution_view(row, ServedFunctions(frozenset(), {})).name for row in await engine.executions()}
    cells = {"words.1": "cell of desk", "words-fork-1.1": "recorded cell"}
    assert names == {"words": "counts_words", "words-fork-1": "counts_words"} | cells


@durable.function
async def asks_or_fails(ctx: durable.Context, name: str) -> str:
    return await ctx.ask("sure?", schema=str) if name == "asks" else await ctx.run(act, name)


@durable.function
async def maps_both(ctx: durable.Context) -> list[str]:
    found = await ctx.map(asks_or_fails, ["asks", "fails"])
    return [*found, await ctx.run(act, "after")]


async def test_a_retry_begins_again_what_was_cancelled_for_the_failure(engine: durable.Engine) -> None:
    broken.add("fails")
    execution = await engine.start(maps_both, id="one")
    with pytest.raises(ValueError, match="fails is broken"):
        await execution.result(10)
    assert await engine.prompts() == [], "its map has failed"
    broken.clear()
    retry = await engine.retry("one", new_id="again")
    await engine.answer((await first_prompt(engine)).id, "yes")
    assert await retry.result(10) == ["yes", "fails", "after"]
