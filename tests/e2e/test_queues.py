"""Queues with real engines, wherever the store is: limits, turns, delays, calls that are one (specs/queues.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import durable
from durable.core import events
from durable.core.observers import Observers
from durable.engine.queue_watch import measure

from .cli_process import Terminal

open_now: dict[str, int] = {}
most: dict[str, int] = {}
order: list[str] = []


async def hold(queue: str, name: str) -> str:
    open_now[queue] = open_now.get(queue, 0) + 1
    most[queue] = max(most.get(queue, 0), open_now[queue])
    order.append(name)
    await asyncio.sleep(0.01)
    open_now[queue] -= 1
    return name


@durable.function
async def job(ctx: durable.Context, queue: str, name: str) -> str:
    return await ctx.run(hold, queue, name)


@durable.function
async def says(ctx: durable.Context, text: str) -> str:
    return text


@durable.function
async def waits(ctx: durable.Context) -> str:
    return str(await ctx.signal("go"))


async def test_limits_and_turns_hold_in_a_real_engine(place: str) -> None:
    order.clear()
    queue = durable.Queue("mail", concurrency=2, per_key=2)
    async with durable.open(place) as engine:
        await engine.queues.declare(queue)
        await engine.queues.pause(queue)
        names = [(f"a{n}", "a") for n in range(6)] + [(f"b{n}", "b") for n in range(2)]
        executions = [await engine.enqueue(queue, job, "mail", name, key=key) for name, key in names]
        assert [await execution.state() for execution in executions] == ["pending"] * 8
        found = await engine.queues.get("mail")
        assert (found.state, found.waiting, found.running) == ("paused", 8, 0)
        assert found.oldest_at is not None
        assert [(row.key, row.waiting) for row in await engine.queues.keys("mail")] == [("a", 6), ("b", 2)]
        await engine.queues.resume(queue)
        assert [await execution.result() for execution in executions] == [name for name, _ in names]
        assert most["mail"] <= 2
        assert set(order[:2]) == {"a0", "b0"}, "the keys take turns"
        assert await engine.queues.drain(queue, 10)
        with pytest.raises(durable.Conflict, match="drained"):
            await engine.enqueue("mail", job, "mail", "late")
        assert await engine.queues.keys("mail") == []


async def test_observers_are_told_of_queues(place: str) -> None:
    told: list[durable.Event] = []
    async with durable.open(place, observer=[told.append]) as engine:
        queue = durable.Queue("told", concurrency=1)
        first = await engine.enqueue(queue, waits, id="first", key="secret-key")
        second = await engine.enqueue(queue, says, "x", id="second", key="secret-key")
        await engine.enqueue(queue, says, "x", id="later", delay=3_600)
        await measure(engine.store.reads, Observers([told.append]))
        await engine.queues.pause("told")
        await engine.queues.resume("told")
        await first.signal("go")
        assert await second.result(30) == "x"
        await (await engine.get("later")).cancel()
    about = [each for each in told if getattr(each, "queue", "") == "told"]
    if place.startswith("http"):
        assert {type(each) for each in about} == {events.QueueMeasured}, "who commits tells: here it is the server"
        return
    put_in = {each.execution: each.state for each in about if isinstance(each, events.ExecutionEnqueued)}
    assert put_in == {"first": "admitted", "second": "waiting", "later": "delayed"}
    begun = [(each.execution, each.waited_ms > 0) for each in about if isinstance(each, events.ExecutionAdmitted)]
    assert begun == [("first", False), ("second", True)]
    measured = [each for each in about if isinstance(each, events.QueueMeasured)]  # the engine measures at times, too
    assert (1, 1, 1) in [(each.delayed, each.waiting, each.running) for each in measured]
    states = [each.state for each in about if isinstance(each, events.QueueChanged)]
    assert states == ["open", "paused", "open"], "and that code declares the same again is no change"
    assert "secret" not in str(told)


async def test_what_is_put_off_and_what_is_one_call(place: str) -> None:
    queue = durable.Queue("calls")
    async with durable.open(place) as engine:
        first = await engine.enqueue(queue, waits, dedupe="one")
        second = await engine.enqueue(queue, waits, dedupe="one")
        assert first.id == second.id
        await engine.signal(first.id, "go", "done")
        assert await second.result() == "done"
        assert (await engine.enqueue(queue, waits, dedupe="one", id="third")).id == "third"
        typed = [await engine.enqueue(queue, says, text, dedupe="text", debounce=0.2) for text in ("a", "ab", "abc")]
        assert len({execution.id for execution in typed}) == 1
        assert await typed[0].result() == "abc"
        later = await engine.enqueue(queue, says, "later", delay=0.1)
        assert (await engine.queues.get("calls")).delayed == 1
        assert await later.result() == "later"


async def test_one_that_waits_can_be_cancelled_or_attached_to(place: str) -> None:
    async with durable.open(place) as engine:
        await engine.queues.set("one", concurrency=1)
        first = await engine.enqueue("one", waits, id="first")
        second = await engine.enqueue("one", says, "x", id="second")
        assert (await engine.start(says, "x", id="second")).id == "second", "it waits on all the same"
        assert await second.state() == "pending"
        with pytest.raises(durable.Conflict, match="exists as"):
            await engine.enqueue("one", says, "y", id="second")
        assert await engine.cancel("second")
        third = await engine.enqueue("one", says, "z")
        await engine.queues.set("one", concurrency=None)
        assert await third.result() == "z", "a limit that is lifted lets it begin"
        await engine.signal(first.id, "go")
        await first.result()
        assert (await engine.queues.get("one")).running == 0


@durable.function
async def hands_on(ctx: durable.Context, name: str) -> list[str]:
    queue = durable.Queue("handed", concurrency=3)
    first = await ctx.enqueue(queue, says, f"{name}-1", key=name)
    named = ctx.enqueue("handed", says, f"{name}-2", id=f"{name}-named", priority=5, delay=0.01)
    same = [await ctx.enqueue(queue, waits, dedupe=name), await ctx.enqueue(queue, waits, dedupe=name)]
    return [first, await named, *same]


@durable.function
async def hands_wrongly(ctx: durable.Context, queue: str, id: str) -> str:
    return await ctx.enqueue(queue, says, "other", id=id)


async def test_a_function_puts_executions_into_queues_once(place: str) -> None:
    async with durable.open(place) as engine:
        parent = await engine.start(hands_on, "p", id="parent")
        first, named, one, other = await parent.result()
        assert (first, named, one, other) == ("parent@@1", "p-named", "parent@@3", "parent@@3")
        assert await (await engine.get(first)).result() == "p-1"
        assert await (await engine.get(named)).result() == "p-2"
        await engine.signal(one, "go", "on")
        assert await (await engine.get(one)).result() == "on"
        again = await engine.fork_execution("parent", step=4, new_id="again")
        assert await again.result() == [first, named, one, "again@@4"], "what was put in is not put in again"
        await engine.signal("again@@4", "go", "on")
        with pytest.raises(durable.NotFound, match="nowhere"):
            await (await engine.start(hands_wrongly, "nowhere", "x")).result()
        with pytest.raises(durable.Conflict, match="p-named"):
            await (await engine.start(hands_wrongly, "handed", named)).result()


async def test_a_queue_is_deleted_when_it_is_empty(place: str) -> None:
    async with durable.open(place) as engine:
        queue = durable.Queue("brief", concurrency=1, rate=(5, 60))
        held = await engine.enqueue(queue, waits, id="held")
        with pytest.raises(durable.Conflict, match="have not ended"):
            await engine.queues.delete(queue)
        await engine.signal("held", "go", "on")
        assert await held.result() == "on"
        await engine.queues.delete(queue)
        with pytest.raises(durable.NotFound):
            await engine.queues.delete("brief")
        assert await engine.queues.list() == []
        assert await (await engine.enqueue(queue, says, "anew")).result() == "anew", "code declares it again"
        async with durable.open(place, serve=False) as other:
            await other.queues.delete(queue)
        assert await (await engine.enqueue(queue, says, "again")).result() == "again", "deleted by another one"


async def test_what_makes_no_sense_is_refused_with_what_to_do() -> None:
    for wrong in ({"concurrency": 0}, {"rate": (1,)}, {"rate": (0, 60)}, {"per_key": "2"}):
        with pytest.raises(durable.BadArguments):
            durable.Queue("mail", **wrong)
    with pytest.raises(durable.BadArguments, match="queue name"):
        durable.Queue("a b")
    async with durable.open(":memory:") as engine:
        with pytest.raises(durable.NotFound, match=r"durable\.Queue"):
            await engine.enqueue("nowhere", says, "x")
        for options in ({"priority": 10**6}, {"key": 3}, {"debounce": 1}, {"delay": -1}):
            with pytest.raises(durable.BadArguments):
                await engine.enqueue(durable.Queue("mail"), says, "x", **options)  # type: ignore[arg-type]


JOBS = """
import durable

