"""`durable copy`: a whole store in another place, compared, and gone on with there (specs/store.md, Copy)."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from pathlib import Path

import pytest

import durable
from durable.core.errors import Conflict, StoreError, StoreMissing
from durable.store.port import open_direct
from durable.store.postgres.transfer import target_schema
from durable.store.sqlite.file import load_key
from durable.store.sqlite.transfer import target_file
from durable.store.upkeep.backup import backup
from durable.store.upkeep.copied_tables import TABLES
from durable.store.upkeep.copy import copy
from durable.store.upkeep.doctor import examine
from tests.direct_store import opened_store
from tests.postgres_server import PostgresServer
from tests.warm_python import PYTHON

from .invariants import check, contents

NUL = "a\0b\ufdd0c"
STEPS: list[str] = []


@durable.function
async def asks(ctx: durable.Context) -> str:
    await ctx.run(note, "before")
    answer = await ctx.ask("Which?", schema=str)
    await ctx.run(note, "after")
    return answer


async def note(text: str) -> str:
    STEPS.append(text)
    return text


async def fill(place: str) -> None:
    """A function that waits, a session with small and large variables, what was asked for, values, a schedule."""
    async with durable.open(place) as engine:
        execution = await engine.start(asks, id="waits")
        while True:
            change = engine.changed()
            if await execution.state() == "waiting":
                break
            await asyncio.wait([change], timeout=1)  # a suspension follows its change silently
        session = await engine.session("desk", grants=["kv"])
        await session.execute("import os\nlarge = os.urandom(300_000)\ntext = 'a\\0b'\nprint(text)")
        await session.checkpoint("base")
        await session.execute("n = 41")
        await engine.store.request("kv.set", {"namespace": "n", "key": "k", "value": NUL, "quota": 99})
        schedule = {"id": "tick", "cron": "@yearly", "promiseId": "tick", "promiseTimeout": 1000}
        schedule["promiseTags"] = {"resonate:target": "poll://any@default"}
        await engine.store.request("schedule.create", schedule)


async def goes_on(place: str) -> None:
    """What was begun elsewhere goes on here: the function after its recorded step, the session with its variables."""
    STEPS.clear()
    async with durable.open(place) as engine:
        (prompt,) = await engine.prompts()
        await engine.answer(prompt.id, "this")
        assert await (await engine.get("waits")).result() == "this"
        session = await engine.session("desk")
        found = await session.execute("(len(large), text, n + 1)")
        assert found.repr == "(300000, 'a\\x00b', 42)"
        await session.restore("base", clear_existing=True)
        assert "NameError" in str((await session.execute("n")).error)
        value = (await engine.store.request("kv.get", {"namespace": "n", "key": "k"})).data["value"]
        assert value == NUL
    assert STEPS == ["after"]


async def test_to_a_database_and_back_and_on(tmp_path: Path, postgres_server: PostgresServer) -> None:
    first, url, back = str(tmp_path / "first.db"), postgres_server.url(), str(tmp_path / "back" / "b.db")
    await fill(first)
    there = await asyncio.to_thread(copy, first, url)
    assert there.tables["promises"] >= 5
    assert there.blobs >= 1
    assert there.bytes >= 300_000
    home = await asyncio.to_thread(copy, url, back)
    assert home == there
    check(Path(back))
    assert not examine(Path(back))
    assert contents(Path(back), TABLES) == contents(Path(first), TABLES)
    assert load_key(Path(back), create=False) == load_key(Path(first), create=False)
    again = postgres_server.url()
    await asyncio.to_thread(copy, back, again)
    for place in (back, again):
        await goes_on(place)


async def test_numbers_go_on_where_they_were(tmp_path: Path, postgres_server: PostgresServer) -> None:
    """A checkpoint's number is never used again, also where the newest of them is gone."""
    first, url, back = tmp_path / "first.db", postgres_server.url(), tmp_path / "b.db"
    await fill(str(first))
    connection = sqlite3.connect(first)
    with connection:
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name='checkpoints'").fetchone()
        connection.execute("UPDATE sqlite_sequence SET seq=seq+7 WHERE name='checkpoints'")
    connection.close()
    await asyncio.to_thread(copy, str(first), url)
    await asyncio.to_thread(copy, url, str(back))
    for place in (url, str(back)):
        async with durable.open(place) as engine:
            session = await engine.session("desk")
            await session.execute("m = 1")
            assert (await engine.checkpoints_of("desk").listing())[-1].id == last + 8


LISTENERS = ["https://one.example/hook", "https://two.example/hook"]


