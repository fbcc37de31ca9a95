"""The released SDK on the store: what it sends is answered, what it waits for comes (specs/store.md)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from resonate.context import Context
from resonate.resonate import Resonate

from .opened import opened


async def step(ctx: Context, n: int) -> int:
    return n + 1


async def child(ctx: Context, n: int) -> int:
    await ctx.sleep(timedelta(milliseconds=20))
    return n * 2


async def workflow(ctx: Context, n: int) -> int:
    for _ in range(3):
        n = await ctx.run(step, n)
    return await ctx.rpc("child", n)


async def test_steps_a_remote_child_and_a_sleep_end_with_the_right_result(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        connection = store.connect("e1", "default")
        resonate = Resonate(network=connection, sources=[connection], group="default", pid="e1")
        for function in (step, child, workflow):
            resonate.register(function)
        handles = [resonate.run(f"w{i}", workflow, i) for i in range(10)]
        results = await asyncio.wait_for(asyncio.gather(*(handle.result() for handle in handles)), 20)
        assert results == [(i + 3) * 2 for i in range(10)]
        assert [await resonate.run("w0", workflow, 99).result()] == [6]
        await resonate.stop()