@durable.function(name="noted")
async def noted(ctx: durable.Context, text: str) -> str:
    return text
"""


@durable.function(name="noted")
async def noted(ctx: durable.Context, text: str) -> str:
    raise AssertionError("it runs in the worker")


async def test_queues_from_the_shell_and_a_worker_of_some(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    terminal.durable("queue", "list").failed(1, "there is no store")
    terminal.durable("queue", "set", "mail", "--concurrency", "x").failed(2, "whole number from 1")
    made = terminal.durable("queue", "set", "mail", "--concurrency", "3", "--rate", "100/60", "--json").data
    assert (made["state"], made["concurrency"], made["rate"]) == ("open", 3, [100, 60.0])
    assert terminal.durable("queue", "set", "mail", "--rate", "none", "--json").data["rate"] is None
    terminal.durable("queue", "pause", "other").failed(3, "other")
    queued = terminal.durable("run", "jobs.py::noted", "by-hand", "--queue", "mail", "--key", "ana", "--json").data
    assert queued == "by-hand"
    terminal.durable("run", "jobs.py::noted", "by-hand", "--key", "ana").failed(2, "--queue")
    async with durable.open(tmp_path / ".durable" / "state.db", serve=False) as client:
        await client.queues.set("other")
        ours = await client.enqueue("mail", noted, "ours", key="k")
        theirs = await client.enqueue("other", noted, "theirs")
        assert terminal.durable("queue", "show", "mail", "--json").data["keys"] == [
            {"key": "k", "waiting": 1, "running": 0}
        ]
        with terminal.running("worker", "jobs.py", "--queues", "mail") as worker:
            assert await ours.result() == "ours"
            shown = {row["name"]: row for row in terminal.durable("queue", "list", "--json").data}
            assert (shown["mail"]["started"], shown["other"]["waiting"]) == (2, 1)
            assert await theirs.state() == "pending"
            worker.terminate()
            assert worker.wait(60) == 0
        assert terminal.durable("queue", "drain", "other", "--timeout", "0").code == 5
        assert terminal.durable("queue", "drain", "mail", "--json").data["state"] == "draining"
        assert terminal.durable("queue", "delete", "mail", "--json").data == {"name": "mail", "state": "deleted"}
        terminal.durable("queue", "delete", "other").failed(6, "have not ended")
        await client.cancel(theirs.id)
