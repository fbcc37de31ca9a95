"""Cancelling a function: what was begun before ends, what cleans up runs whole (specs/execution.md, R10)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import durable
from durable.core.errors import DurableError
from durable.functions.dispatcher import Passes
from durable.functions.replay.execution_pass import ExecutionPass
from durable.functions.resonate.sdk import PlatformError
from tests.waiting import first_prompt, in_state

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


@durable.function
async def fail_in_order(ctx: durable.Context) -> None:
    order: list[str] = []

    async def branch(step: Callable[[], Awaitable[None]]) -> None:
        try:
            await ctx.options(retry=durable.Retry(delay=3600, max_delay=3600)).run(step)
        except durable.ExecutionError:
            order.append(step.__name__)

    tasks = [asyncio.create_task(branch(step)) for step in (until_cancelled, failing)]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        await asyncio.wait(tasks)
        await ctx.run(note, " ".join(order))


async def test_steps_that_run_or_wait_fail_in_the_order_in_which_they_were_begun(engine: durable.Engine) -> None:
    """Which is that of a replay."""
    global begun
    begun = asyncio.Event()
    execution = await engine.start(fail_in_order, id="fail")
    await begun.wait()
    await promise(engine, "exec:fail.2:retry:1", settled=False)
    assert await execution.cancel(grace=30)
    assert performed[-1] == "until_cancelled failing"


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


@durable.function
async def stopped(ctx: durable.Context, name: str) -> None:
    try:
        await ctx.run(until_cancelled)
    finally:
        await ctx.run(note, name)


@durable.function
async def nested_in_order(ctx: durable.Context) -> None:
    await asyncio.gather(*(ctx.run(stopped, f"{n}") for n in range(3)))


async def test_nested_functions_hear_of_it_in_the_order_in_which_they_were_begun(engine: durable.Engine) -> None:
    """Which is that of a replay."""
    global begun
    begun = asyncio.Event()
    execution = await engine.start(nested_in_order, id="order")
    for number in range(1, 4):
        await promise(engine, f"exec:order.{number}.1", settled=False)
    await begun.wait()
    assert await execution.cancel(grace=30)
    assert performed == ["begun", "begun", "begun", "0", "1", "2"]


# -- after a kill -----------------------------------------------------------------------------------------------------


async def fails() -> None:
    raise ValueError("down")


@durable.function
async def ends_early(ctx: durable.Context) -> None:
    await asyncio.gather(ctx.run(until_cancelled), ctx.run(fails))


@durable.function
async def ends_beside_a_step(ctx: durable.Context) -> None:
    await ctx.run(ends_early)


async def test_a_step_of_a_function_that_had_ended_does_not_begin_again_after_a_cancel(tmp_path: Path) -> None:
    global begun
    begun = asyncio.Event()
    performed.clear()
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process") as engine:
        await engine.start(ends_beside_a_step, id="ends")
        await begun.wait()
        await promise(engine, "exec:ends.1.2", settled=True)
    with closing(sqlite3.connect(path)) as file:  # the engine died just after it was cancelled
        file.execute(
            "UPDATE tasks SET cancel_at=?, cancelled_at=?, cancel_reason='' WHERE id='exec:ends'",
            (time.time_ns() // 10**6 + 60_000, time.time_ns() // 10**6),
        )
        file.commit()
    async with durable.open(path, durability="process") as engine:
        execution = await engine.start(ends_beside_a_step, id="ends")
        with pytest.raises(durable.ExecutionCancelled):
            await execution.result()
    assert performed == ["begun"]


# -- what came before -------------------------------------------------------------------------------------------------


@durable.function
async def pays_back(ctx: durable.Context) -> None:
    charged: list[str] = []

    async def charge() -> None:
        charged.append(await ctx.run(note, "charged"))
        ctx.log("has it")

    try:
        await asyncio.gather(charge(), ctx.sleep(3600))
    finally:
        ctx.log("pays back")
        for each in charged:
            await ctx.run(note, f"paid back what was {each}")


async def test_what_came_before_the_cancel_is_delivered_before_it(tmp_path: Path) -> None:
    """By the pass that hears of it too, which may be another one: the first one is suspended."""
    lines: list[str] = []

    def observe(event: object) -> None:
        if isinstance(event, durable.Logged):
            lines.append(event.text)

    performed.clear()
    async with durable.open(tmp_path / "work.db", durability="process", observer=observe) as engine:
        execution = await engine.start(pays_back)
        await in_state(engine, execution, "waiting")
        await asyncio.sleep(0.01)  # another millisecond
        assert await execution.cancel(grace=30)
    assert performed == ["charged", "paid back what was charged"]
    assert lines == ["has it", "pays back"]


# -- anyio ------------------------------------------------------------------------------------------------------------


@durable.function
async def many_of_anyio(ctx: durable.Context) -> None:
    async def branch(number: int) -> None:
        try:
            await ctx.sleep(3600)
        finally:
            with anyio.CancelScope(shield=True):
                await ctx.run(note, f"{number}")

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(branch, number)


async def test_tasks_of_anyio_clean_up_in_the_order_in_which_they_were_begun(engine: durable.Engine) -> None:
    """Which a replay has too; anyio's own order is that of addresses."""
    execution = await engine.start(many_of_anyio)
    await in_state(engine, execution, "waiting")
    assert await execution.cancel(grace=30)
    assert performed == [f"{number}" for number in range(20)]


