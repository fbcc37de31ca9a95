"""Engines behind a real PgBouncer in transaction mode, of a kind that knows prepared statements and of one that does
not: each of their transactions may get another connection of a few."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import psycopg
import pytest

import durable
from durable.core.errors import StoreError
from durable.store.postgres import notices, writer
from durable.store.postgres.address import address_of
from tests.contract.postgres_rules import broken
from tests.postgres_server import Bouncer, PostgresServer, bouncer_program, bouncer_version, rows_of
from tests.waiting import first_prompt, in_state

POOL = 3
"""Fewer connections than two engines have of it."""
STATEMENTS_FROM = (1, 21)
"""The version of PgBouncer from which on it takes prepared statements along."""

runs: list[int] = []


async def record(n: int) -> int:
    runs.append(n)
    return n


@durable.function
async def whole(ctx: durable.Context, n: int) -> list[object]:
    """Steps, a child, a signal, a question, a session's cell."""
    steps = [await ctx.run(record, n * 10 + step) for step in range(3)]
    child = await ctx.run(leaf, n)
    sent = await ctx.signal("go")
    answer = await ctx.ask(f"which {n}?", schema=str)
    cell = await ctx.execute("k = sum(given); k", session="desk", inputs={"given": steps})
    return [child, sent, answer, cell.value]


@durable.function
async def leaf(ctx: durable.Context, n: int) -> int:
    return await ctx.run(record, 1_000 + n)


@pytest.fixture(params=["0", "100"], ids=["plain", "statements"])
def bouncer(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Bouncer]:
    program = bouncer_program()
    if program is None:
        assert os.environ.get("CI") != "true", "PgBouncer is not installed: .ci/run installs it"
        pytest.skip("PgBouncer is not installed; install Debian's pgbouncer, or set DURABLE_TEST_PGBOUNCER_BIN")
    settings = {"max_prepared_statements": request.param}
    if bouncer_version(program) < STATEMENTS_FROM:
        if request.param != "0":
            pytest.skip(
                "this PgBouncer takes no prepared statements along; DURABLE_TEST_PGBOUNCER_BIN names one from 1.21 on"
            )
        settings = {}
    found = Bouncer(postgres_server.directory, default_pool_size=str(POOL), **settings)
    try:
        yield found
    finally:
        found.stop()


async def test_everything_works_through_a_pooler(
    bouncer: Bouncer, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "POLL_S", 0.1)  # what others did is seen at looks alone, and there are many to see
    runs.clear()
    direct = postgres_server.url()
    url = bouncer.url(direct)
    async with durable.open(url) as engine, durable.open(url, serve=False) as client, asyncio.timeout(60):
        executions = [await client.start(whole, n, id=f"whole-{n}") for n in range(2)]
        for n, execution in enumerate(executions):
            await execution.signal("go", n)
        for n in range(2):
            await client.answer((await first_prompt(client, f"which {n}?")).id, f"this {n}")
        expected = [[1_000 + n, n, f"this {n}", 30 * n + 3] for n in range(2)]
        assert [await each.result() for each in executions] == expected
        assert sorted(runs) == [0, 1, 2, 10, 11, 12, 1_000, 1_001]
        queue = durable.Queue("mail", concurrency=2)
        queued = [await client.enqueue(queue, leaf, n) for n in range(6)]
        assert [await each.result() for each in queued] == [1_000 + n for n in range(6)]
        session = await engine.session("large")
        assert (await session.execute("import os\nlarge = os.urandom(3_000_000)\nprint('out')")).stdout == "out\n"
        await session.checkpoint("base")
        await session.execute("large = b''")
        assert len(await client.executions()) >= 8
        (pool,) = [each for each in bouncer.admin("SHOW POOLS") if each["database"] == "postgres"]
        assert pool["sv_active"] + pool["sv_idle"] + pool["sv_used"] <= POOL, "or it does not pool"
    async with durable.open(url) as engine, asyncio.timeout(60):
        session = await engine.session("large")
        await session.restore("base", clear_existing=True)
        assert (await session.execute("len(large)")).value == 3_000_000
    assert broken(direct) == []


