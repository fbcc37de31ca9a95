"""A replica that was behind takes the place of a database that is gone: what was acknowledged last is lost.

Nothing is claimed then that is not recorded there, nobody waits for ever for what is gone, and work goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import quote

import pytest

import durable
from durable.core.events import Event, StoreRegressed
from tests.contract.postgres_rules import broken
from tests.postgres_server import PostgresServer, binaries
from tests.waiting import in_state

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed; see DURABLE_TEST_POSTGRES_BIN")

gate = asyncio.Event()
"""Set: the step that is under way when the database is lost may end."""


async def number(n: int) -> int:
    return n


async def pause() -> str:
    await gate.wait()
    return "ended"


@durable.function
async def waits(ctx: durable.Context) -> object:
    await ctx.run(number, 1)
    return await ctx.signal("go")


@durable.function
async def pauses(ctx: durable.Context) -> list[object]:
    return [await ctx.run(number, 1), await ctx.run(pause), await ctx.run(number, 3)]


class Pair:
    """A server and its asynchronous replica, under one URL."""

    def __init__(self) -> None:
        self.first = PostgresServer(fast=False, fsync="off")
        self.second = PostgresServer.standby_of(self.first)
        hosts = ",".join(quote(str(server.directory), safe="") for server in (self.first, self.second))
        self.url = f"postgresql:///postgres?host={hosts}&user=postgres"

    def part(self) -> None:
        """From now on the replica gets nothing more; it has all until here."""
        ((position,),) = self.first.sql("SELECT pg_current_wal_lsn()::text")
        while self.second.sql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") != [(True,)]:
            pass
        self.second.sql("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        while self.second.sql("SELECT 1 FROM pg_stat_wal_receiver"):
            pass

    def fail_over(self) -> None:
        """The first is gone for good, the second takes its place."""
        self.first.kill()
        self.second.run("pg_ctl", "-D", str(self.second.data), "-w", "promote")


@pytest.fixture
def pair() -> Iterator[Pair]:
    found = Pair()
    try:
        yield found
    finally:
        found.first.stop()
        found.second.stop()


async def test_an_engine_goes_on_with_what_a_replica_has(pair: Pair) -> None:
    gate.clear()
    seen: list[Event] = []
    async with asyncio.timeout(100), durable.open(pair.url, observer=seen.append) as engine:
        kept = await engine.start(waits, id="kept")
        under_way = await engine.start(pauses, id="under-way")
        session = await engine.session("desk")
        assert (await session.execute("x = 1; x")).value == 1
        await in_state(engine, kept, "waiting")
        await asyncio.to_thread(pair.part)
        assert (await session.execute("x = 2; x")).value == 2
        gone = await engine.start(waits, id="gone")
        await in_state(engine, gone, "waiting")
        waiting = asyncio.ensure_future(gone.result())
        await kept.signal("go", "first")
        assert await kept.result() == "first"
        await asyncio.to_thread(pair.fail_over)
        with pytest.raises(durable.NotFound, match="gone"):
            await waiting
        assert await kept.state() == "waiting", "its signal is gone with its result"
        assert await kept.signal("go", "second")
        assert await kept.result() == "second"
        gate.set()
        assert await under_way.result() == [1, "ended", 3]
        assert (await session.execute("x")).value == 1, "the session is as it is recorded"
        again = await engine.start(waits, id="gone")
        assert await again.signal("go", "again")
        assert await again.result() == "again"
    (regressed,) = [event for event in seen if isinstance(event, StoreRegressed)]
    assert regressed.commits >= 4
    assert broken(pair.url) == []