# -- hearing of it ----------------------------------------------------------------------------------------------------


async def test_a_pass_that_is_over_does_not_hear_of_it(engine: durable.Engine) -> None:
    """What heard is suspended for good; what did not gets another pass."""
    run = ExecutionPass(
        "exec:over", None, engine.store, lambda: False, print,  # type: ignore[arg-type]
        origin="", target="", begun=lambda: None, seed="",
    )  # fmt: skip
    run.fail(RuntimeError("over"))
    run.cancel()
    assert not run.cancelling
    with pytest.raises(PlatformError):
        await run.outcome
    run.dispose()


# -- a function that ended ---------------------------------------------------------------------------------------------


@durable.function
async def ends_before_the_next_try(ctx: durable.Context) -> None:
    await ctx.run(ends_beside_a_retry)
    await ctx.run(note, "ended")
    await ctx.sleep(3600)


@durable.function
async def ends_beside_a_retry(ctx: durable.Context) -> None:
    for _ in range(2):
        ctx.options(retry=durable.Retry(delay=60)).run(failing)
    await ctx.sleep(0.05)


async def test_a_step_of_a_function_that_ended_waits_for_no_next_try(tmp_path: Path) -> None:
    """It has failed with the error of its last try, so that it is not tried once more after a kill either."""
    performed.clear()
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        execution = await engine.start(ends_before_the_next_try, id="last")
        await in_state(engine, execution, "waiting")
        await promise(engine, "exec:last.2", settled=True)
        for number in (1, 2):
            found = (await engine.store.request("promise.get", {"id": f"exec:last.1.{number}"})).data["promise"]
            assert found["state"] == "rejected"
        assert performed == ["tried", "tried", "ended"]
        await execution.cancel()


# -- from elsewhere ---------------------------------------------------------------------------------------------------


@durable.function
async def steps_alone(ctx: durable.Context) -> None:
    await ctx.run(until_cancelled)


async def test_a_cancellation_by_another_engine_reaches_a_step_under_way(place: str) -> None:
    global begun
    performed.clear()
    begun = asyncio.Event()
    async with durable.open(place) as here, durable.open(place, serve=False) as other, asyncio.timeout(30):
        execution = await here.start(steps_alone, id="alone")
        await begun.wait()
        assert await other.cancel("alone", grace=600)
        with pytest.raises(durable.ExecutionCancelled):
            await execution.result()


# -- before its pass runs --------------------------------------------------------------------------------------------


@durable.function
async def asks_and_steps(ctx: durable.Context) -> None:
    await ctx.ask("Go on?", schema=bool)
    await ctx.run(until_cancelled)


@pytest.mark.parametrize("late", ["the first pass", "a later pass"])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_cancellation_between_the_lease_and_the_pass_is_heard(
    place: str, monkeypatch: pytest.MonkeyPatch, late: str, *, elsewhere: bool
) -> None:
    performed.clear()
    held, told, cancelling = [late == "the first pass"], asyncio.Event(), list[asyncio.Future[bool]]()
    run_pass, cancel_passes = Passes._pass, Passes.cancel

    async def comes_late(self: Passes, *given: Any) -> Any:
        if held.pop():
            cancelling.append(asyncio.ensure_future((other if elsewhere else here).cancel("late", grace=600)))
            await told.wait()
        held.append(False)
        return await run_pass(self, *given)

    def tells(self: Passes, executions: Collection[str]) -> None:
        cancel_passes(self, executions)
        if executions and self is not other._passes:
            told.set()

    monkeypatch.setattr(Passes, "_pass", comes_late)
    monkeypatch.setattr(Passes, "cancel", tells)
    async with durable.open(place) as here, durable.open(place, serve=False) as other, asyncio.timeout(30):
        execution = await here.start(asks_and_steps, id="late")
        if late == "a later pass":
            prompt = await first_prompt(here)
            held[:] = [True]
            await here.answer(prompt.id, True)
        with pytest.raises(durable.ExecutionCancelled):
            await execution.result()
        await asyncio.gather(*cancelling)
    assert performed == []
