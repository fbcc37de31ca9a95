"""Questions whose deadline has passed, and stores that are only looked at."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from durable.cli.execution_status import AwaitsAnswers, GoesOn, stand
from durable.core.errors import StoreError, StoreRefused
from durable.store.sqlite.read_only import ReadOnlyStore, is_read_only
from tests.e2e.cli_process import Terminal

ASKS = """
import durable

@durable.function
async def asks(ctx) -> str:
    return await ctx.ask("Tea?", choices=["tea", "no"], timeout=3600, default="no")
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.write("jobs.py", ASKS)
    found.durable("run", "jobs.py::asks", "--id", "q").failed(4, "Tea?")
    return found


def let_it_pass(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE promises SET timeout_at = 1000 WHERE id = 'exec:q:input:1'")
        connection.commit()


async def test_a_question_whose_deadline_has_passed_is_waited_for_no_more(terminal: Terminal) -> None:
    path = terminal.directory / ".durable" / "state.db"
    for passed in (False, True):
        if passed:
            let_it_pass(path)
        store = await ReadOnlyStore.open(path)  # nobody sweeps it
        try:
            assert isinstance(await stand(store.reads, "q"), GoesOn if passed else AwaitsAnswers)
        finally:
            await store.close()
    done = terminal.durable("result", "q")
    assert (done.code, done.out) == (0, "no\n"), done


async def test_a_store_that_is_only_looked_at_answers_and_refuses(terminal: Terminal) -> None:
    path = terminal.directory / ".durable" / "state.db"
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    assert not is_read_only(path)
    store = await ReadOnlyStore.open(path)
    try:
        found = (await store.request("promise.get", {"id": "exec:q"})).data["promise"]
        assert found["state"] == "pending"
        assert (await store.request("schedule.search", {"limit": 10})).data["schedules"] == []
        assert len(store.key) == 32
        with pytest.raises(StoreRefused) as refused:
            await store.request("promise.get", {"id": "exec:none"})
        assert refused.value.status == 404
        with pytest.raises(StoreError, match="readonly database"):
            await store.request("task.halt", {"id": "exec:q", "note": "stop"})
        with pytest.raises(StoreError, match="nothing can go on here"):
            await store.settled("exec:q")
    finally:
        await store.close()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before