async def owe(place: str) -> None:
    """Settle what two listeners at URLs wait for, where nobody sends anything."""
    async with opened_store(place) as store:
        await store.request("promise.create", {"id": "told", "timeoutAt": 2**52, "tags": {"resonate:external": "true"}})
        for address in LISTENERS:
            await store.request("promise.register_listener", {"awaited": "told", "address": address})
        await store.request("promise.settle", {"id": "told", "state": "resolved"})


async def owed(place: str) -> list[str]:
    """The URLs of the messages that are to be sent, each of them for that promise."""
    async with opened_store(place) as store:
        posts = (await store.request("listener.claim", {"limit": 9})).data["posts"]
    assert all('"told"' in each["body"] for each in posts)
    return sorted(each["url"] for each in posts)


async def test_messages_that_were_not_sent_are_sent_by_the_copy(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    first, url, back, saved = str(tmp_path / "a.db"), postgres_server.url(), str(tmp_path / "b.db"), tmp_path / "s.db"
    await owe(first)
    await asyncio.to_thread(backup, Path(first), saved)
    there = await asyncio.to_thread(copy, first, url)
    assert there.tables["outbox"] == len(LISTENERS)
    assert await asyncio.to_thread(copy, url, back) == there
    for place in (url, back, str(saved)):
        assert await owed(place) == LISTENERS


async def test_a_living_engine_is_named(tmp_path: Path, postgres_server: PostgresServer) -> None:
    for place in (str(tmp_path / "work.db"), postgres_server.url()):
        async with durable.open(place) as engine:
            with pytest.raises(Conflict, match=rf"engine {engine.engine_id[:8]} \(pid \d+\) is alive on"):
                await asyncio.to_thread(copy, place, str(tmp_path / "copy.db"))
    assert not (tmp_path / "copy.db").exists()


async def test_what_is_there_is_not_overwritten(tmp_path: Path, postgres_server: PostgresServer) -> None:
    first, second, url = str(tmp_path / "first.db"), str(tmp_path / "second.db"), postgres_server.url()
    for place in (first, second, url):
        async with durable.open(place) as engine:
            await engine.start(asks, id="waits")
    before = contents(Path(second), TABLES)
    with pytest.raises(Conflict, match="exists"):
        await asyncio.to_thread(copy, first, second)
    assert contents(Path(second), TABLES) == before
    with pytest.raises(Conflict, match="not empty"):
        await asyncio.to_thread(copy, first, url)
    with pytest.raises(StoreMissing):
        await asyncio.to_thread(copy, str(tmp_path / "nothing.db"), str(tmp_path / "copy.db"))
    with pytest.raises(StoreError, match="server"):
        await asyncio.to_thread(copy, first, "http://127.0.0.1:1")
    empty = postgres_server.url()
    await (await open_direct(empty)).close()  # opened, never used: it may be a target
    await asyncio.to_thread(copy, first, empty)


KILLED = """
import os, signal, sys
from durable.store.upkeep import copy
def compare(table, *_):
    if table == "tasks":
        os.kill(os.getpid(), signal.SIGKILL)
copy._compare = compare
copy.copy(*sys.argv[1:])
"""


async def test_an_interrupted_copy_is_refused_and_begun_again(tmp_path: Path, postgres_server: PostgresServer) -> None:
    first = str(tmp_path / "first.db")
    await fill(first)
    for target in (str(tmp_path / "copy.db"), postgres_server.url()):
        done = await asyncio.to_thread(subprocess.run, [PYTHON, "-c", KILLED, first, target], check=False)
        assert done.returncode == -9
        for create in (True, False):
            with pytest.raises(StoreError, match="not finished; begin again with `durable copy`"):
                async with durable.open(target, create=create):
                    pass
        await asyncio.to_thread(copy, first, target)
        await goes_on(target)


def test_both_ends_know_all_tables(tmp_path: Path, postgres_server: PostgresServer) -> None:
    """A table that a migration adds is copied, or is said here to be of living processes only."""
    with target_file(tmp_path / "work.db"):
        connection = sqlite3.connect(tmp_path / "work.db")
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'")
        files = {row[0] for row in rows.fetchall()}
        connection.close()
    url = postgres_server.url()
    with target_schema(url):
        pass
    schema = url.rpartition("schema=")[2]
    found = postgres_server.sql(f"SELECT tablename::text FROM pg_tables WHERE schemaname='{schema}'")
    rows_of_databases = {str(row[0]) for row in found}
    assert files - set(TABLES) == {"engines"}
    own = {"engines", "engine_leases", "commits", "blobs", "blob_parts", "secrets", "store_version"}
    assert rows_of_databases - set(TABLES) == own
