"""Several servers in front of one database: engines that come through different ones, and one that moves."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import durable
from durable.store.port import open_direct
from tests.conftest import TOKEN, end_server, start_server
from tests.postgres_server import PostgresServer
from tests.waiting import first_prompt, until

LEASE_S = "1"
"""How long a server waits for an engine that is silent: less than an engine's lease in the database."""

begun: list[str] = []
began, go_on = asyncio.Event(), asyncio.Event()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    begun.clear()
    began.clear()
    go_on.clear()


@durable.function
async def asks(ctx: durable.Context) -> str:
    return await ctx.ask("which?", schema=str)


@durable.function
async def waits(ctx: durable.Context) -> str:
    return await ctx.run(held, "step")


async def held(name: str) -> str:
    begun.append(name)
    began.set()
    await go_on.wait()
    return name


class Servers:
    """Processes of `durable serve` on one database."""

    def __init__(self, directory: Path, database: str) -> None:
        self._directory = directory
        self._database = database
        self._running: list[subprocess.Popen[str]] = []

    def start(self) -> str:
        """One more; its URL."""
        log = self._directory / f"server-{len(self._running)}"
        server, url = start_server(log, "--lease", LEASE_S, store=self._database)
        self._running.append(server)
        return url

    def kill(self, number: int) -> None:
        """End one as a crash does."""
        self._running[number].kill()
        self._running[number].wait()

    def stop(self) -> None:
        """End all that run, in order."""
        for server in self._running:
            if server.poll() is None:
                assert end_server(server) == 0
            elif server.stdout is not None:
                server.stdout.close()


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.url()


@pytest.fixture
def servers(tmp_path: Path, database: str) -> Iterator[Servers]:
    found = Servers(tmp_path, database)
    try:
        yield found
    finally:
        found.stop()


class Balancer:
    """Forwards connections to one server, until it is told of another one: then all of them end."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._tasks: set[asyncio.Task[None]] = set()

    def turn_to(self, url: str) -> None:
        """Send all that comes to another server from now on."""
        self._port = int(url.rpartition(":")[2])
        for task in list(self._tasks):
            task.cancel()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    await asyncio.gather(_pipe(reader, there[1]), _pipe(there[0], writer))
                finally:
                    there[1].close()
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def balanced(url: str) -> AsyncIterator[tuple[Balancer, str]]:
    """A balancer in front of a server, and its URL."""
    balancer = Balancer(url)
    async with await asyncio.start_server(balancer.forward, "127.0.0.1", 0) as listener:
        yield balancer, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        balancer.turn_to(url)


async def test_engines_of_different_servers_work_together(servers: Servers, database: str) -> None:
    first, second = await asyncio.to_thread(servers.start), await asyncio.to_thread(servers.start)
    async with durable.open(first) as here, durable.open(second, serve=False) as there, durable.open(database) as own:
        execution = await here.start(asks, id="one")
        prompt = await first_prompt(there, "which?")
        assert await there.answer(prompt.id, "this")
        assert await execution.result(20) == "this"
        assert await (await there.get("one")).result(20) == "this"
        session = await here.session("desk")
        await session.execute("x = 41")
        assert (await (await there.session("desk")).execute("x + 1")).value == 42
        engines = {each.engine for each in await own.store.reads.engines()}
        assert {here.engine_id, own.engine_id} <= engines
        assert all(own.store.engine_alive(engine) for engine in engines)
    async with durable.open(second) as later:
        assert (await (await later.session("desk")).execute("x + 1")).value == 42


async def test_an_engine_that_moves_to_another_server_keeps_what_it_runs(servers: Servers, database: str) -> None:
    first, second = await asyncio.to_thread(servers.start), await asyncio.to_thread(servers.start)
    store = await open_direct(database)
    try:
        async with balanced(first) as (balancer, url), durable.open(url) as engine:
            execution = await engine.start(waits, id="one")
            await asyncio.wait_for(began.wait(), 20)
            moved_at = time.monotonic()
            balancer.turn_to(second)
            # The first server gives it up after its second, and must not take it for dead.
            while time.monotonic() < moved_at + 4:
                assert {each.engine for each in await store.reads.engines()} == {engine.engine_id}
                await asyncio.sleep(0.2)
            assert await (await engine.start(asks, id="two")).state() in ("pending", "running", "waiting")
            prompt = await first_prompt(engine, "which?")
            assert await engine.answer(prompt.id, "that")
            go_on.set()
            assert await execution.result(20) == "step"
            assert await (await engine.get("two")).result(20) == "that"
            info = await execution.info()
            assert (begun, info.attempts, info.starts) == (["step"], 0, 1)
    finally:
        await store.close()


async def test_another_server_takes_the_place_of_one_that_was_killed(servers: Servers) -> None:
    first, second = await asyncio.to_thread(servers.start), await asyncio.to_thread(servers.start)
    async with balanced(first) as (balancer, url), durable.open(url) as engine:
        execution = await engine.start(asks, id="one")
        session = await engine.session("desk")
        await session.execute("x = 41")
        prompt = await first_prompt(engine, "which?")
        result = asyncio.ensure_future(execution.result(40))
        servers.kill(0)
        balancer.turn_to(second)
        assert await engine.answer(prompt.id, "this")
        assert await result == "this"
        assert (await session.execute("x + 1")).value == 42

        async def lives() -> bool:
            return engine.engine_id in {each.engine for each in await engine.store.reads.engines()}

        assert await until(engine, lives)
        assert engine.store.engine_alive(engine.engine_id)


@durable.function
async def steps_for_an_hour(ctx: durable.Context) -> None:
    await ctx.run(an_hour)


async def an_hour() -> None:
    begun.append("an hour")
    await asyncio.sleep(3600)


async def test_a_cancellation_through_another_server_reaches_a_step_under_way(servers: Servers) -> None:
    one, other = servers.start(), servers.start()
    async with durable.open(one) as engine, durable.open(other, serve=False) as client, asyncio.timeout(30):
        execution = await engine.start(steps_for_an_hour, id="held")
        while not begun:
            await asyncio.wait([engine.changed()], timeout=0.05)
        assert await client.cancel("held", grace=600)
        with pytest.raises(durable.ExecutionCancelled):
            await execution.result()
