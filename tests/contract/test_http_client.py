"""`durable.Client`: a program without an engine uses a served store (docs/http-api.md)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

import durable
from tests.contract import test_http_api as functions

from .api_server import api_server
from .served import TOKEN

assert functions.adds.startable, "the functions that the server runs"


async def test_a_program_without_an_engine(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server, durable.Client(server.url, TOKEN) as client:
        await server.site_engine()
        started = await client.start("api-adds", 40, second=2, id="sum", tags={"customer": "c7", "kind": "a=b"})
        assert started.id == "sum"
        assert await client.result("sum") == 42
        assert (await client.start("api-adds", 40, second=2, id="sum")).result == 42
        assert (await client.execution("sum")).arguments == {"args": [40, 2], "kwargs": {}}
        assert [each.id async for each in client.executions(tag=("customer", "c7"))] == ["sum"]
        both = {"customer": "c7", "kind": "a=b"}
        assert [each.id async for each in client.executions(tags=both)] == ["sum"]
        assert [each.id async for each in client.executions(tags={**both, "kind": "a"})] == []
        assert [each.kind async for each in client.steps("sum")] == ["step"]
        with pytest.raises(durable.Conflict, match="exists"):
            await client.start("api-adds", 41, id="sum")
        with pytest.raises(durable.NotFound, match="no function"):
            await client.start("nobody-has-it")
        with pytest.raises(durable.ExecutionError, match="no such luck") as failed:
            await client.result((await client.start("api-fails")).id)
        assert failed.value.exception_type == "ValueError"
        assert "raise ValueError" in failed.value.traceback
        await client.start("api-asks", id="gone")
        assert await client.cancel("gone")
        with pytest.raises(durable.ExecutionCancelled):
            await client.result("gone")
        assert not await client.cancel("gone")


async def test_people_and_sessions(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server, durable.Client(server.url, TOKEN) as client:
        await server.site_engine()
        await client.start("api-asks", id="q")
        with pytest.raises(durable.Waiting) as waiting:
            await client.result_or_wait("q", timeout=30)
        [prompt] = waiting.value.prompts
        assert [each.id async for each in client.prompts()] == [prompt]
        with pytest.raises(TimeoutError):
            await client.result("q", timeout=0.2)
        async with durable.Client(server.url, server.tokens["answer"]) as person:
            with pytest.raises(durable.InvalidAnswer) as wrong:
                await person.answer(prompt, "many")
            assert wrong.value.errors
            with pytest.raises(durable.Denied, match="operate"):
                await person.cancel("q")
            result = asyncio.create_task(client.result("q", timeout=30))
            assert await person.answer(prompt, 7)
            assert await result == 7
        await client.session("desk", limits={"output": 10_000})
        cell = await client.run("desk", "print('hello'); x", inputs={"x": [1, 2]})
        assert (await client.result(cell.id))["value"] == [1, 2]
        assert "".join([event.text async for event in client.output(cell.id)]) == "hello\n"
        assert [each.name for each in (await client.variables("desk")).variables] == ["x"]
        assert (await client.request("GET", "/token"))["name"] == "owner"
        async with durable.Client(server.url, "wrong-token-of-nobody") as stranger:
            with pytest.raises(durable.StoreDenied):
                await stranger.execution("q")


@durable.function(name="client-slashes")
async def slashes(ctx: durable.Context) -> int:
    await ctx.stream("reports/daily").write("a")
    await ctx.publish(**{"50%/a\\b": 1})
    return await ctx.signal("go/on", schema=int)


async def test_names_with_slashes(tmp_path: Path) -> None:
    async with api_server(tmp_path / "s.db") as server, durable.Client(server.url, TOKEN) as client:
        await server.site_engine()
        await client.start("client-slashes", id="s")
        assert await client.published("s", "50%/a\\b", wait=30) == 1
        assert await client.signal("s", "go/on", 3)
        assert await client.result("s") == 3
        assert [each.value async for each in client.stream("s", "reports/daily")] == ["a"]
        headers = {"authorization": f"Bearer {TOKEN}"}
        place = f"{server.url}/executions/s/streams/"
        sent = {"reports%2Fdaily": 200, "reports/daily": 404, "reports%2Fdaily%00": 404, "a%00b": 400}
        for path, status in sent.items():
            async with server.http.get(URL(f"{place}{path}", encoded=True), headers=headers) as response:
                assert response.status == status, path
        assert (await server.call("GET", "/executions/s%2Fstreams/reports"))[0] == 404


async def test_deployments(tmp_path: Path) -> None:
    options = {"deployment": "new"}
    async with (
        api_server(tmp_path / "s.db", engine_options=options) as server,
        durable.Client(server.url, TOKEN) as client,
    ):
        await server.site_engine()
        await client.start("api-signalled", id="s")
        [found] = await client.deployments()
        assert (found.name, found.stranded) == ("new", False)
        used = await client.use_deployment("new")
        assert (used.name, used.new_work) == ("new", found.new_work)
        outcome = await client.move_executions("new", ids=["nothing"], dry_run=True)
        assert [(each.id, each.ok) for each in outcome.items] == [("nothing", False)]
        with pytest.raises(durable.Conflict, match="alive"):
            await client.delete_deployment("new")
        with pytest.raises(durable.NotFound, match="a/b"):
            await client.delete_deployment("a/b")
        rules = {each.function for each in await client.retention_rules()}  # of whatever this process has imported
        assert not any("api-signalled" in function for function in rules)


@asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[tuple[str, Callable[[], int]]]:
    """A proxy to a server that can cut all its connections; its URL, and what does that and counts them."""
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def cut() -> int:
        count = len(writers)
        for writer in writers:
            writer.transport.abort()
        writers.clear()
        return count

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
        cut()


@pytest.mark.file_only("cuts the connection, not the store")
async def test_a_cut_connection_loses_nothing(tmp_path: Path) -> None:
    async with (
        api_server(tmp_path / "s.db") as server,
        cutting_proxy(int(server.url.rpartition(":")[2])) as (url, cut),
        durable.Client(url, TOKEN) as client,
    ):
        await server.site_engine()
        settled: list[str] = []
        ready, done = asyncio.Event(), asyncio.Event()

        async def listen() -> None:
            async for event in client.events():
                ready.set()
                assert event.kind != "reset"
                if event.kind == "execution.settled":
                    settled.append(event.execution)
                    if len(settled) == 10:
                        done.set()

        listening = asyncio.create_task(listen())
        await ready.wait()
        cuts = 0
        for n in range(10):
            _, count = await asyncio.gather(client.start("api-adds", n, id=f"e{n}"), _cut_soon(cut))
            cuts += count
        async with asyncio.timeout(30):
            await done.wait()
        listening.cancel()
        assert sorted(settled) == [f"e{n}" for n in range(10)]
        assert cuts > 0


async def _cut_soon(cut: Callable[[], int]) -> int:
    await asyncio.sleep(0.01)  # in the middle of a request, as often as not
    return cut()


@pytest.mark.file_only("there is no server")
async def test_a_server_that_is_gone() -> None:
    async with durable.Client("http://127.0.0.1:9", "token-of-the-tests", patience=0.2) as client:
        with pytest.raises(durable.StoreUnreachable, match="cannot be reached"):
            await client.execution("x")
    with pytest.raises(durable.EngineClosed):
        await client.execution("x")
    with pytest.raises(durable.BadArguments, match="http"):
        durable.Client("work.db")


@pytest.mark.file_only("no store is opened")
def test_the_client_is_cheap_to_import() -> None:
    code = (
        "import durable, sys; durable.Client; print([m for m in sys.modules if m in "
        "('aiohttp', 'pydantic', 'resonate', 'sqlite3', 'durable.engine.engine', 'durable.store.port')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
