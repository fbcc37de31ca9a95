"""Cancelling a function: what was begun before ends, what cleans up runs whole (specs/execution.md, R10)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

import durable
from durable.core.errors import DurableError
from durable.functions.run import Run
from durable.functions.sdk import PlatformError
from tests.waiting import in_state

performed: list[str] = []
gates: dict[str, asyncio.Event] = {}


async def note(text: str) -> str:
    performed.append(text)
    return text


async def wait_at(gate: str) -> None:
    await gates[gate].wait()
    performed.append(gate)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    performed.clear()
    gates.clear()
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        yield engine


async def promise(engine: durable.Engine, promise_id: str, *, settled: bool) -> None:
    """Return as soon as it is there, or settled. Of what happens inside an execution the store tells nobody."""
    async with asyncio.timeout(30):
        while True:
            changed = engine.changed()
            with suppress(DurableError):
                found = (await engine.store.request("promise.get", {"id": promise_id})).data["promise"]
                if not settled or found["state"] != "pending":
                    return
            await asyncio.wait([changed], timeout=0.05)


# -- steps -----------------------------------------------------------------------------------------------------------


async def until_cancelled() -> None:
    performed.append("begun")
    begun.set()
    await asyncio.sleep(3600)


def thread_until_cancelled() -> None:
    performed.append("begun")
    loop.call_soon_threadsafe(begun.set)
    while not durable.cancelled():
        time.sleep(0.01)
    raise RuntimeError("told")


begun: asyncio.Event
loop: asyncio.AbstractEventLoop


@durable.function
async def tries_again(ctx: durable.Context, in_thread: bool) -> None:
    try:
        step = thread_until_cancelled if in_thread else until_cancelled
        await ctx.options(retry=durable.Retry(delay=0)).run(step)
    finally:
        await ctx.run(note, "cleaned")


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_step_that_was_cancelled_is_not_tried_again(engine: durable.Engine, in_thread: bool) -> None:
    global begun, loop
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    execution = await engine.start(tries_again, in_thread)
    await begun.wait()
    assert await execution.cancel(grace=30)
    assert performed == ["begun", "cleaned"]


async def failing() -> None:
    performed.append("tried")
    raise ValueError("down")


@durable.function
async def waits_for_the_next_try(ctx: durable.Context, delay: float) -> None:
    async def work() -> None:
        try:
            await ctx.options(retry=durable.Retry(delay=delay, max_delay=delay)).run(failing)
        except durable.ExecutionError as error:
            await ctx.run(note, error.exception_type)

    task = asyncio.create_task(work())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task


@pytest.mark.parametrize("delay", [4.9, 3600])  # the one is waited for here, the other one holds nothing
async def test_a_step_that_waits_for_its_next_try_has_failed_when_its_function_is_cancelled(
    engine: durable.Engine, delay: float
) -> None:
    execution = await engine.start(waits_for_the_next_try, delay, id="tries")
    if delay > 5:
        await in_state(engine, execution, "waiting")
    else:
        await promise(engine, "exec:tries.1:retry:1", settled=False)
    assert await execution.cancel(grace=30)
    assert performed == ["tried", "asyncio.exceptions.CancelledError"]


def told() -> None:
    performed.append(f"told {durable.cancelled()}")


@durable.function
async def cleans_up_by_a_step(ctx: durable.Context) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.run(told)


async def test_a_step_that_cleans_up_is_not_told_to_stop(engine: durable.Engine) -> None:
    execution = await engine.start(cleans_up_by_a_step)
    await in_state(engine, execution, "waiting")
    assert await execution.cancel(grace=30)
    assert performed == ["told False"]


# -- nested functions -------------------------------------------------------------------------------------------------


@durable.function
async def inner(ctx: durable.Context, name: str) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.run(wait_at, name)


@durable.function
async def two_nested(ctx: durable.Context) -> None:
    try:
        await asyncio.gather(ctx.run(inner, "first"), ctx.run(inner, "second"))
    finally:
        await ctx.run(wait_at, "outer")


async def test_a_function_cleans_up_when_all_nested_ones_have(engine: durable.Engine) -> None:
    gates.update({name: asyncio.Event() for name in ("first", "second", "outer")})
    execution = await engine.start(two_nested, id="outer")
    await in_state(engine, execution, "waiting")
    cancelling = asyncio.create_task(execution.cancel(grace=30))
    for number, name in enumerate(("first", "second"), start=1):
        gates[name].set()
        await promise(engine, f"exec:outer.{number}", settled=True)
    gates["outer"].set()
    assert await cancelling
    assert performed == ["first", "second", "outer"]


async def opens(gate: str) -> None:
    begun.set()
    try:
        await asyncio.sleep(3600)
    finally:
        gates[gate].set()


@durable.function
async def a_step_beside_a_nested_one(ctx: durable.Context) -> None:
    await asyncio.gather(ctx.run(inner, "inner"), ctx.run(opens, "inner"))


async def test_steps_are_stopped_at_once_also_beside_a_nested_function_that_cleans_up(engine: durable.Engine) -> None:
    global begun
    begun, gates["inner"] = asyncio.Event(), asyncio.Event()
    execution = await engine.start(a_step_beside_a_nested_one, id="beside")
    await begun.wait()
    await promise(engine, "exec:beside.1.1", settled=False)
    assert await execution.cancel(grace=30)
    assert performed == ["inner"]


@durable.function
async def clean_up(ctx: durable.Context) -> str:
    await ctx.run(note, "one")
    await ctx.sleep(0.01)
    return await ctx.run(note, "two")


@durable.function
async def cleans_up_by_a_function(ctx: durable.Context) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        last = await ctx.run(clean_up)
        await ctx.run(note, f"after {last}")


async def test_a_nested_function_that_cleans_up_is_not_cancelled_itself(engine: durable.Engine) -> None:
    execution = await engine.start(cleans_up_by_a_function)
    await in_state(engine, execution, "waiting")
    assert await execution.cancel(grace=30)
    assert performed == ["one", "two", "after two"]


# -- hearing of it ----------------------------------------------------------------------------------------------------


async def test_a_pass_that_is_over_does_not_hear_of_it(engine: durable.Engine) -> None:
    """What heard is suspended for good; what did not gets another pass."""
    run = Run(
        "exec:over", None, engine.store, lambda: False, print, origin="", target="", begun=lambda: None  # type: ignore[arg-type]
    )  # fmt: skip
    run.fail(RuntimeError("over"))
    run.cancel()
    assert not run.cancelling
    with pytest.raises(PlatformError):
        await run.outcome()
    run.dispose()
