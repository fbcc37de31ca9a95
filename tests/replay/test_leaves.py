"""When a step may begin, and what becomes of one that lost its lease on the way (specs/execution.md, R7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.store.sqlite.store import Store
from tests.waiting import in_state

began: list[str] = []
reached, gate = asyncio.Event(), asyncio.Event()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global reached, gate
    began.clear()
    reached, gate = asyncio.Event(), asyncio.Event()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "s.db", durability="process") as engine:
        yield engine


async def step(name: str) -> str:
    began.append(name)
    return name


async def pause() -> None:
    reached.set()
    await gate.wait()


@durable.function
async def two_steps(ctx: durable.Context) -> list[str]:
    first = await ctx.run(step, "first")
    await ctx.run(pause)
    return [first, await ctx.run(step, "second"), await ctx.run(step, "third")]


async def end(store: Store, kind: str, execution: durable.Execution[Any]) -> None:
    """Take the task away from its engine, as another process does."""
    data: dict[str, Any] = {"id": execution.promise_id}
    await store.request(kind, data | ({"state": "rejected_canceled"} if kind == "promise.settle" else {}))


@pytest.mark.parametrize("kind", ["promise.settle", "task.halt"])
async def test_a_step_after_another_process_took_the_task_away_never_begins(
    engine: durable.Engine, tmp_path: Path, kind: str
) -> None:
    execution = await engine.start(two_steps)
    await reached.wait()
    other = await Store.open(tmp_path / "s.db", durability="process")
    await end(other, kind, execution)
    await other.close()
    gate.set()
    await in_state(engine, execution, "cancelled" if kind == "promise.settle" else "interrupted")
    await passes_end()
    assert began == ["first"]


@durable.function
async def three_steps(ctx: durable.Context) -> list[str]:
    return [await ctx.run(step, name) for name in ("first", "second", "third")]


async def test_a_step_that_lost_its_lease_meanwhile_is_not_recorded_and_nothing_follows(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine.store
    assert isinstance(store, Store)
    looked: list[str] = []

    def looked_too_early(task: str, _version: int, child: str) -> bool:
        looked.append(child)
        if len(looked) == 2:
            store.post("task.halt", {"id": task})  # what it saw is no longer so when its creation comes to the store
        return True

    monkeypatch.setattr(store.glance, "may_begin", looked_too_early)
    execution = await engine.start(three_steps)
    await in_state(engine, execution, "interrupted")
    await passes_end()
    assert began == ["first", "second"]
    steps = await store.reads.children(execution.id)
    assert [each.id for each in steps] == [f"{execution.promise_id}.1"]
    monkeypatch.undo()
    assert await engine.resume(execution.id)
    assert await execution.result(10) == ["first", "second", "third"]
    assert began == ["first", "second", "second", "third"]


async def passes_end() -> None:
    """Return when no pass of a function is under way in this process."""
    under_way = [task for task in asyncio.all_tasks() if "TaskRunner._" in repr(task)]
    if under_way:
        await asyncio.wait(under_way)


@durable.function
async def many_at_once(ctx: durable.Context, count: int) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.run(step, f"{n}")) for n in range(count)]
    return [task.result() for task in tasks]


async def test_steps_begun_together_are_recorded_in_the_order_of_their_calls(engine: durable.Engine) -> None:
    execution = await engine.start(many_at_once, 50)
    names = [f"{n}" for n in range(50)]
    assert await execution.result(10) == names
    steps = {each.id: each.value for each in await engine.store.reads.children(execution.id)}
    assert [steps[f"{execution.promise_id}.{n + 1}"] for n in range(50)] == names


def pickled() -> dict[str, str]:
    return {"__py_pickle": "gASV", "kept": "yes"}


@durable.function
async def returns_a_pickle(ctx: durable.Context) -> Any:
    return await ctx.run(pickled)


async def test_a_steps_result_never_carries_what_the_sdk_would_unpickle(engine: durable.Engine) -> None:
    execution = await engine.start(returns_a_pickle)
    assert await execution.result(10) == {"kept": "yes"}
    (recorded,) = await engine.store.reads.children(execution.id)
    assert recorded.value == {"kept": "yes"}
