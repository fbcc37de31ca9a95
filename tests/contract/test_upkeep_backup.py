"""A backup is of one moment, private, whole or not there, and opens as a store (specs/store.md, B1-B5)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import stat
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from checkpoint.blobs.directory import DirectoryBlobs
from checkpoint.format.payload import chunk_digest
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreError
from durable.store.sqlite.store import Store
from durable.store.upkeep.backup import backup
from durable.store.upkeep.doctor import examine
from tests.warm_python import PYTHON

from .invariants import check, contents
from .opened import FUNCTION, acquire, engine, opened, promise, root, state, task

CELL = "cell@1"


async def busy(store: Store) -> str:
    """An engine that holds a task and a session with a worker and a large chunk; returns the chunk's digest."""
    await engine(store, "e1", [FUNCTION, CELL])
    await store.request("promise.create", root("held"))
    await acquire(store, "held")
    await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
    await store.request("session.worker", {"session": "desk", "epoch": 1, "pid": os.getpid(), "start": 1})
    tags = {"resonate:target": "poll://any@g", "durable:function": CELL}
    for _ in range(2):
        await store.request("cell.submit", {"session": "desk", "promise": {"timeoutAt": TIME_MAX_MS, "tags": tags}})
    await acquire(store, "desk@1")
    blobs = DirectoryBlobs(store.directory / "blobs")
    digest = chunk_digest(b"large").hex()
    blobs.put_many([(digest, b"large")])
    blobs.put_many([(chunk_digest(b"orphan").hex(), b"orphan")])
    data = {"session": "desk", "epoch": 1, "statement": 1, "final": False, "manifest": b"m", "uses": [digest]}
    await store.request("checkpoint.publish", {**data, "chunks": [("small", b"small")]})
    return digest


async def test_a_backup_of_a_busy_store_opens_and_its_work_goes_on(tmp_path: Path) -> None:
    target = tmp_path / "copies" / "b.db"
    old = os.umask(0)
    try:
        async with opened(tmp_path / "s.db") as store:
            digest = await busy(store)
            copied = await asyncio.to_thread(backup, store.path, target)
            assert store.engine_alive("e1")
            await store.request("promise.create", promise("later"))
            key = store.key
    finally:
        os.umask(old)
    assert copied.blobs == 1
    files = [each for each in target.parent.rglob("*") if each.is_file()]
    assert {each.name for each in files} == {"b.db", "b.db.key", digest}
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert {stat.S_IMODE(each.stat().st_mode) for each in target.parent.rglob("*") if each.is_dir()} == {0o700}
    check(target)
    assert examine(target) == []
    rows = contents(target)
    assert rows["engines"] == []
    # Whoever takes the session over must not end the worker of the original.
    assert {each[1:6:4] for each in rows["sessions"]} == {(None, None)}
    async with opened(target) as copy:
        assert copy.key == key
        again = await engine(copy, "e9", [FUNCTION, CELL])
        assert {await again.next(), await again.next()} == {"exec:held", "exec:desk@1"}
        taken = await copy.request("session.take", {"session": "desk", "engine": "e9"})
        assert taken.data == {"epoch": 2, "previous_worker": None}
        assert (await task(copy, "held"))["version"] == 1
        found = await copy.request("checkpoint.latest", {"session": "desk"})
        assert found.data["checkpoint"]["manifest"] == b"m"
        assert DirectoryBlobs(copy.directory / "blobs").get(digest) == b"large"
        assert not (await copy.request("promise.search", {"state": "resolved"})).data["promises"]
    check(target)


async def test_it_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        writing, written, enough, numbers = True, 0, asyncio.Event(), itertools.count()

        async def write() -> None:
            nonlocal written
            while writing:
                await store.request("promise.create", {**root(f"w-{next(numbers)}"), "param": {"data": "x" * 5000}})
                written += 1
                if written > 200:
                    enough.set()

        tasks = [asyncio.create_task(write()) for _ in range(4)]
        await enough.wait()
        for n in range(3):
            known = written
            await asyncio.to_thread(backup, store.path, tmp_path / f"b{n}.db")
            check(tmp_path / f"b{n}.db")
            assert len(contents(tmp_path / f"b{n}.db")["promises"]) >= known
        writing = False
        await asyncio.gather(*tasks)
        assert await state(store, "exec:w-0") == "pending"


async def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        for name in ("b.db", "b.db.key"):
            taken = tmp_path / name
            taken.write_text("mine")
            with pytest.raises(StoreError, match="exists"):
                backup(store.path, tmp_path / "b.db")
            assert taken.read_text() == "mine"
            taken.unlink()
        with pytest.raises(StoreError, match="is a directory"):
            backup(store.path, tmp_path)
        with pytest.raises(StoreError, match="exists"):
            backup(store.path, store.path)


async def test_a_damaged_store_has_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        for n in range(300):
            await store.request("promise.create", promise(f"p{n}"))
    data = bytearray(path.read_bytes())
    data[-4096:] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        backup(path, tmp_path / "b.db")
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("b")] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from durable.store.upkeep import backup
backup._copy_blobs = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
backup.backup(Path(sys.argv[1]), Path(sys.argv[2]))
"""


async def test_a_backup_that_was_killed_is_not_there_and_can_be_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await busy(store)
        target = tmp_path / "b.db"
        process = await asyncio.create_subprocess_exec(PYTHON, "-c", KILLED, str(store.path), str(target))
        assert await process.wait() == -signal.SIGKILL
        assert not target.exists()
        assert backup(store.path, target).blobs == 1
    check(target)


FULL = """
import resource, signal, sys
from pathlib import Path
from durable.core.errors import StoreError
from durable.store.upkeep.backup import backup
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    backup(Path(sys.argv[1]), Path(sys.argv[2]))
except StoreError as error:
    print(error)
"""


async def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", {**promise("p"), "param": {"data": "x" * 100_000}})
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", FULL, str(store.path), str(tmp_path / "b.db"), stdout=PIPE
        )
        said, _ = await process.communicate()
        assert b"nothing was acknowledged" in said or b"cannot be written" in said, said
        assert [each.name for each in tmp_path.iterdir() if each.name.startswith("b.db")] == []


def test_a_backup_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        backup(tmp_path / "s.db", tmp_path / "b.db")
    assert list(tmp_path.iterdir()) == []
