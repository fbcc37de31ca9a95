"""Searches that look at more rows than the writer does for one (specs/store.md, Reads)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durable.core.errors import EngineClosed, StoreRefused
from durable.store.operations import searches
from durable.store.sqlite.store import Store

from .opened import opened, promise, root, settle, status

COUNT = 100


@pytest.fixture
async def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Promises p000 to p099, tasks every second one, some settled, few with a tag; the writer looks at 7 rows."""
    monkeypatch.setattr(searches, "SEARCH_ROWS", 7)
    monkeypatch.setattr(searches, "SEARCH_ROWS_READ", 13)
    async with opened(tmp_path / "s.db") as store:
        for n in range(COUNT):
            target = "poll://any@g" if n % 2 == 0 else None
            tags: dict[str, Any] = {"rare": "yes"} if n in (3, 50, 99) else {}
            store.post("promise.create", promise(f"p{n:03}", target=target, **tags))
        for n in (1, 40, 98):
            await store.request("promise.settle", settle(f"p{n:03}"))
        yield store


async def pages(store: Store, kind: str, name: str, **query: object) -> list[list[int]]:
    found, cursor = [], dict[str, object]()
    while True:
        data: Any = (await store.request(kind, {**query, **cursor})).data
        found.append([int(record["id"][1:]) for record in data[name]])
        if "cursor" not in data:
            return found
        cursor = {"cursor": data["cursor"]}


async def test_pages_are_whole_and_their_cursors_true_however_far_apart_the_matches_are(full: Store) -> None:
    every = list(range(COUNT))
    assert await pages(full, "promise.search", "promises") == [every]
    assert await pages(full, "promise.search", "promises", tags={"rare": "yes"}) == [[3, 50, 99]]
    assert await pages(full, "promise.search", "promises", tags={"rare": "yes"}, limit=1) == [[3], [50], [99]]
    assert await pages(full, "promise.search", "promises", tags={"rare": "yes"}, limit=2) == [[3, 50], [99]]
    assert await pages(full, "promise.search", "promises", tags={"rare": "no"}) == [[]]
    assert await pages(full, "promise.search", "promises", tags={"rare": "yes"}, state="resolved") == [[]]
    assert await pages(full, "promise.search", "promises", state="resolved") == [[1, 40, 98]]
    pending = [n for n in every if n not in (1, 40, 98)]
    assert await pages(full, "promise.search", "promises", state="pending", limit=97) == [pending]
    assert await pages(full, "promise.search", "promises", state="pending", limit=96) == [pending[:96], pending[96:]]
    assert await pages(full, "task.search", "tasks", state="fulfilled") == [[40, 98]]
    assert await pages(full, "task.search", "tasks", state="fulfilled", limit=1) == [[40], [98]]
    assert await pages(full, "task.search", "tasks", limit=30) == [every[0:60:2], every[60::2]]


@pytest.mark.file_only("a trace of the file's connection shows what the writer runs")
async def test_the_writer_serves_others_while_a_search_goes_on_and_looks_at_few_rows(full: Store) -> None:
    seen: list[str] = []
    full._connection.set_trace_callback(seen.append)
    search = full.post("promise.search", {"tags": {"rare": "no"}})
    assert await status(full, "promise.get", {"id": "p000"}) == 200
    assert not search.done()
    assert (await search).data == {"promises": []}
    full._connection.set_trace_callback(None)
    looked = [sql for sql in seen if "instr(" in sql]
    assert len(looked) == 1
    assert "id <= 'p006'" in looked[0]


async def test_a_search_that_goes_on_when_the_store_closes_is_told_so(
    full: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "SEARCH_ROWS_READ", 1)  # it takes far longer than to close
    search = full.post("promise.search", {"tags": {"rare": "no"}})
    await asyncio.gather(full.close(), return_exceptions=True)
    with pytest.raises(EngineClosed):
        await search


async def test_figures_count_what_there_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        before = await store.reads.figures(now=0)
        await store.request("promise.create", root("exec:figured"))
        asked = promise("exec:figured:input:1", durable_capability="input", resonate_external="true")
        await store.request("promise.create", asked)
        found = await store.reads.figures(now=2**52)
        assert sum(count for *_, count in found.executions) == sum(count for *_, count in before.executions) + 1
        assert (before.queue_depth, found.queue_depth, found.prompts) == (0, 1, 1)
        assert found.queue_oldest > 0 < found.prompts_oldest
        assert (found.leases, found.checkpoints, found.schedules) == (0, 0, 0)


TOO_LARGE = 2**63


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("sealed.page", {"after": '["param",[5]]'}),
        ("sealed.page", {"after": '["letter",["a"]]'}),
        ("sealed.page", {"after": '["signal",["a","b","c"]]'}),
        ("sealed.page", {"after": f'["letter",[{TOO_LARGE}]]'}),
        ("sealed.page", {"after": '["nowhere",[]]'}),
        ("value.reseal", {"place": "signal", "key": ["a", 1, 1], "before": "", "data": ""}),
        ("value.reseal", {"place": "letter", "key": [TOO_LARGE], "before": "", "data": ""}),
        ("sweep.retention", {"after": "no place"}),
        ("sweep.retention", {"after": "[1,2]"}),
        ("sweep.retention", {"after": f'["f","completed",{TOO_LARGE},""]'}),
        ("actor.list", {"place": TOO_LARGE}),
        ("session.give", {"session": "s", "epoch": TOO_LARGE}),
    ],
    ids=str,
)
async def test_cursors_and_numbers_that_nobody_gave_are_refused(
    tmp_path: Path, kind: str, data: dict[str, Any]
) -> None:
    async with opened(tmp_path / "s.db") as store:
        assert await status(store, kind, data) == 400


async def test_text_that_no_store_can_hold_is_refused_where_it_is_looked_for(tmp_path: Path) -> None:
    bad = "\ud800"
    async with opened(tmp_path / "s.db") as store:
        for read in (
            store.reads.list_executions(tag=(bad, "x")),
            store.reads.count_executions(tag=("x", bad)),
            store.reads.stream("a", bad),
        ):
            with pytest.raises(StoreRefused, match="cannot be written as UTF-8"):
                await read
        assert await store.reads.list_executions() == []
