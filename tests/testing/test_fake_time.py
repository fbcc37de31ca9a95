"""An engine under test: time skips, scripts answer, what never comes is told (specs/testing.md)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import durable
from durable import testing


@durable.function
async def patient(ctx: durable.Context, days: int) -> str:
    for _ in range(days):
        await ctx.sleep(timedelta(days=1))
    return ctx.now().isoformat()


async def test_a_month_passes_in_no_time() -> None:
    began = time.monotonic()
    async with testing.open() as engine:
        execution = await engine.start(patient, 30)
        assert await execution.result() == "2030-01-31T00:00:00+00:00"
        assert engine.time.elapsed == timedelta(days=30)
    assert time.monotonic() - began < 10
    assert abs(datetime.now(UTC).timestamp() - durable.Event().at / 1000) < 60, "the real clock is back"


@durable.function
async def approval(ctx: durable.Context) -> list[object]:
    shipped = await ctx.ask("Ship it?", schema=bool, timeout=timedelta(days=7), default=False)
    paid = await ctx.signal("paid", timeout=timedelta(days=3), default=0)
    return [shipped, paid, ctx.now().day]


class Unready(Exception):
    """Not yet."""


_calls: list[int] = []


def flaky(times: int) -> int:
    _calls.append(times)
    if len(_calls) < times:
        raise Unready(len(_calls))
    return len(_calls)


@durable.function
async def retried(ctx: durable.Context, times: int) -> int:
    return await ctx.options(retry=durable.Retry(max_retries=9, delay=3.0, max_delay=3600)).run(flaky, times)


@durable.function(retry=durable.Retry(max_retries=3, delay=60.0))
async def retried_as_a_whole(ctx: durable.Context, times: int) -> int:
    return flaky(times)


async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@durable.function
async def races(ctx: durable.Context) -> str:
    try:
        async with asyncio.timeout(3600):
            return await ctx.run(slow, 0.2)
    except TimeoutError:
        return "late"


@durable.function
async def parent(ctx: durable.Context) -> list[object]:
    child = ctx.start(approval)
    return [*await child.result(), (await ctx.run(patient, 2))[:10]]


@durable.function
async def outside(ctx: durable.Context) -> object:
    first = ctx.promise()
    second = ctx.promise(timeout=60, default="late")
    return [await first, await second]


async def test_people_signals_and_time_are_scripted() -> None:
    answers = {"Ship *": testing.Reply(True, after=timedelta(days=2))}
    async with testing.open(answers=answers, signals={"paid": testing.InTurn(7)}) as engine:
        assert await (await engine.start(approval)).result() == [True, 7, 3]
        assert await (await engine.start(approval)).result() == [True, 0, 8], "the signals of InTurn are used up"


async def test_without_a_script_deadlines_pass_and_what_has_none_is_told() -> None:
    async with testing.open() as engine:
        assert await (await engine.start(approval)).result() == [False, 0, 11]

        @durable.function
        async def waits(ctx: durable.Context) -> object:
            return [await ctx.ask("Who is there?"), await ctx.signal("go")]

        execution = await engine.start(waits, id="waits")
        with pytest.raises(testing.Stuck, match=r"waits waits for an answer to 'Who is there\?'"):
            await execution.result()
        await engine.answer("exec:waits:input:1", "me")
        with pytest.raises(AssertionError, match="the signal 'go'"):
            await execution.result()
        await engine.signal("waits", "go", 1)
        assert await execution.result() == ["me", 1]


async def test_an_answer_that_does_not_fit_fails_the_test() -> None:
    async with testing.open(answers={"Ship it?": "perhaps"}) as engine:
        with pytest.raises(testing.ScriptFailed, match="not of type 'boolean'") as raised:
            await (await engine.start(approval)).result()
        assert isinstance(raised.value.__cause__, durable.InvalidAnswer)


async def test_promises_are_settled_by_the_script() -> None:
    async with testing.open(promises=testing.InTurn(lambda promise: promise[-2:])) as engine:
        assert await (await engine.start(outside)).result() == [".1", "late"]
    async with testing.open(promises=testing.Reply(error="card refused")) as engine:
        with pytest.raises(durable.ExecutionError, match="card refused"):
            await (await engine.start(outside)).result()


@pytest.mark.parametrize(("function", "passed_s"), [(retried, 3 + 6 + 12 + 24), (retried_as_a_whole, None)])
async def test_retries_wait_in_fake_time(function: Any, passed_s: int | None) -> None:
    _calls.clear()
    times = 5 if passed_s else 3
    async with testing.open() as engine:
        began = time.monotonic()
        assert await (await engine.start(function, times)).result() == times
        assert engine.time.elapsed.total_seconds() == (passed_s or 60 + 60)
        assert time.monotonic() - began < 5


async def test_a_step_that_really_takes_time_is_waited_for_and_no_timer_beside_it_ends() -> None:
    async with testing.open() as engine:
        assert await (await engine.start(races)).result() == "slept"
        assert engine.time.elapsed == timedelta(0)


async def test_children_and_nested_functions_wait_in_the_same_time() -> None:
    async with testing.open(answers={"Ship it?": True}) as engine:
        assert await (await engine.start(parent)).result() == [True, 0, 4, "2030-01-06"]


async def test_time_stands_still_until_somebody_waits_or_lets_it_pass() -> None:
    async with testing.open(time=datetime(2031, 5, 1, tzinfo=UTC)) as engine:
        execution = await engine.start(patient, 3)
        await engine.until_idle()
        assert (await execution.state(), engine.time.elapsed) == ("waiting", timedelta(0))
        await engine.advance(timedelta(days=2, hours=23))
        assert (await execution.state(), engine.time.elapsed) == ("waiting", timedelta(days=2, hours=23))
        await engine.advance(3600)
        assert await execution.state() == "completed"
        assert await execution.result() == "2031-05-04T00:00:00+00:00"


async def test_reminders_come_at_their_times() -> None:
    told: list[tuple[str, float]] = []

    @durable.function
    async def reminded(ctx: durable.Context) -> object:
        return await ctx.ask("Well?", remind=timedelta(hours=1), timeout=timedelta(hours=3.5), default=None)

    async with testing.open() as engine:
        engine.on_prompt(lambda prompt: told.append((prompt.notice, engine.time.elapsed.total_seconds() / 3600)))
        assert await (await engine.start(reminded)).result() is None
    assert told == [("asked", 0), ("reminder", 1), ("reminder", 2), ("reminder", 3)]


async def test_a_cancelled_function_has_its_grace_in_fake_time() -> None:
    @durable.function
    async def cleans_up(ctx: durable.Context) -> None:
        try:
            await ctx.sleep(timedelta(days=100))
        finally:
            await ctx.sleep(timedelta(hours=1))

    async with testing.open() as engine:
        execution = await engine.start(cleans_up)
        await engine.until_idle()
        assert await execution.cancel(grace=timedelta(hours=2))
        assert engine.time.elapsed == timedelta(hours=1)


async def test_a_function_that_looks_for_ever_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable.testing.time_skipper.SKIPS_MAX", 50)

    @durable.function
    async def polls(ctx: durable.Context) -> None:
        while True:
            await ctx.sleep(60)

    async with testing.open() as engine:
        with pytest.raises(testing.Stuck, match="51 timers brought nothing new"):
            await (await engine.start(polls)).result()


async def test_engines_on_one_store_share_a_time_and_another_time_is_refused(tmp_path: Any) -> None:
    async with testing.open(tmp_path / "s.db") as one:
        async with testing.open(tmp_path / "s.db", time=one.time) as other:
            execution = await other.start(patient, 5)
            assert await (await one.get(execution.id)).result() == "2030-01-06T00:00:00+00:00"
        with pytest.raises(durable.Conflict, match="share one fake time"):
            await testing.open().open()
        assert await (await one.start(patient, 1)).result() == "2030-01-07T00:00:00+00:00"


async def test_real_time_and_bad_options() -> None:
    async with testing.open(real_time=True) as engine:
        assert await (await engine.start(patient, 0)).result()
        with pytest.raises(durable.Conflict, match="real_time"):
            await engine.advance(1)
    for wrong in ({"real_time": True, "time": testing.FakeTime()}, {"target": "postgresql://x/y"}):
        with pytest.raises(durable.BadArguments):
            testing.open(**wrong)
    with pytest.raises(durable.BadArguments, match="time zone"):
        testing.open(time=datetime(2030, 1, 1))


async def test_a_halted_execution_says_so_at_once() -> None:
    @durable.function
    async def exhausted(ctx: durable.Context) -> None:
        retry = durable.Retry(max_retries=2, delay=600, on_exhausted="pause")
        await ctx.options(retry=retry).run(flaky, 10**6)

    async with testing.open() as engine:
        with pytest.raises(durable.Halted):
            await (await engine.start(exhausted)).result()
        assert engine.steps_run == ["flaky"] * 3


@durable.function
async def sleeps_a_week(ctx: durable.Context) -> str:
    await ctx.signal("go")
    await ctx.sleep(timedelta(days=7))
    return "slept"


async def test_time_passes_for_what_a_step_has_started() -> None:
    async with testing.open() as engine:

        async def start(number: int) -> str:
            return (await engine.start_with_signal(sleeps_a_week, id=f"w{number}", signal="go")).id

        @durable.function
        async def starts(ctx: durable.Context) -> list[str]:
            return [await ctx.run(start, number) for number in range(2)]

        for started in await (await engine.start(starts)).result():
            assert await (await engine.get(started)).result() == "slept"


def block(began: threading.Event, until: threading.Event) -> None:
    began.set()
    until.wait(20)


async def test_a_thread_that_a_cancelled_function_has_left_does_not_hold_up_time() -> None:
    began, ends = threading.Event(), threading.Event()

    @durable.function
    async def blocked(ctx: durable.Context) -> None:
        await ctx.run(lambda: block(began, ends))

    async with testing.open() as engine:
        execution = await engine.start(blocked)
        await asyncio.to_thread(began.wait)
        cancelling = asyncio.ensure_future(execution.cancel(grace=1))
        threading.Timer(0.2, ends.set).start()
        assert await cancelling
        assert await (await engine.start(patient, 2)).result() == "2030-01-03T00:00:00+00:00"


FORGETFUL = """
import asyncio, durable
from durable import testing
from tests.testing.test_fake_time import patient

async def forgets():
    await testing.open().open()

async def opens():
    async with testing.open() as engine:
        return await (await engine.start(patient, 1)).result()

asyncio.run(forgets())
assert asyncio.run(opens()) == "2030-01-02T00:00:00+00:00"
assert durable.Event().at < 1_893_456_000_000
"""


def test_an_engine_that_was_not_closed_leaves_its_time_to_the_next_test() -> None:
    # In a process of its own: its threads stay, and would complain in other tests.
    subprocess.run([sys.executable, "-c", FORGETFUL], check=True, timeout=60)


async def test_an_error_in_the_test_gives_the_real_clock_back() -> None:
    with pytest.raises(ZeroDivisionError):
        async with testing.open():
            _ = 1 // 0
    assert durable.Event().at < 1_893_456_000_000
