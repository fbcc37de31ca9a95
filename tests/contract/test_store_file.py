"""The file: made private, refused with a reason when it is not ours to write, closed in order (specs/store.md)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest
from resonate_base import ConnectorError

from durable.core.errors import EngineClosed, StoreError, StoreNewer, StoreRefused
from durable.store.sqlite.store import Store
from tests.warm_python import PYTHON

from .opened import opened, promise, root, settle


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_everything_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".durable" / "state.db"
    old = os.umask(0)
    try:
        async with opened(path) as store:
            await store.request("promise.create", promise("p"))
            assert mode(store.directory) == 0o700
            files = [path, Path(f"{path}.key"), Path(f"{path}-wal")]
            assert [mode(each) for each in files] == [0o600] * 3
            assert len(store.key) == 32
            key = store.key
    finally:
        os.umask(old)
    async with opened(path) as store:
        assert store.key == key
        assert (await store.request("promise.get", {"id": "p"})).status == 200


async def test_two_openings_at_once_share_one_schema_and_one_key(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(Store.open(tmp_path / "s.db") for _ in range(8)))
    assert len({store.key for store in stores}) == 1
    await asyncio.gather(*(store.request("promise.create", promise(f"p{i}")) for i, store in enumerate(stores)))
    assert (await stores[0].request("promise.get", {"id": "p7"})).status == 200
    for store in stores:
        await store.close()


async def test_a_waiter_is_woken_by_its_own_store_whatever_kind_of_promise_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        for external in ("true", "false"):
            await store.request("promise.create", promise(external, resonate_external=external))
            waiting = asyncio.create_task(store.settled(external))
            await store.request("promise.get", {"id": external})
            await store.request("promise.settle", settle(external))
            assert (await asyncio.wait_for(waiting, 10)).value == 2


async def test_a_memory_store_leaves_nothing(tmp_path: Path) -> None:
    async with opened(Path(":memory:")) as store:
        directory = store.path.parent
        await store.request("promise.create", promise("p"))
        assert directory.exists()
    assert not directory.exists()


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t(a); PRAGMA user_version=1")
    connection.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b"not a database at all" * 100), "not a database"),
        (foreign_database, "another program"),
    ],
)
async def test_what_is_not_a_store_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "s.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=said):
        await Store.open(path)
    assert (path.read_bytes() if path.is_file() else None) == before


async def test_a_missing_store_is_not_made_when_that_was_not_asked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        await Store.open(tmp_path / "none" / "s.db", create=False)
    assert not (tmp_path / "none").exists()


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db"):
        pass
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreNewer, match="99"):
        await Store.open(tmp_path / "s.db")


async def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.db.key").write_bytes(b"short")
    with pytest.raises(StoreError, match="key"):
        await Store.open(tmp_path / "s.db")


async def test_closing_answers_what_was_posted_and_refuses_what_comes_later(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.db")
    connection = store.connect("e1", "g")
    await connection.start()
    await store.request("promise.create", promise("p"))
    waiting = asyncio.create_task(store.settled("p"))
    await asyncio.sleep(0)
    posted = [store.post("promise.create", promise(f"q{i}")) for i in range(50)]
    await asyncio.gather(store.close(), store.close())
    assert [(await each).status for each in posted] == [200] * 50
    with pytest.raises(EngineClosed):
        await waiting
    with pytest.raises(EngineClosed):
        await store.request("promise.get", {"id": "p"})
    with pytest.raises(ConnectorError):
        await connection.send('{"kind":"promise.get","head":{"corrId":"1"},"data":{"id":"p"}}')
    async with opened(tmp_path / "s.db") as again:
        assert (await again.request("promise.get", {"id": "q49"})).status == 200


async def test_a_foreign_lock_is_waited_for_not_failed_on(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", promise("p"))
        other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        posted = store.post("promise.settle", settle("p"))
        done, _ = await asyncio.wait([posted], timeout=0.1)
        assert not done
        other.execute("COMMIT")
        other.close()
        assert (await posted).status == 200


async def test_a_full_disk_is_a_clear_error_and_acknowledges_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", promise("p"))
        # The limit stands for the disk: SQLite answers with the same error.
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count={pages}")
        big = {**promise("big"), "param": {"data": "x" * 1_000_000}}
        with pytest.raises(StoreError, match="free some disk space"):
            await store.request("promise.create", big)
        assert (await store.request("promise.get", {"id": "p"})).status == 200
        with pytest.raises(StoreRefused, match="404"):
            await store.request("promise.get", {"id": "big"})
        store._connection.execute(f"PRAGMA max_page_count={pages + 1000}")
        assert (await store.request("promise.create", big)).status == 200


async def test_an_unexpected_failure_hits_only_its_own_request(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("a"))
        store._connection.execute("UPDATE promises SET tags='{' WHERE id='exec:a'")
        good = [store.post("promise.create", promise(f"p{i}")) for i in range(3)]
        bad = store.post("promise.get", {"id": "exec:a"})
        good += [store.post("promise.create", promise(f"q{i}")) for i in range(3)]
        with pytest.raises(StoreError, match="damaged"):
            await bad
        assert [(await each).status for each in good] == [200] * 6


SOMEBODY = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute(sys.argv[2]).fetchone()[0]); c.close()"
)


async def asked(path: Path, sql: str) -> int:
    """What another process finds in the file; it comes, reads, and goes."""
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", SOMEBODY, str(path), sql, stdout=PIPE)
    said, _ = await process.communicate()
    return int(said)


async def test_opening_a_store_again_in_its_process_leaves_it_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        await store.request("promise.create", promise("before"))
        async with opened(path) as again:
            await again.request("promise.create", promise("again"))
        assert await asked(path, "SELECT count(*) FROM promises") == 2  # it closes: were it the last, the log would go
        await store.request("promise.create", promise("after"))
        assert await asked(path, "SELECT count(*) FROM promises") == 3


async def test_stores_that_take_turns_share_the_room_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path, durability="power") as one, opened(path, durability="power") as other:
        for n in range(30):
            await one.request("promise.create", promise(f"one{n}"))
            await other.request("promise.create", promise(f"other{n}"))
        assert Path(f"{path}-wal").stat().st_size < 3 * 2**20
