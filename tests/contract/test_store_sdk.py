"""The released SDK on the store: what it sends is answered, what it waits for comes (specs/store.md)."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

from resonate.context import Context
from resonate.resonate import Resonate

from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.remote.sdk_connection import RemoteConnection
from tests.conftest import TOKEN

from .opened import acquire, opened, root, settle


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


async def test_a_fence_around_a_promise_that_is_gone_is_refused_where_the_sdk_reads_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("a"))
        await acquire(store, "a")
        action = {"kind": "promise.settle", "data": settle("exec:a.1")}
        data = {"id": "exec:a", "version": 1, "action": action}
        inner = (await store.request("task.fence", data)).data["action"]
        assert (inner["head"]["status"], inner["data"]) == (404, "promise 'exec:a.1' does not exist")
        envelope = json.dumps({"kind": "task.fence", "head": {"corrId": "c"}, "data": data})
        with listen("127.0.0.1", 0) as sock:
            async with serving(Site(store, TOKEN), sock) as url:
                flushed = asyncio.sleep
                elsewhere = RemoteConnection(url, TOKEN, "e2", "g", before=lambda: flushed(0), on_full=print)
                await elsewhere.start()
                for connection in (store.connect("e1", "g"), elsewhere):
                    found = json.loads(await connection.send(envelope))
                    assert (found["head"]["status"], found["data"]) == (404, inner["data"])
                    assert found["head"]["corrId"] == "c"
                await elsewhere.stop()