async def test_a_pooler_that_is_killed_loses_and_repeats_nothing(
    bouncer: Bouncer, postgres_server: PostgresServer
) -> None:
    runs.clear()
    direct = postgres_server.url()
    url = bouncer.url(direct)
    async with durable.open(url) as engine, asyncio.timeout(60):
        executions = []
        for round_number in range(3):
            starting = [asyncio.ensure_future(engine.start(leaf, round_number * 20 + n)) for n in range(20)]
            await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(bouncer.kill)
            await asyncio.to_thread(bouncer.start)
            executions += await asyncio.gather(*starting)
        assert [await each.result() for each in executions] == [1_000 + n for n in range(60)]
        session = await engine.session("desk")
        await session.execute("x = 41")
        bouncer.kill()
        submitting = asyncio.ensure_future(session.execute("x + 1"))
        bouncer.start()
        assert (await submitting).value == 42
    assert set(runs) == set(range(1_000, 1_060))
    assert rows_of(direct, "SELECT count(*) FROM promises WHERE state='resolved' AND id LIKE '%.%'") == [(60,)]
    assert broken(direct) == []


async def test_engines_hear_of_each_other_past_the_pooler_where_the_database_is_named(
    bouncer: Bouncer, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With looks a minute apart, only what is heard can wake the other engine in time."""
    monkeypatch.setattr(writer, "POLL_S", 60.0)
    url = f"{bouncer.url(postgres_server.url())}&direct={postgres_server.directory}"
    async with durable.open(url) as engine, durable.open(url, serve=False) as client, asyncio.timeout(30):
        execution = await client.start(whole, 1, id="heard")
        await in_state(engine, execution, "waiting")
        await execution.signal("go", 1)
        await client.answer((await first_prompt(client)).id, "this")
        assert await execution.result() == [1_001, 1, "this", 33]


async def test_nothing_listens_through_a_pooler(bouncer: Bouncer, postgres_server: PostgresServer) -> None:
    """LISTEN would stay with a connection that others get."""
    url = bouncer.url(postgres_server.url())
    address = address_of(url)
    with psycopg.connect(address.conninfo, autocommit=True) as other:
        async with durable.open(url) as engine, asyncio.timeout(30):
            assert await (await engine.start(leaf, 1)).result() == 1_001
            for _ in range(2 * POOL):
                other.execute("SELECT 1")
                assert other.execute("SELECT * FROM pg_listening_channels()").fetchall() == []


async def test_a_database_that_is_not_reached_past_the_pooler_is_used_through_it(
    bouncer: Bouncer, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "DIRECT_RETRY_S", 0.1)
    url = f"{bouncer.url(postgres_server.url())}&direct=/nowhere"
    async with durable.open(url) as engine, durable.open(url, serve=False) as client, asyncio.timeout(30):
        assert await (await client.start(leaf, 1)).result() == 1_001
        assert engine.store.engine_alive(engine.engine_id)


def test_the_database_behind_a_pooler_is_named_by_host_or_socket() -> None:
    address = address_of("postgresql://me:pw@pool:6432/work?sslmode=require&direct=db.example:5433&schema=team")
    assert address.direct is not None
    assert address.direct.conninfo == "postgresql://me@db.example:5433/work?sslmode=require"
    assert address.url == "postgresql://me@pool:6432/work?sslmode=require&schema=team&direct=db.example%3A5433"
    assert address.pg_dump_url == "postgresql://me@pool:6432/work?sslmode=require"
    assert address.shown == "postgresql://me@pool:6432/work?schema=team"
    assert address_of("postgresql://pool/work").direct is None
    socket = address_of("postgresql:///work?host=%2Fpool&port=6432&direct=%2Fdb").direct
    assert socket is not None
    assert socket.conninfo == "postgresql:///work?host=%2Fdb"
    for wrong in ("me:pw@db", "db:port", "db/other", ""):
        with pytest.raises(StoreError, match=r"no HOST\[:PORT\]") as caught:
            address_of(f"postgresql://pool/work?direct={wrong}")
        assert "pw" not in str(caught.value)
