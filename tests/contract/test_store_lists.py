"""A list looks at what it shows, however many executions there are: counted in SQLite's own steps, not in time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable.core.clock import TIME_MAX_MS
from durable.store.rows import WORDS, State
from durable.store.sqlite.reads import SqliteReads

from .opened import T0, opened

FEW, MANY = 2_000, 40_000
FACTOR_MAX = 1.5
"""How many steps more a list may take in a store of twenty times as many executions: trees are a level deeper."""

FUNCTIONS = 12
RARE = 400
"""One execution in so many is in a state of its own kind."""


def word_of(i: int) -> State:
    """Nearly all are completed; the others are spread over the store."""
    return WORDS[i // RARE % len(WORDS)] if i % RARE == 0 else "completed"


_PROMISE = {
    "completed": ("resolved", None),
    "failed": ("rejected", None),
    "lost": ("rejected", "lost"),
    "cancelled": ("rejected_canceled", None),
    "timed_out": ("rejected_timedout", None),
}
_TASK = {"pending": "pending", "running": "pending", "waiting": "suspended", "interrupted": "halted"}


def fill(path: Path, count: int) -> None:
    """Executions as they would be, oldest first; one in ten is a cell of one of a few sessions."""
    promises: list[tuple[Any, ...]] = []
    tasks: list[tuple[Any, ...]] = []
    for i in range(count):
        word = word_of(i)
        state, outcome = _PROMISE.get(word, ("pending", None))
        session = f"s{i % 3}" if i % 10 == 1 else None
        function = "cell@1" if session else f"mod{i % FUNCTIONS}::job{i % 2}@1"
        name = f"exec:{(i * 2_654_435_761) % 2**32:08x}"  # ids are in no order of time
        settled = None if state == "pending" else T0 + i
        promises.append((name, state, "{}", TIME_MAX_MS, T0 + i, settled, 1, outcome))
        ended = word if word in _PROMISE else None
        version = 0 if word == "pending" else 1
        tasks.append((name, _TASK.get(word, "fulfilled"), ended, version, function, session, i, T0 + i))
    with closing(sqlite3.connect(path)) as file:
        file.executemany(
            "INSERT INTO promises (id, state, tags, timeout_at, created_at, settled_at, external, outcome)"
            " VALUES (?,?,?,?,?,?,?,?)",
            promises,
        )
        file.executemany(
            "INSERT INTO tasks (id, state, ended, version, function, session, n, created_at, not_before, exclusive,"
            " timer)"
            " VALUES (?,?,?,?,?,?,?,?,0,0,0)",
            tasks,
        )
        file.commit()


LISTS: list[dict[str, Any]] = [
    {},
    *({"state": word} for word in WORDS),
    {"function": "job1"},
    {"function": "mod3::job1@1"},
    {"function": "job1", "state": "running"},
    {"function": "job0", "state": "lost"},
    {"function": "nobody"},
    {"session": "s1"},
    {"session": "s1", "state": "failed"},
    {"session": "s1", "function": "job1"},
    {"session": "nobody"},
]


async def steps(path: Path, options: dict[str, Any], *, page: bool) -> tuple[int, list[str]]:
    """How many of SQLite's steps a list takes, in hundreds; and what it shows."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    reads = await SqliteReads.open(path)
    try:
        before = (await reads.list_executions(limit=500))[-1].id if page else None
        await reads._connection.set_progress_handler(step, 100)
        rows = await reads.list_executions(limit=5, before=before, **options)
        return count, [row.id for row in rows]
    finally:
        await reads.close()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    return {count: tmp_path_factory.mktemp("lists") / f"{count}.db" for count in (FEW, MANY)}


async def _filled(stores: dict[int, Path]) -> None:
    for count, path in stores.items():
        if not path.exists():
            async with opened(path):
                pass
            fill(path, count)


@pytest.mark.parametrize("page", [False, True])
@pytest.mark.parametrize("options", LISTS, ids=str)
async def test_a_list_takes_no_more_steps_in_a_larger_store(
    stores: dict[int, Path], options: dict[str, Any], page: bool
) -> None:
    await _filled(stores)
    few, _ = await steps(stores[FEW], options, page=page)
    many, _ = await steps(stores[MANY], options, page=page)
    assert many <= few * FACTOR_MAX + 10, f"{few} hundred steps for {FEW} executions, {many} for {MANY}"


@pytest.mark.parametrize("options", LISTS, ids=str)
async def test_a_list_shows_what_fits_newest_first_page_after_page(
    stores: dict[int, Path], options: dict[str, Any]
) -> None:
    await _filled(stores)
    path = stores[FEW]
    conditions = {
        "state": lambda value: f"word = {value!r}",
        "session": lambda value: f"session = {value!r}",
        "function": lambda value: f"(function = {value!r} OR function LIKE '%::{value}@%')",
    }
    where = " AND ".join(["1", *(conditions[name](value) for name, value in options.items())])
    with closing(sqlite3.connect(path)) as file:
        expected = [
            row[0].removeprefix("exec:")
            for row in file.execute(f"SELECT id FROM tasks WHERE {where} ORDER BY created_at DESC, id DESC LIMIT 700")
        ]
    reads = await SqliteReads.open(path)
    try:
        found: list[str] = []
        while rows := await reads.list_executions(limit=100, before=found[-1] if found else None, **options):
            assert all(row.state == options.get("state", row.state) for row in rows)
            found += [row.id for row in rows]
            if len(found) >= 700:
                break
        assert found == expected
        assert await reads.list_executions(before="nothing of that id", **options) == []
    finally:
        await reads.close()
