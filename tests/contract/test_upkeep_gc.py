"""`gc` forgets what nobody can need any more, and nothing else (specs/store.md, G1-G5)."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import durable
from checkpoint.blobs.directory import DirectoryBlobs
from checkpoint.format.payload import chunk_digest
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreError
from durable.core.events import BackgroundFailed, BlobsSwept, Event
from durable.core.limits import BLOB_GRACE_S, CALLS_KEEP_MS, CHECKPOINTS_KEPT, OUTBOX_KEEP_MS
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.sqlite.store import Store
from durable.store.upkeep import blob_sweeper, blobs, gc
from durable.store.upkeep.blobs import Swept, sweep_blobs
from durable.store.upkeep.gc import Collected, collect, root_of
from durable.store.upkeep.run_storage import sweep_directories

from .invariants import check, contents
from .opened import T0, Clock, acquire, engine, opened, promise, root, settle

DAY_MS = 86_400_000
CELL = "cell@1"


async def gc_all(store: Store, before: int, **options: Any) -> Collected:
    found = [done async for done in collect(store, before=before, **options)]
    check(store.path)
    return found[-1]


def ids(store: Store) -> set[str]:
    return {str(row[0]) for row in contents(store.path)["promises"]}


async def run_one(store: Store, name: str, *, done: bool = True) -> None:
    """An execution with a step, a question, a child and output."""
    await store.request("promise.create", root(name, resonate_branch=f"exec:{name}"))
    await acquire(store, name)
    fenced = {"id": f"exec:{name}", "version": 1}
    step = promise(f"exec:{name}.1", resonate_scope="local", resonate_branch=f"exec:{name}")
    await store.request("task.fence", {**fenced, "action": {"kind": "promise.create", "data": step}})
    call = promise(f"exec:{name}:input:1", resonate_external="true", durable_capability="input")
    await store.request("promise.create", call)
    await store.request("promise.create", root(f"{name}.2"))
    for execution in (name, f"{name}.2"):
        await store.request("output.append", {"execution": execution, "chunks": [(0, "stdout", "x")]})
    await store.request("promise.settle", settle(f"exec:{name}.2"))
    if done:
        await store.request("promise.settle", settle(f"exec:{name}"))


@pytest.mark.parametrize(
    ("promise_id", "of"),
    [
        ("exec:a", "exec:a"),
        ("exec:a.1.2", "exec:a"),
        ("exec:a.1:input:3", "exec:a"),
        ("exec:desk@4:tick:1", "exec:desk@4"),
        ("foo.bar:1.2", "foo.bar"),
        ("foo", "foo"),
    ],
)
def test_what_belongs_to_what(promise_id: str, of: str) -> None:
    assert root_of(promise_id) == of


async def test_what_was_settled_before_goes_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await run_one(store, "old")
        await run_one(store, "runs", done=False)
        await store.request("promise.create", promise("foo"))
        await store.request(
            "promise.create", promise("foo:1", resonate_external="true", resonate_target="poll://any@g")
        )
        await store.request("promise.create", promise("foo.bar"))
        for each in ("foo", "foo:1"):
            await store.request("promise.settle", settle(each))
        clock.now += DAY_MS
        await run_one(store, "old-2")  # between `old` and `old.1` in order of id
        before = ids(store)
        planned = await gc_all(store, T0 + 1, dry_run=True)
        assert ids(store) == before
        done = await gc_all(store, T0 + 1)
        assert done == planned == Collected(executions=2, promises=6)
        assert before - ids(store) == {"exec:old", "exec:old.1", "exec:old.2", "exec:old:input:1", "foo", "foo:1"}
        found = contents(store.path)
        assert {row[0] for row in found["tasks"]} == {"exec:runs", "exec:runs.2", "exec:old-2", "exec:old-2.2"}
        assert {row[0] for row in found["output"]} == {"runs", "runs.2", "old-2", "old-2.2"}
        assert await gc_all(store, T0 + 1) == Collected()
        await run_one(store, "old")  # its id is free again


async def test_what_somebody_may_still_need_stays(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        for name in ("child-runs", "awaited", "listened", "child-settled-lately", "by-hand"):
            # Of another SDK: those of our own leave nothing open when they end.
            await store.request("promise.create", root(name, function=""))
        await store.request("promise.create", root("child-runs.1"))
        await store.request("promise.create", promise("exec:awaited:call:1", resonate_external="true"))
        await store.request("promise.create", promise("exec:listened:call:1", resonate_external="true"))
        await store.request("promise.create", root("child-settled-lately.1"))
        await store.request("promise.create", promise("exec:by-hand:gate", resonate_external="true"))
        await store.request("promise.create", root("waits"))
        await store.request("promise.register_callback", {"awaited": "exec:awaited:call:1", "awaiter": "exec:waits"})
        listener = {"awaited": "exec:listened:call:1", "address": "poll://uni@g/far"}
        await store.request("promise.register_listener", listener)
        for name in ("child-runs", "awaited", "listened", "child-settled-lately", "by-hand"):
            await store.request("promise.settle", settle(f"exec:{name}"))
        await store.request("promise.create", promise("exec"))
        await store.request("promise.settle", settle("exec"))
        clock.now += DAY_MS
        await store.request("promise.settle", settle("exec:child-settled-lately.1"))
        before = ids(store)
        assert await gc_all(store, T0 + 1) == Collected()
        assert ids(store) == before
        await store.request("promise.settle", settle("exec:child-runs.1"))
        assert (await gc_all(store, clock.now + 1)).executions == 2


async def test_the_newest_stay_however_old(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        for n in range(5):
            clock.now += 10
            await run_one(store, f"e{n}")
        assert (await gc_all(store, clock.now + 1, keep=6)).executions == 0
        assert (await gc_all(store, clock.now + 1, keep=2)).executions == 3
        assert {each for each in ids(store) if each == root_of(each)} == {"exec:e3", "exec:e4"}


async def test_a_sessions_numbers_and_variables_stay(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await engine(store, "e1", [CELL])
        tags = {"resonate:target": "poll://any@g", "durable:function": CELL}
        for session in ("desk", "closed"):
            await store.request("session.open", {"session": session, "engine": "e1", "options": {}})
            for _ in range(2):
                submitted = {"session": session, "promise": {"timeoutAt": TIME_MAX_MS, "tags": tags}}
                await store.request("cell.submit", submitted)
            for statement in range(CHECKPOINTS_KEPT):
                data = {"session": session, "epoch": 1, "statement": statement, "final": False, "manifest": b"m"}
                chunk = (f"{session}-{statement}", b"data")
                await store.request("checkpoint.publish", {**data, "chunks": [chunk]})
            await store.request("promise.settle", settle(f"exec:{session}@1"))
        await store.request("session.close", {"session": "closed"})
        clock.now += DAY_MS
        assert await gc_all(store, clock.now) == Collected(executions=3, promises=3)  # closing had ended one
        found = contents(store.path)
        assert {row[0] for row in found["chunks"]} == {"desk-0", "desk-1"}
        assert {row[2] for row in found["cells"]} == {"exec:desk@2"}
        submitted = {"session": "desk", "promise": {"timeoutAt": TIME_MAX_MS, "tags": tags}}
        assert (await store.request("cell.submit", submitted)).data["id"] == "exec:desk@3"


async def test_messages_that_nobody_came_for_go(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        for name in ("p", "q"):
            await store.request("promise.create", promise(name, resonate_external="true"))
            await store.request("promise.register_listener", {"awaited": name, "address": "poll://uni@g/far"})
        await store.request("promise.settle", settle("p"))
        clock.now += OUTBOX_KEEP_MS + 1
        await store.request("promise.settle", settle("q"))
        assert (await gc_all(store, 0)).messages == 0  # sending one drops the oldest of those that are too old
        clock.now += OUTBOX_KEEP_MS + 1
        assert (await gc_all(store, 0, dry_run=True)).messages == 1
        assert (await gc_all(store, 0)).messages == 1
        assert contents(store.path)["outbox"] == []


async def test_it_may_end_after_any_batch_and_goes_on_beside_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "SWEEP_ROWS", 3)
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", root("large"))
        for n in range(10):
            await store.request("promise.create", promise(f"exec:large.{n}", resonate_scope="local"))
        await store.request("promise.settle", settle("exec:large"))
        for n in range(7):
            await run_one(store, f"e{n}")
        clock.now += DAY_MS
        batches = 0
        while True:
            batches += 1
            blob_sweeper = collect(store, before=clock.now)
            first = await anext(blob_sweeper)
            await blob_sweeper.aclose()
            check(store.path)
            writing = asyncio.create_task(store.request("promise.create", root(f"new-{batches}")))
            if first == Collected():
                break
            assert first.promises <= 3 + 4
            await writing
        await writing
        assert batches > 10
        done = await gc_all(store, clock.now)
        assert done == Collected()
        assert ids(store) == {f"exec:new-{n}" for n in range(1, batches + 1)}


async def keep_value(store: Store, namespace: str) -> None:
    await store.request("kv.set", {"namespace": namespace, "key": "k", "value": "1", "quota": 100})


def keeping(store: Store) -> set[object]:
    """The namespaces that hold something, and the directories of runs."""
    found = contents(store.path)
    assert {row[0] for row in found["kv"]} == {row[0] for row in found["kv_usage"]}
    return {row[0] for row in found["kv_usage"]} | {path.name for path in (store.directory / "executions").iterdir()}


async def test_what_foreign_code_kept_under_its_run_goes_with_the_execution(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await run_one(store, "old")
        await run_one(store, "runs", done=False)
        for name in ("old.1", "old.1.1", "old-2.1", "runs.1"):
            (store.directory / "executions" / name).mkdir(parents=True)
            await keep_value(store, f"session/execution/{name}")
        for namespace in ("session/script/old", "session/old", "shared/old"):
            await keep_value(store, namespace)
        clock.now += DAY_MS
        await run_one(store, "old-2")
        await store.request("promise.create", promise("exec:old-2.1", resonate_scope="local"))
        before = keeping(store)
        assert (await gc_all(store, T0 + 1, dry_run=True)).namespaces == 2
        assert keeping(store) == before
        assert (await gc_all(store, T0 + 1)).namespaces == 2
        assert sweep_directories(store.path, dry_run=True) == 2
        (store.directory / "executions" / ".swept.killed" / "deep").mkdir(parents=True)
        assert sweep_directories(store.path) == 2
        gone = {"session/execution/old.1", "session/execution/old.1.1", "old.1", "old.1.1"}
        assert keeping(store) == before - gone
        assert sweep_directories(store.path) == 0


async def test_a_run_without_an_execution_goes_some_time_after_its_last_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "SWEEP_ROWS", 3)
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        for name in ("x", "x-1", "x.2"):
            for n in range(1, 6):
                call = promise(f"exec:{name}:kv:{n}", resonate_external="true", durable_capability="kv")
                await store.request("promise.create", call)
                if n < 5:
                    await store.request("promise.settle", settle(f"exec:{name}:kv:{n}"))
            await keep_value(store, f"session/execution/{name}")
            (store.directory / "executions" / name).mkdir(parents=True)
        before = ids(store)
        clock.now += CALLS_KEEP_MS  # to the millisecond: it may still run
        assert await gc_all(store, clock.now) == Collected()
        await store.request("promise.settle", settle("exec:x-1:kv:5"))
        clock.now += 1
        assert (await gc_all(store, clock.now, dry_run=True)).promises == 10
        assert await gc_all(store, T0) == Collected()
        assert ids(store) == before
        assert await gc_all(store, clock.now) == Collected(executions=1, promises=10, namespaces=2)  # x.2 is part of x
        assert ids(store) == {each for each in before if each.startswith("exec:x-1:")}
        assert sweep_directories(store.path) == 2
        assert keeping(store) == {"session/execution/x-1", "x-1"}


def put(directory: DirectoryBlobs, data: bytes, age_s: float = 0) -> str:
    digest = chunk_digest(data).hex()
    directory.put_many([(digest, data)])
    path = next(Path(directory._root).glob(f"??/{digest}"))
    os.utime(path, (time.time() - age_s,) * 2)
    return digest


async def test_a_power_cut_brings_back_no_row_whose_blob_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "s.db") as store:
        found = DirectoryBlobs(store.directory / "blobs")
        orphan = put(found, b"orphan", BLOB_GRACE_S + 10)
        await store.request("promise.create", promise("p"))
        synced = []

        def fsync(descriptor: int) -> None:
            synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), found.get(orphan) is not None))

        monkeypatch.setattr(os, "fsync", fsync)
        assert sweep_blobs(store.path, now_s=time.time(), dry_run=True).blobs == 1
        assert synced == []
        assert sweep_blobs(store.path, now_s=time.time()).blobs == 1
        assert synced == [(f"{store.path}-wal", True)]


async def test_blobs_that_nothing_uses_go_and_others_stay(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        old = BLOB_GRACE_S + 10
        found = DirectoryBlobs(store.directory / "blobs")
        used, fresh, orphan = put(found, b"used", old), put(found, b"fresh"), put(found, b"orphan", old)
        aside = put(found, b"a sweep was killed", old)
        path = blobs.directory(store.path) / aside[:2] / aside
        path.rename(path.with_name(f".swept.{aside}"))
        cut = path.with_name(f".{aside}.1234")
        cut.write_bytes(b"half")
        os.utime(cut, (0, 0))
        await store.request("session.open", {"session": "desk", "engine": None, "options": {}})
        data = {"session": "desk", "epoch": 0, "statement": 1, "final": False, "manifest": b"m"}
        await store.request("checkpoint.publish", {**data, "uses": [used, aside]})
        now = time.time()
        assert sweep_blobs(store.path, now_s=now, dry_run=True) == Swept(1, 1, 10)
        assert sweep_blobs(store.path, now_s=now) == Swept(1, 1, 10)
        assert {each: found.get(each) is not None for each in (used, fresh, orphan, aside)} == {
            used: True, fresh: True, orphan: False, aside: True,
        }  # fmt: skip
        assert not cut.exists()


def test_a_blob_that_is_put_while_it_is_swept_stays(tmp_path: Path) -> None:
    found = DirectoryBlobs(tmp_path / "blobs")
    digest = put(found, b"data", BLOB_GRACE_S + 10)
    path = tmp_path / "blobs" / digest[:2] / digest
    now = time.time()
    found.put_many([(digest, b"data")])  # after the sweep has found that nothing uses it
    assert not blobs._remove(path, now)
    assert found.get(digest) == b"data"
    os.utime(path, (0, 0))
    assert blobs._remove(path, now)
    found.put_many([(digest, b"data")])  # after the sweep has moved it away
    assert found.get(digest) == b"data"


async def test_one_upkeep_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "s.db") as store:
        put(DirectoryBlobs(store.directory / "blobs"), b"data")
        begun = threading.Event()

        def patient() -> bool:
            begun.set()
            with blobs.alone(store.path, patience_s=20):
                return True

        with blobs.alone(store.path):
            waiting = asyncio.get_running_loop().run_in_executor(None, patient)
            assert begun.wait(10)
            monkeypatch.setattr(blobs, "UPKEEP_WAIT_S", 0)
            with pytest.raises(StoreError, match="another"):
                sweep_blobs(store.path, now_s=time.time())
            with pytest.raises(blobs.UpkeepBusy):  # in the background nobody waits
                sweep_blobs(store.path, now_s=time.time(), stop=threading.Event())
            assert not waiting.done()
        assert await waiting
        assert asdict(sweep_blobs(store.path, now_s=time.time())) == {"blobs": 0, "unfinished": 0, "bytes": 0}


async def test_an_engine_and_a_server_sweep_by_themselves_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: asyncio.Queue[Event] = asyncio.Queue()
    beside = DirectoryBlobs(tmp_path / "s.db.d" / "blobs")

    def observe(event: Event) -> None:
        if isinstance(event, BlobsSwept | BackgroundFailed):
            swept.put_nowait(event)

    async with opened(tmp_path / "s.db") as store:
        await store.request("session.open", {"session": "desk", "engine": None, "options": {}})
        used = put(beside, b"used", 2 * BLOB_GRACE_S)
        data = {"session": "desk", "epoch": 0, "statement": 1, "final": False, "manifest": b"m"}
        await store.request("checkpoint.publish", {**data, "uses": [used]})
    put(beside, b"orphan", 2 * BLOB_GRACE_S)
    async with durable.open(tmp_path / "s.db", observer=observe):
        assert await asyncio.wait_for(swept.get(), 10) == BlobsSwept(1, 6)
    put(beside, b"another", 2 * BLOB_GRACE_S)
    monkeypatch.setattr(blob_sweeper, "BLOB_GRACE_S", 0.01)
    async with opened(tmp_path / "s.db") as store:
        with listen("127.0.0.1", 0) as sock:
            async with serving(Site(store, "token", observer=observe), sock):
                assert await asyncio.wait_for(swept.get(), 10) == BlobsSwept(1, 7)
                put(beside, b"one more", 2 * BLOB_GRACE_S)
                assert await asyncio.wait_for(swept.get(), 10) == BlobsSwept(1, 8)
    assert beside.get(used) == b"used"
    assert swept.empty()
