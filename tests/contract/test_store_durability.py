"""Syncs of the disk before a request is acknowledged (specs/store.md, W4)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable.store.sqlite.store import Store
from durable.store.sqlite.wal_room import LogRoom
from durable.store.sqlite.writer import Durability

from .opened import acquire, opened, promise, root, settle


class Commits:
    """How SQLite was told to treat each commit: FULL is synced to the disk before it returns, NORMAL is not."""

    def __init__(self, store: Store) -> None:
        self.kinds: list[str] = []
        (self._now,) = (
            {0: "OFF", 1: "NORMAL", 2: "FULL"}[store._connection.execute("PRAGMA synchronous").fetchone()[0]],
        )
        store._connection.set_trace_callback(self._trace)

    def _trace(self, sql: str) -> None:
        if sql.startswith("PRAGMA synchronous="):
            self._now = sql.removeprefix("PRAGMA synchronous=")
        elif sql == "COMMIT":
            self.kinds.append(self._now)

    def taken(self) -> set[str]:
        kinds, self.kinds = set(self.kinds), []
        return kinds


def fenced(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": "exec:a", "version": 1, "action": {"kind": kind, "data": data}}


@pytest.mark.parametrize(("durability", "synced"), [("power", "FULL"), ("process", "NORMAL")])
async def test_only_what_nobody_could_miss_goes_without_a_sync(
    tmp_path: Path, durability: Durability, synced: str
) -> None:
    async with opened(tmp_path / "s.db", durability=durability) as store:
        await store.request("promise.create", root("a"))
        commits = Commits(store)
        await acquire(store, "a")
        assert commits.taken() == {synced}
        step, open_call = promise("exec:a.1"), promise("exec:a.2", resonate_external="true")
        await store.request("task.fence", fenced("promise.create", step))
        assert commits.taken() == {"NORMAL"}  # an attempt that runs again makes it again
        await store.request("task.fence", fenced("promise.create", open_call))
        assert commits.taken() == {synced}
        await store.request("task.fence", fenced("promise.settle", settle("exec:a.1")))
        assert commits.taken() == {synced}  # the step's effect has happened
        await store.request("promise.get", {"id": "exec:a"})
        assert commits.taken() <= {"NORMAL"}
        together = (
            store.post("task.fence", fenced("promise.create", promise("exec:a.3"))),
            store.post("promise.create", promise("p", resonate_external="true")),
        )
        await asyncio.gather(*together)
        assert synced in commits.taken()


async def test_a_cell_whose_asker_hears_of_its_outcome_only_is_synced_shortly_after_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = asyncio.Event()
    loop = asyncio.get_running_loop()
    whole = LogRoom.sync

    def sync(room: LogRoom) -> None:
        whole(room)
        loop.call_soon_threadsafe(synced.set)

    monkeypatch.setattr(LogRoom, "sync", sync)
    cell = {"timeoutAt": 2**40, "param": {"data": ""}, "tags": {"resonate:target": "poll://any@default"}}
    async with opened(tmp_path / "s.db", durability="power") as store:
        await store.request("session.open", {"session": "s"})
        commits = Commits(store)
        await store.request("cell.submit", {"session": "s", "promise": cell})
        assert commits.taken() == {"FULL"}
        await store.request("cell.submit", {"session": "s", "promise": cell, "sync_later": True})
        assert commits.taken() == {"NORMAL"}
        await asyncio.wait_for(synced.wait(), 30)


@pytest.mark.parametrize(
    ("following", "later"), [(None, True), (promise("known"), True), (promise("new"), False)], ids=["end", "old", "new"]
)
async def test_what_is_synced_later_is_so_by_the_end_unless_a_commit_that_wrote_has_synced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, following: dict[str, Any] | None, *, later: bool
) -> None:
    """A request that finds all as it should be writes nothing, and SQLite syncs nothing for it."""
    synced: list[LogRoom] = []
    monkeypatch.setattr(LogRoom, "sync", lambda room: synced.append(room))
    monkeypatch.setattr("durable.store.sqlite.writer.SYNC_LATER_S", 3_600)
    cell = {"timeoutAt": 2**40, "param": {"data": ""}, "tags": {"resonate:target": "poll://any@default"}}
    async with opened(tmp_path / "s.db", durability="power"):  # so that the other one's end writes nothing back
        async with opened(tmp_path / "s.db", durability="power") as store:
            await store.request("session.open", {"session": "s"})
            await store.request("promise.create", promise("known"))
            await store.request("cell.submit", {"session": "s", "promise": cell, "sync_later": True})
            if following is not None:
                await store.request("promise.create", following)
            assert synced == []
        assert bool(synced) is later
