"""Streams and published values: each item once, from any offset, through retries and forks (specs/streams.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from tests.waiting import in_state, until


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


@pytest.fixture
async def anywhere(place: str) -> AsyncIterator[durable.Engine]:
    """An engine on a file, on a served one, on a database."""
    async with durable.open(place, durability="process") as engine:
        yield engine


async def read(engine: durable.Engine, id: str, name: str, offset: int = 0) -> list[tuple[int, Any]]:
    async with asyncio.timeout(20):
        return [(item.offset, item.value) async for item in engine.stream(id, name, offset)]


@durable.function
async def tells(ctx: durable.Context, count: int) -> int:
    tokens = ctx.stream("tokens")
    first = await tokens.write("begin")
    for n in range(count):
        tokens.write(n)  # not awaited, and recorded all the same
    await ctx.publish(state="waits", count=count)
    await ctx.signal("go")
    last = await tokens.write({"a": 1}, "end")
    await ctx.publish(state="over")
    return first * 1000 + last


async def test_a_reader_gets_items_as_they_are_written_and_from_an_offset(anywhere: durable.Engine) -> None:
    execution = await anywhere.start(tells, 3, id="one")
    assert await execution.published("state", wait=True, timeout=20) == "waits"
    live = execution.stream("tokens")
    seen = [await anext(live) for _ in range(4)]
    assert [(item.offset, item.value, item.step) for item in seen] == [
        (0, "begin", None),
        (1, 0, None),
        (2, 1, None),
        (3, 2, None),
    ]
    assert await anywhere.all_published("one") == {"state": "waits", "count": 3}
    await execution.signal("go")
    assert [(item.offset, item.value) async for item in live] == [(4, {"a": 1}), (5, "end")]
    assert await execution.result(20) == 4
    assert await read(anywhere, "one", "tokens", 5) == [(5, "end")]
    assert await read(anywhere, "one", "tokens", 6) == []
    assert await anywhere.all_published("one") == {"state": "over", "count": 3}
    assert await anywhere.streams("one") == {"tokens": 6}


async def test_who_reads_what_is_not_there_is_told(engine: durable.Engine) -> None:
    with pytest.raises(durable.NotFound, match="nowhere"):
        await read(engine, "nowhere", "tokens")
    with pytest.raises(durable.NotFound):
        await engine.all_published("nowhere")
    execution = await engine.start(tells, 0, id="none")
    await in_state(engine, execution, "waiting")
    with pytest.raises(durable.NotFound, match="other"):
        await execution.published("other")
    with pytest.raises(TimeoutError):
        await execution.published("other", wait=True, timeout=0.05)
    waiting = asyncio.create_task(execution.published("other", wait=True))
    await execution.signal("go")
    with pytest.raises(durable.NotFound, match="ended without one"):
        await waiting
    assert await read(engine, "none", "no such stream") == []


async def test_a_reader_is_told_of_a_halt_after_what_was_written(engine: durable.Engine) -> None:
    execution = await engine.start(tells, 1, id="halted")
    await in_state(engine, execution, "waiting")
    await engine.interrupt("halted")
    seen = []
    try:
        async for item in execution.stream("tokens"):
            seen.append(item.value)
    except durable.Halted:
        seen.append("halted")
    assert seen == ["begin", 0, "halted"]


@durable.function
async def refused(ctx: durable.Context) -> list[str]:
    found = []
    for call in (
        lambda: ctx.stream(""),
        lambda: ctx.stream("x" * 201),
        lambda: ctx.stream("s").write(),
        lambda: ctx.stream("s").write(object()),
        lambda: ctx.stream("s").write("x" * 13 * 2**20),
        lambda: ctx.publish(),
        lambda: ctx.publish(a=float("nan")),
        lambda: durable.stream("s"),
    ):
        try:
            call()
        except durable.DurableError as error:
            found.append(type(error).__name__)
    return found


async def test_what_is_refused_is_refused_where_it_is_written(engine: durable.Engine) -> None:
    execution = await engine.start(refused, id="refused")
    too_large = ["NotEncodable", "NotEncodable"]
    bad = ["BadArguments", "BadArguments", "BadArguments"]
    assert await execution.result(10) == [*bad, *too_large, "BadArguments", "NotEncodable", "StepNeeded"]
    assert await engine.streams("refused") == {}


# -- steps ------------------------------------------------------------------------------------------------------------

RUNS: dict[str, int] = {}


def _run(name: str) -> int:
    RUNS[name] = RUNS.get(name, 0) + 1
    return RUNS[name]


async def generates(name: str, fails: int) -> str:
    """Writes what it wrote before up to a point, then something else; fails so many times."""
    run = _run(name)
    out = durable.stream("tokens")
    for text in ("the", "same"):
        await out.write(text)
    await out.write(f"own {run}")
    await out.write("last")
    if run <= fails:
        raise ValueError("again")
    return f"run {run}"


def generates_in_a_thread(count: int) -> list[Any]:
    out = durable.stream("tokens")
    return [asyncio.run(_offset(out.write(n))) if n % 2 else _now(out.write(n)) for n in range(count)]


async def _offset(written: Any) -> int:
    return int(await written)


def _now(written: Any) -> int:
    try:
        written.__await__().send(None)
    except StopIteration as done:
        return int(done.value)
    raise AssertionError("it is recorded when write() returns")


@durable.function
async def streams_of_steps(ctx: durable.Context, name: str, fails: int) -> Any:
    await ctx.stream("tokens").write("head")
    found = await ctx.options(retry=durable.Retry(max_retries=3, delay=0)).run(generates, name, fails)
    await ctx.stream("tokens").write("tail")
    return found


async def test_a_step_that_runs_again_replaces_what_it_wrote(anywhere: durable.Engine) -> None:
    RUNS.clear()
    execution = await anywhere.start(streams_of_steps, "replaced", 2, id="steps")
    live = [(item.offset, item.value, item.position) async for item in execution.stream("tokens")]
    assert await execution.result(10) == "run 3"
    values = [value for _, value in await read(anywhere, "steps", "tokens")]
    assert values == ["head", "the", "same", "own 3", "last", "tail"]
    final: list[Any] = []
    for offset, value, position in live:  # a live reader that voids what is written again comes to the same
        if position is not None:
            final = [each for each in final if each[2] is None or each[2] < position]
        final.append((offset, value, position))
    assert [value for _, value, _ in final] == values
    offsets = [offset for offset, _, _ in live]
    assert offsets == sorted(set(offsets)), "an offset is given once"


@durable.function
async def from_threads(ctx: durable.Context) -> Any:
    return await ctx.run(generates_in_a_thread, 4)


async def test_a_synchronous_step_writes_too(engine: durable.Engine) -> None:
    execution = await engine.start(from_threads, id="threads")
    assert await execution.result(10) == [0, 1, 2, 3]
    assert await read(engine, "threads", "tokens") == [(n, n) for n in range(4)]


async def not_awaited() -> None:
    for n in range(50):
        durable.stream("tokens").write(n)


LATE: list[Any] = []


async def writes_late() -> None:
    LATE.append(durable.stream("tokens"))


@durable.function
async def careless(ctx: durable.Context) -> None:
    await ctx.run(not_awaited)
    await ctx.run(writes_late)


async def test_a_step_ends_when_all_it_wrote_is_recorded(engine: durable.Engine) -> None:
    await (await engine.start(careless, id="careless")).result(10)
    assert await read(engine, "careless", "tokens") == [(n, n) for n in range(50)]
    with pytest.raises(durable.BadArguments, match="is over"):
        LATE[0].write("late")


# -- forks, exports, retention --------------------------------------------------------------------------------------


@durable.function
async def inner(ctx: durable.Context, name: str) -> None:
    await ctx.stream("tokens").write(f"{name} 1")
    await ctx.run(generates, f"fork {name}", 0)


@durable.function
async def forked(ctx: durable.Context) -> str:
    await ctx.publish(step=1)
    await ctx.run(inner, "a")
    await ctx.stream("tokens").write("before")
    await ctx.publish(step=2)
    await ctx.stream("tokens").write("after")
    return "ended"


async def test_a_fork_keeps_what_is_before_its_step(anywhere: durable.Engine, tmp_path: Path) -> None:
    RUNS.clear()
    await (await anywhere.start(forked, id="old")).result(20)
    old = await read(anywhere, "old", "tokens")
    assert [value for _, value in old] == ["a 1", "the", "same", "own 1", "last", "before", "after"]
    fork = await anywhere.fork_execution("old", step=4, new_id="new")
    assert await fork.result(20) == "ended"
    assert await read(anywhere, "new", "tokens") == old
    assert await anywhere.all_published("new") == {"step": 2}
    assert RUNS == {"fork a": 1}, "the step that is kept was not run again"
    early = await anywhere.fork_execution("old", step=1, new_id="early")
    assert await early.result(20) == "ended"
    assert [value for _, value in await read(anywhere, "early", "tokens")][:4] == ["a 1", "the", "same", "own 2"]


async def test_writes_are_in_the_record_and_go_with_the_execution(engine: durable.Engine, tmp_path: Path) -> None:
    from durable.core.clock import now_ms
    from durable.executions import exported_record
    from durable.store.upkeep import gc

    RUNS.clear()
    await (await engine.start(streams_of_steps, "exported", 1, id="exported")).result(10)
    row = await engine.store.reads.get_execution("exported")
    assert row is not None
    record = await exported_record.export(engine.store, row)
    items = await read(engine, "exported", "tokens")
    async with durable.open(tmp_path / "other.db", durability="process") as other:
        await exported_record.import_(other.store, record)
        assert await read(other, "exported", "tokens") == items
    local = engine.store.local
    assert local is not None
    async for _ in gc.collect(local, before=now_ms() + 1):
        pass
    assert await engine.streams("exported") == {}
    reads: Any = engine.store.reads
    assert await reads._rows("SELECT * FROM stream_items", []) == []


async def test_a_reader_in_another_process_is_told(tmp_path: Path) -> None:
    """Another opened store stands for it: what it hears of are commits of others."""
    async with (
        durable.open(tmp_path / "s.db", durability="process") as engine,
        durable.open(tmp_path / "s.db", serve=False) as client,
    ):
        execution = await engine.start(tells, 1, id="far")
        reader = client.stream("far", "tokens")
        assert (await anext(reader)).value == "begin"
        await until(engine, lambda: _count(engine, 2))
        await execution.signal("go")
        assert [item.value async for item in reader] == [0, {"a": 1}, "end"]


async def _count(engine: durable.Engine, count: int) -> bool:
    return (await engine.streams("far")).get("tokens", 0) >= count
