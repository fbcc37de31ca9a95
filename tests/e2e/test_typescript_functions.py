"""Functions of the TypeScript SDK and in Python, each with a part in the other's: on every server of the protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.clock import TIME_MAX_MS
from durable.store.port import open_store
from tests.conftest import TOKEN, Node, end_server, start_server
from tests.e2e.resonate_servers import RESONATE_PG, resonate_pg, sdk_server

from .test_resonate_server import envelope
from .test_serve_node import said


@pytest.fixture(params=["durable serve", "sdk", "resonate-pg"])
def server(
    request: pytest.FixtureRequest, node_js: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a server of the Resonate protocol: ours, and two others."""
    if request.param == "durable serve":
        monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
        process, url = start_server(tmp_path / "work.db")
        yield url
        assert end_server(process) == 0
        return
    if request.param == "sdk":
        with sdk_server(node_js) as url:
            yield url
        return
    schema = os.environ.get(RESONATE_PG)
    if not schema:
        pytest.skip(f"{RESONATE_PG} names no file: it is resonate.sql of github.com/resonatehq/resonate-pg")
    with resonate_pg(request.getfixturevalue("postgres_server"), Path(schema)) as url:
        yield url


@asynccontextmanager
async def typescript(node_js: Node, url: str, journal: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program in TypeScript, listening."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESONATE")}
    process = await asyncio.create_subprocess_exec(
        node_js.program,
        str(node_js.directory / "together.mjs"),
        url,
        TOKEN,
        str(journal),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        assert await said(process, "here")
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Promises:
    """The promises of a server, by the protocol alone."""

    def __init__(self, store: Any) -> None:
        self.store = store

    async def begin(self, promise_id: str, function: str, *arguments: object) -> str:
        """Begin a function of the TypeScript program; one that has begun is left alone."""
        call = {"func": function, "args": list(arguments), "version": 1}
        data = {
            "id": promise_id,
            "timeoutAt": TIME_MAX_MS,
            "param": {"data": packed(call)},
            "tags": {"resonate:target": "poll://any@node", "resonate:scope": "global", "resonate:origin": promise_id},
        }
        await self.store.request("promise.create", data)
        return promise_id

    async def resolve(self, promise_id: str, value: object) -> str:
        """Settle a promise of a function in TypeScript."""
        await self.store.request(
            "promise.settle", {"id": promise_id, "state": "resolved", "value": {"data": packed(value)}}
        )
        return promise_id

    async def value(self, promise_id: str) -> Any:
        """The value of a promise, once it is settled."""
        async with asyncio.timeout(30):
            return (await self.store.settled(promise_id)).value


def packed(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


async def test_each_waits_for_what_the_other_settles(server: str, node_js: Node, tmp_path: Path) -> None:
    """A step, a sleep, a child, a question and a promise in Python, with functions in TypeScript in between."""
    store = await open_store(server)
    promises = Promises(store)

    async def sign(promise_id: str, name: str) -> str:
        return await promises.resolve(promise_id, name)

    async def begin(promise_id: str, function: str, *arguments: object) -> str:
        return await promises.begin(promise_id, function, *arguments)

    @durable.function(name="signs")
    async def signs(ctx: durable.Context, signed: str) -> str:
        await ctx.sleep(0.1)
        name = await ctx.ask("Who signs?", schema=str)
        await ctx.run(sign, signed, name)
        return str(name)

    @durable.function(name="shop")
    async def shop(ctx: durable.Context, amount: int, signed: str) -> dict[str, Any]:
        paid = ctx.promise(schema=dict[str, Any])
        await ctx.run(begin, "payment", "pay", paid.id, amount)
        return {"paid": await paid, "by": await ctx.run(signs, signed)}

    journal = tmp_path / "journal"
    try:
        async with typescript(node_js, server, journal) as process, durable.open(server, group="python") as engine:
            await promises.begin("delivery", "deliver", "a lathe")
            signed = await said(process, "signed")
            execution = await engine.start(shop, 7, signed, id="shop")
            while (change := engine.changed()) and not (prompts := await engine.prompts()):
                await change
            await engine.answer(prompts[0].id, "Ana")
            assert await execution.result(timeout=30) == {"paid": {"amount": 7, "by": "typescript"}, "by": "Ana"}
            assert await promises.value("delivery") == "a lathe for Ana"
            assert await promises.value("payment") == 7
    finally:
        await store.close()
    assert sorted(journal.read_text().split()) == ["deliver", "pay"]


async def test_a_function_in_typescript_calls_one_in_python(server: str, node_js: Node, tmp_path: Path) -> None:
    async def double(n: int) -> int:
        return 2 * n

    @durable.function(name="double_in_python")
    async def double_in_python(ctx: durable.Context, n: int) -> int:
        await ctx.sleep(0.1)
        return int(await ctx.run(double, n))

    store = await open_store(server)
    promises = Promises(store)
    try:
        async with (
            typescript(node_js, server, tmp_path / "journal"),
            durable.open(server, group="python"),
        ):
            await promises.begin("sum", "add", 20)
            assert await promises.value("sum") == 41
    finally:
        await store.close()


async def test_a_schedule_that_typescript_made_begins_its_function(
    server: str, node_js: Node, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Where its time can be made to come: by `schedule.trigger`, a request of ours, or by the server's clock."""
    kind = request.node.callspec.params["server"]
    store = await open_store(server)
    promises = Promises(store)
    try:
        async with typescript(node_js, server, tmp_path / "journal"):
            made = (await store.request("schedule.get", {"id": "yearly"})).data["schedule"]
            assert made["cron"] == "0 0 1 1 *"
            if kind == "durable serve":
                begun = (await store.request("schedule.trigger", {"id": "yearly"})).data["promise"]
            elif kind == "sdk":
                due = made["nextRunAt"]
                await envelope(server, "debug.tick", {"time": due})
                begun = f"yearly-{due}"
            else:
                return
            assert await promises.value(begun) == 42
    finally:
        await store.close()
