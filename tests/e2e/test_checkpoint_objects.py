"""Checkpoints in an object store: another engine, in another process and another folder, restores from it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import durable
from durable.core.limits import BLOB_GRACE_S
from durable.sessions.checkpoints.retention import objects_of, sweep_objects
from durable.store.sqlite.file import load_key
from tests.e2e.cli_process import Terminal
from tests.s3 import s3_server
from tests.waiting import in_state
from tests.warm_python import PYTHON

MAKE = "import random\nbig = random.Random(1).randbytes(3_000_000)\nlines = ['a line'] * 100_000\nn = 1"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        yield url


def other_process(store: Path, code: str, blobs: str) -> object:
    script = f"""
import asyncio, json, durable
async def main():
    async with durable.open({str(store)!r}) as engine:
        result = await (await engine.session("desk")).execute({code!r})
        print(json.dumps(result.unwrap()))
asyncio.run(main())
"""
    environment = {**os.environ, "DURABLE_BLOBS": blobs}
    done = subprocess.run([PYTHON, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


async def test_another_engine_elsewhere_restores_from_the_bucket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one" / "work.db", tmp_path / "two" / "work.db"
    async with durable.open(one, blobs=bucket) as engine:
        session = await engine.session("desk")
        assert (await session.execute(MAKE)).error is None
    assert not (one.parent / "work.db.d" / "blobs").exists()
    objects = objects_of(one, load_key(one), bucket)
    assert objects is not None
    kept = list(objects.list())
    assert sum(each.size for each in kept) < 3_300_000  # what is like itself was compressed
    two.parent.mkdir()
    monkeypatch.setenv("DURABLE_BLOBS", bucket)
    terminal = Terminal(tmp_path)
    terminal.environment["DURABLE_BLOBS"] = bucket
    assert terminal.durable("doctor", "--store", str(one)).out == ""
    assert terminal.durable("backup", "--store", str(one), str(two)).code == 0
    code = "n += 1\n[len(big), big == __import__('random').Random(1).randbytes(3_000_000), len(lines), n]"
    assert other_process(two, code, bucket) == [3_000_000, True, 100_000, 2]
    later = time.time() + 2 * BLOB_GRACE_S
    assert sweep_objects(two, load_key(two), now_s=later).blobs == 0
    assert other_process(one, "n", bucket) == 1


async def test_what_nothing_uses_goes_from_the_bucket(bucket: str, tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store, blobs=bucket) as engine:
        session = await engine.session("desk")
        await session.execute(MAKE)
        await session.close()
    key = load_key(store)
    objects = objects_of(store, key, bucket)
    assert objects is not None
    held = list(objects.list())
    assert len(held) == 3
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DURABLE_BLOBS", bucket)
        assert sweep_objects(store, key, now_s=time.time()).blobs == 0
        later = time.time() + 2 * BLOB_GRACE_S
        planned = sweep_objects(store, key, now_s=later, dry_run=True)
        assert (planned.blobs, planned.bytes) == (3, sum(each.size for each in held))
        assert sweep_objects(store, key, now_s=later).blobs == 0  # the bucket's own clock says that they are fresh
        patched.setattr("durable.sessions.checkpoints.retention.BLOB_GRACE_S", -1.0)
        assert sweep_objects(store, key, now_s=time.time()).blobs == 3
    assert list(objects.list()) == []


async def test_a_bucket_that_cannot_be_reached_stops_the_cell_and_it_goes_on_later(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    with s3_server() as bucket:
        async with durable.open(store, blobs=bucket.replace("durable-", "missing-")) as engine:
            session = await engine.session("desk")
            execution = await session.submit(MAKE)
            await in_state(engine, execution, "interrupted")
            assert "chunks cannot be written to s3://missing-" in ((await execution.info()).note or "")
        async with durable.open(store, blobs=bucket) as engine:
            await engine.resume(execution.id)
            session = await engine.session("desk")
            assert (await session.execute("len(big) + n")).value == 3_000_001
