"""Executions that wait leave nothing in the engine; a burst's memory is given back (specs/prompt.md, Memory)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

import durable
from bridge.host.worker_session import WorkerSession
from durable.core.errors import EngineClosed
from durable.core.events import Event, MemoryGivenBack
from durable.functions.replay.execution_pass import ExecutionPass
from durable.functions.replay.function_loop import FunctionTask
from durable.sessions.execution.runner import LiveSession
from durable.sessions.ownership.admission import Entrance
from durable.store.sqlite import idle_memory
from durable.store.sqlite.store import Store
from tests.waiting import until

KINDS = (LiveSession, WorkerSession, ExecutionPass)


@durable.function
async def nested(ctx: durable.Context) -> str:
    return await ctx.ask("nested?")


@durable.function
async def asks_in_scopes(ctx: durable.Context) -> str:
    async def step() -> str:
        return ctx.id

    async def sleeps() -> None:
        await anyio.sleep(60)

    with anyio.fail_after(3_600):
        async with anyio.create_task_group() as group, asyncio.timeout(3_600):
            group.start_soon(sleeps)
            answer = await ctx.ask(await ctx.run(step))
            group.cancel_scope.cancel()
    return answer


@durable.function
async def asks_two(ctx: durable.Context) -> list[str]:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ctx.ask("first?"))
        second = group.create_task(ctx.run(nested))
    return [first.result(), second.result()]


@pytest.fixture
def collector() -> Iterator[None]:
    """Off, so that only what nobody refers to goes, and at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def objects(*kinds: type) -> list[object]:
    return [found for found in gc.get_objects() if isinstance(found, kinds)]


@pytest.mark.usefixtures("collector")
async def test_what_waits_leaves_no_object_and_no_garbage(tmp_path: Path) -> None:
    others = objects(*KINDS, FunctionTask)  # what tests before this one hold

    def kept(*kinds: type) -> list[str]:
        return [type(found).__name__ for found in objects(*kinds) if not any(found is other for other in others)]

    async with durable.open(tmp_path / "work.db", durability="process", parked=0) as engine:
        for n in range(2):
            await engine.start(asks_two, id=f"f{n}")
            await engine.start(asks_in_scopes, id=f"s{n}")
        for n in range(4):
            session = await engine.session(f"s{n}")
            await session.submit(f"print({n})\nx = ask('session {n}?')\nx")

        async with asyncio.timeout(30):
            while len(await engine.prompts()) < 10 or engine.workers.live or kept(*KINDS):
                await asyncio.wait([engine.changed()], timeout=0.05)  # a worker's end is no change of the store
        gc.collect()  # a scope of anyio and its task hold each other
        assert kept(FunctionTask) == []
        for prompt in await engine.prompts():
            await engine.answer(prompt.id, "said")
        function = await engine.get("f0")
        assert await function.result(timeout=30) == ["said", "said"]
        await until(engine, lambda: ended(engine, "s0@1"))


async def ended(engine: durable.Engine, execution: str) -> bool:
    return await (await engine.get(execution)).state() == "completed"


async def test_a_store_at_rest_gives_back_what_a_burst_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_memory, "REST_S", 0.05)
    given: asyncio.Queue[int] = asyncio.Queue()

    def seen(event: Event) -> None:
        if isinstance(event, MemoryGivenBack):
            given.put_nowait(event.requests)

    store = await Store.open(tmp_path / "work.db", observer=seen, durability="process")
    try:
        for burst in range(2):
            made = [
                store.post("promise.create", {"id": f"p{burst}.{n}", "timeoutAt": 2**50, "tags": {}})
                for n in range(idle_memory.WORK_REQUESTS_MIN)
            ]
            await asyncio.gather(*made)
            assert await given.get() >= idle_memory.WORK_REQUESTS_MIN
            await store.request("promise.get", {"id": f"p{burst}.1"})
        assert given.empty()
    finally:
        await store.close()


async def test_an_entrance_lets_in_so_many_in_order() -> None:
    entrance, entered = Entrance(2), list[int]()

    async def one(n: int) -> None:
        leave = await entrance.enter()
        entered.append(n)
        leaves.append(leave)

    leaves: list[Callable[[], None]] = []
    tasks = [asyncio.create_task(one(n)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert entered == [0, 1]
    tasks[2].cancel()
    leaves[0]()
    leaves[0]()
    await tasks[3]
    assert entered == [0, 1, 3]
    leaves[1]()
    tasks[4].cancel()  # its turn came in the same breath
    await asyncio.wait([tasks[4]])
    await one(6)
    assert entered == [0, 1, 3, 6]
    late = asyncio.create_task(one(7))
    await asyncio.sleep(0)
    entrance.close()
    for refused in (late, asyncio.create_task(one(8))):
        with pytest.raises(EngineClosed):
            await refused
