"""A session that another process closes: the engine that has it ends its worker at once, and gives its place back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import durable
from durable.core.events import Event, WorkerEnded
from tests.warm_python import PYTHON

CLOSES = """
import asyncio, sys, durable
async def main():
    async with durable.open(sys.argv[1], serve=False) as client:
        await (await client.session(sys.argv[2])).close()
asyncio.run(main())
"""


async def closed_elsewhere(store: str, name: str) -> None:
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", CLOSES, store, name)
    assert await process.wait() == 0


async def test_the_worker_of_a_session_closed_elsewhere_is_ended(place: str) -> None:
    ended = asyncio.Event()

    def seen(event: Event) -> None:
        if isinstance(event, WorkerEnded) and event.session == "first":
            ended.set()

    async with durable.open(place, pool=durable.Pool(max=1), observer=seen) as engine:
        first, second = await engine.session("first"), await engine.session("second")
        await first.execute("x = 1")
        waits = asyncio.create_task(second.execute("'here'"))  # until the only place is free
        await closed_elsewhere(place, "first")
        await ended.wait()
        assert (await waits).value == "here"
        assert not engine.host.here("first")
        await closed_elsewhere(place, "second")
        again = await (await engine.session("first")).execute("'x' in dir()")
        assert (again.id, again.value) == ("first@2", False)


async def test_so_is_one_whose_code_runs_or_waits(tmp_path: Path) -> None:
    store = str(tmp_path / "work.db")
    async with durable.open(store, pool=durable.Pool(max=1)) as engine:
        for n, code in enumerate(["while True: pass", "input('?')"]):
            session = await engine.session(f"s{n}")
            running = await session.submit(code)
            while (change := engine.changed()) and await running.state() == "pending":
                await change
            await closed_elsewhere(store, f"s{n}")
            assert (await (await engine.session("other")).execute("1")).value == 1
            await (await engine.session("other")).close()
