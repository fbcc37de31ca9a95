"""The reader of commands that only look, and when it takes a writer to look (specs/store.md, F3)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

import durable
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.errors import StoreError, StoreMissing, StoreRefused
from durable.store.port import open_reader
from durable.store.postgres.address import address_of
from durable.store.postgres.read_only import ReadOnlyDatabase
from durable.store.postgres.store import PostgresStore
from durable.store.sqlite.read_only import ReadOnlyStore
from durable.store.sqlite.store import Store
from tests.postgres_server import PostgresServer

LATER = TIME_MAX_MS


@durable.function
async def doubles(_ctx: durable.Context, number: int) -> int:
    return 2 * number


async def made(path: Path, *timeouts: int) -> Path:
    """A store with a promise for each time at which one times out."""
    store = await Store.open(path, clock=lambda: 0)
    for number, at in enumerate(timeouts):
        await store.request("promise.create", {"id": f"p{number}", "timeoutAt": at, "param": {}, "tags": {}})
    await store.close()
    return path


def files(path: Path) -> dict[str, bytes | None]:
    return {
        str(each): each.read_bytes() if each.is_file() and not each.name.endswith(".db-shm") else None
        for each in path.parent.rglob("*")
    }


@pytest.mark.parametrize("name", ["s.db", "a b#c?d%41é.db"])
async def test_a_reader_shows_what_there_is_and_leaves_the_files_as_they_are(tmp_path: Path, name: str) -> None:
    path = await made(tmp_path / name, LATER)
    before = files(path)
    store = await open_reader(path)
    assert isinstance(store, ReadOnlyStore)
    assert not [thread for thread in threading.enumerate() if thread.name == "durable-store"]
    row = await store.reads.get_promise("p0")
    assert row is not None
    assert row.state == "pending"
    assert (await store.request("promise.get", {"id": "p0"})).data["promise"]["state"] == "pending"
    with pytest.raises(StoreError):
        await store.request("promise.create", {"id": "p1", "timeoutAt": LATER, "param": {}, "tags": {}})
    await store.close()
    assert files(path) == before


async def test_what_is_overdue_is_seen_to_first(tmp_path: Path) -> None:
    store = await open_reader(await made(tmp_path / "s.db", LATER, 1_000))
    assert isinstance(store, Store)
    record = (await store.request("promise.get", {"id": "p1"})).data["promise"]
    assert record["state"] == "rejected_timedout"
    await store.close()


async def test_an_engine_that_died_is_buried_first_and_one_that_lives_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with durable.open(path) as engine:
        store = await open_reader(path)
        assert isinstance(store, ReadOnlyStore)
        assert [row.engine for row in await store.reads.engines()] == [engine.engine_id]
        assert store.engine_alive(engine.engine_id)
        await store.close()
    left = await Store.open(path)
    await left.request("engine.join", {"engine": "gone", "group": "g", "pid": 1, "functions": []})
    await left.close()  # its lock is free, its row is there
    store = await open_reader(path)
    assert isinstance(store, Store)
    await store.close()


async def test_a_log_that_a_crash_left_is_read_and_stays(tmp_path: Path) -> None:
    path = await made(tmp_path / "s.db", LATER)
    copy = tmp_path / "copy" / "s.db"
    copy.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE promises SET state='resolved', settled_at=1 WHERE id='p0'")
        connection.commit()
        for end in ("", "-wal", ".key"):  # as it lies there while nobody has brought the log in
            Path(f"{copy}{end}").touch(mode=0o600)
            Path(f"{copy}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    log = Path(f"{copy}-wal").read_bytes()
    assert log
    store = await open_reader(copy)
    assert isinstance(store, ReadOnlyStore)
    row = await store.reads.get_promise("p0")
    await store.close()
    assert row is not None
    assert (row.state, Path(f"{copy}-wal").read_bytes()) == ("resolved", log)


async def test_what_is_wrong_with_a_file_is_said_as_a_writer_says_it(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        await open_reader(tmp_path / "none.db")
    assert not list(tmp_path.iterdir())
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="another program"):
        await open_reader(other)
    other.write_bytes(b"no database at all, whatever it is called" * 100)
    with pytest.raises(StoreError, match="not a database"):
        await open_reader(other)
    newer = await made(tmp_path / "newer.db")
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version=9999")
    with pytest.raises(StoreError, match="upgrade durable-exec"):
        await open_reader(newer)


# -- databases -------------------------------------------------------------------------------------------------------


async def test_a_database_is_looked_at_without_a_writer(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    with pytest.raises(StoreMissing):
        await open_reader(url)
    async with durable.open(url) as engine:
        execution = await engine.start(doubles, 21, id="d")
        assert await execution.result() == 42
        store = await open_reader(url)
        assert isinstance(store, ReadOnlyDatabase)
        assert store.engine_alive(engine.engine_id)
        row = await store.reads.get_execution("d")
        assert row is not None
        assert row.state == "completed"
        assert (await store.request("promise.get", {"id": "exec:d"})).data["promise"]["state"] == "resolved"
        with pytest.raises(StoreError, match="read-only"):
            await store.request("promise.create", {"id": "p1", "timeoutAt": LATER, "param": {}, "tags": {}})
        with pytest.raises(StoreRefused, match="does not exist"):
            await store.request("promise.get", {"id": "gone"})
        assert (await store.request("promise.get", {"id": "exec:d"})).data["promise"]["state"] == "resolved"
        assert store.key == engine.store.key
        await store.close()


async def test_what_is_overdue_in_a_database_is_seen_to_first(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    due = now_ms() + 500
    async with durable.open(url, serve=False) as engine:
        await engine.store.request("promise.create", {"id": "p", "timeoutAt": due, "param": {}, "tags": {}})
    await asyncio.sleep(max(0, due - now_ms()) / 1000 + 0.01)
    store = await open_reader(url)
    assert isinstance(store, PostgresStore)
    assert (await store.request("promise.get", {"id": "p"})).data["promise"]["state"] == "rejected_timedout"
    await store.close()


async def test_a_user_who_may_only_read_a_database_looks_at_it(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    async with durable.open(url) as engine:
        await engine.store.request("promise.create", {"id": "p", "timeoutAt": LATER, "param": {}, "tags": {}})
        schema = address_of(url).schema
        postgres_server.sql(
            f"CREATE ROLE looks_{schema} LOGIN",
            f"GRANT USAGE ON SCHEMA {schema} TO looks_{schema}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO looks_{schema}",
            f"REVOKE SELECT ON {schema}.secrets FROM looks_{schema}",
        )
        await engine.store.request("promise.create", {"id": "due", "timeoutAt": now_ms() - 1, "param": {}, "tags": {}})
        store = await open_reader(url.replace("user=postgres", f"user=looks_{schema}"))
        assert isinstance(store, ReadOnlyDatabase)
        assert await store.reads.get_promise("p") is not None
        with pytest.raises(StoreError, match="permission denied for table secrets"):
            _ = store.key
        await store.close()
        postgres_server.sql(f"REVOKE SELECT ON {schema}.promises FROM looks_{schema}")
        with pytest.raises(StoreError, match=f"may not DELETE.*GRANT .* TO looks_{schema}"):
            await open_reader(url.replace("user=postgres", f"user=looks_{schema}"))


async def test_a_standby_is_looked_at() -> None:
    primary = PostgresServer()
    try:
        url = primary.url()
        async with durable.open(url) as engine:
            assert await (await engine.start(doubles, 1, id="d")).result() == 2
            standby = PostgresServer.standby_of(primary)
            try:
                there = await open_reader(url.replace(quote(str(primary.directory), safe=""), str(standby.directory)))
                assert isinstance(there, ReadOnlyDatabase)
                row = await there.reads.get_execution("d")
                assert row is not None
                assert row.state == "completed"
                await there.close()
            finally:
                standby.stop()
    finally:
        primary.stop()
