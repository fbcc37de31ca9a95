"""`doctor` finds what is wrong without changing anything, and is silent otherwise (specs/store.md, "Doctor")."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoint.blobs.directory import DirectoryBlobs
from checkpoint.format.payload import chunk_digest
from checkpoint.format.signature import sign, verified
from durable.core.errors import StoreError
from durable.core.limits import BLOB_GRACE_S
from durable.store.sqlite.store import Store
from durable.store.upkeep import doctor
from durable.store.upkeep.doctor import examine
from durable.store.upkeep.record_checks import Finding
from tests.warm_python import PYTHON

from .opened import acquire, engine, opened, promise, root

GHOST = """
import asyncio, sys
from tests.contract.opened import *

async def main():
    async with opened(Path(sys.argv[1])) as store:
        await engine(store, "ghost")
        await store.request("promise.create", root("held"))
        await acquire(store, "held", pid="ghost")
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def made(path: Path) -> None:
    """A store in which something has happened, closed."""
    async with opened(path) as store:
        await store.request("promise.create", promise("p"))
        data = {"session": "desk", "epoch": 0, "statement": 1, "final": False, "manifest": sign(b"m", store.key)}
        await store.request("session.open", {"session": "desk", "engine": None, "options": {}})
        await store.request("checkpoint.publish", {**data, "chunks": [("c1", b"chunk")]})


def checks(found: list[Finding]) -> list[str]:
    return [each.check for each in found]


def sql(*statements: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    return change


async def test_all_is_well_with_and_without_an_engine_and_looking_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await made(path)
    before = path.read_bytes()
    assert examine(path, opens=verified) == []
    assert path.read_bytes() == before
    async with opened(path) as store:
        await engine(store)
        await store.request("promise.create", root("a"))
        await acquire(store, "a")
        assert examine(path) == []
        assert store.engine_alive("e1")


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        examine(tmp_path / "s.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("harm", "check", "said"),
    [
        (sql("PRAGMA user_version=99"), "schema", "upgrade"),
        (sql("PRAGMA user_version=0"), "schema", "brings it up to date"),
        (sql("PRAGMA application_id=7"), "schema", "not a store"),
        (sql("UPDATE promises SET state='resolved' WHERE id='p'"), "invariants", "p: does not hold"),
        (sql("UPDATE promises SET tags='{'"), "invariants", "p: does not hold: what is kept as JSON is JSON"),
        (sql("UPDATE promises SET param_data=CAST(x'61ff' AS TEXT)"), "text", "1 rows of promises"),
        (
            sql("UPDATE promises SET id='exec:p', param_data='e30'"),
            "values",
            "exec:p: its recorded arguments are no JSON",
        ),
        (sql("UPDATE promises SET id='exec:p', param_data='bm8='"), "values", "`durable cancel p`"),
        (
            sql("UPDATE promises SET id='exec:p.1', state='resolved', settled_at=1, value_data='x'"),
            "values",
            "whatever of p reads it stops there",
        ),
        (
            sql("UPDATE promises SET id='exec:p', state='resolved', settled_at=1, value_data='AAA='"),
            "values",
            "start p under another id",
        ),
        (sql("UPDATE checkpoints SET manifest=zeroblob(200)"), "checkpoints", "--skip-checkpoint 1"),
        (
            sql("UPDATE checkpoints SET manifest=CAST(manifest||'x' AS BLOB)"),
            "checkpoints",
            "the checkpoint's signature does not fit",
        ),
        (sql("DELETE FROM chunks"), "chunks", "checkpoint 1 of session 'desk' lacks 1"),
        (lambda path: path.chmod(0o644), "permissions", "chmod 600"),
        (lambda path: Path(f"{path}.d").chmod(0o755), "permissions", "chmod 700"),
        (lambda path: Path(f"{path}.key").unlink(), "key", "missing"),
        (lambda path: Path(f"{path}.key").write_bytes(b"short"), "key", "damaged"),
        (lambda path: path.write_bytes(b"not a database" * 100), "file", "not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[:8192]), "file", "malformed"),
    ],
)
async def test_what_is_wrong_is_found_and_named(
    tmp_path: Path, harm: Callable[[Path], object], check: str, said: str
) -> None:
    path = tmp_path / "s.db"
    await made(path)
    harm(path)
    found = examine(path, opens=verified)
    assert checks(found) == [check], found
    assert said in found[0].message


async def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        for n in range(300):
            await store.request("promise.create", promise(f"p{n}"))
    data = bytearray(path.read_bytes())
    data[-4096:] = bytes(4096)
    path.write_bytes(data)
    found = examine(path)
    assert checks(found)[0] in ("integrity", "file")
    assert "restore a backup" in found[0].message


async def test_what_a_dead_engine_left_is_found_until_somebody_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    process = await asyncio.create_subprocess_exec(
        PYTHON, "-c", GHOST, str(path), stdout=PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    assert examine(path) == []
    process.send_signal(signal.SIGKILL)
    await process.wait()
    found = examine(path)
    assert checks(found) == ["engines"]
    assert "engine ghost" in found[0].message
    sql("DELETE FROM engines", "UPDATE tasks SET lease_at=1")(path)
    assert "exec:held is held by ghost" in examine(path)[0].message
    store = await Store.open(path)
    await store.request("promise.get", {"id": "exec:held"})
    assert examine(path) == []
    await store.close()


async def test_orphaned_blobs_and_a_full_disk_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    await made(path)
    digest = chunk_digest(b"large").hex()
    DirectoryBlobs(tmp_path / "s.db.d" / "blobs").put_many([(digest, b"large")])
    assert examine(path) == []
    blob = tmp_path / "s.db.d" / "blobs" / digest[:2] / digest
    old = blob.stat().st_mtime - BLOB_GRACE_S - 10
    os.utime(blob, (old, old))
    monkeypatch.setattr(doctor, "DISK_FREE_BYTES_MIN", 2**62)
    found = examine(path)
    assert checks(found) == ["disk", "blobs"]
    assert "1 blobs (5 bytes)" in found[1].message
