"""No statement of the store walks through a table: each is answered by key or by index (specs/store.md, Speed).

Every statement that the sources hold must be seen to run here: one that is added and is not fails the test.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable.core.clock import now_ms
from durable.core.errors import StoreError
from durable.core.limits import OUTBOX_KEEP_MS
from durable.executions.execution_search import ExecutionFilter, search
from durable.store.operations import searches
from durable.store.sqlite.store import Store
from durable.store.upkeep.blobs import sweep_blobs
from durable.store.upkeep.gc import collect
from durable.store.upkeep.run_storage import DIRECTORY, sweep_directories

from .crash_points import _leave_behind, killed, run
from .crash_script import the_day
from .opened import Clock, acquire, engine, opened, promise, root, settle, status
from .statements import statements
from .test_store_overlaps import put as put_schedule

WHOLE = frozenset(
    {
        "backup",
        "copied_tables",
        "copy",
        "debug",
        "doctor",
        "invariants",
        "postgres",
        "record_checks",
        "sealed_values",
        "store_figures",
        "transfer",
    }
)
"""Modules that look at everything: on connections of their own, or for the contract's model only; and the folder of
another database."""

SMALL = {
    "CONSTANT",
    "cut",
    "deployment_routes",
    "deployments",
    "each",
    "engines",
    "first",
    "json_each",
    "page",
    "retentions",
    "part",
    "parts",
    "policies",
    "sqlite_master",
    "step",
    "tag",
}
"""Tables of a few rows, and what is cut to a page."""

WALKS = {
    r"SELECT 1 FROM \w+ LIMIT 1\Z": "whether there is any: its first row",
    r"\nWITH RECURSIVE held": "what an execution waits for, a table of the statement's own",
    r"SELECT \* FROM \(WITH old AS": "what goes with a new checkpoint, tables of the statement's own",
    r"SELECT id FROM tasks WHERE state='acquired' AND pid=": "what engines hold, by the partial index of leases",
    r"SELECT settled_at FROM promises WHERE settled_at IS NOT NULL": "gc --keep, on a connection of its own",
    r"SELECT name FROM queues WHERE waiting > 0": "the queues in which something waits, by the partial index of those",
    r"SELECT name FROM queues WHERE rate_count IS NOT NULL": "one row of each queue, when something is due",
    r"UPDATE queues SET next_start_at=.* WHERE rate_ms IS NOT NULL": "when the clock was set back, and at the opening",
    r"SELECT name, state, .* FROM queues ORDER BY name": "the list of all queues, on the reading connection",
    r"SELECT id, cron, next_run_at FROM schedules WHERE last_run_at": "when the clock was set back, and at the opening",
    r"SELECT id, promise_tags, promise_param FROM schedules": "the schedules of a renamed function, once",
    r"SELECT name, owner, .* FROM sessions WHERE substr": "the list of all sessions, on the reading connection",
    r"SELECT id FROM outbox WHERE id IN \(SELECT id FROM outbox ORDER BY id LIMIT": "the oldest so many, by their key",
    r"\s*WITH RECURSIVE each\(function\)": "the first entry of an index, then a step for each function",
    r"\s*UPDATE tasks SET ended = ": "once, when a file of an older version is opened",
    r"SELECT [a-z, ]+(substr\(\w+, 1, 120\)|promise_param) FROM": "pages of `durable keys`, by key, of REKEY_ROWS rows",
    r"\s*UPDATE (promises|signals) SET \w+ = '@='": "likewise",
    r"DELETE FROM outbox WHERE id IN \(SELECT id FROM outbox ORDER BY id LIMIT": "the oldest so many, by their key",
}
"""Statements that may walk, and why."""

SORTS = {
    r"SELECT id, version, due, .* ORDER BY due, \(SELECT n FROM queue_entries": "what a rate let begin a moment ago",
    r"SELECT id, timeout_at, tags, length.id. FROM promises WHERE state='pending' AND timeout_at": "what is due by now",
    r"\s*WITH RECURSIVE held\(awaited": "the halted tasks behind what is waited for",
    r"SELECT id, address, message FROM outbox WHERE address >= ": "what waits to be sent to URLs",
    r"SELECT engine, grp, .* FROM engines ORDER BY joined_at": "engines are few",
    r"SELECT id FROM promises WHERE state='pending' AND \(\(id > ": "what lies under one execution",
    r"SELECT id,state,.* FROM promises WHERE \(id > .* ORDER BY id LIMIT 10000": "what lies under one execution",
    r"SELECT execution, at, step, .* FROM discards WHERE execution = ": "DISCARDS_KEPT of each task of one execution",
    r"SELECT DISTINCT u.digest FROM checkpoint_uses": "the chunks of the checkpoints that go",
    r"SELECT p.id,p.state,.* FROM \(SELECT id FROM \(SELECT \* FROM \(": "a page of each range",
    r"SELECT settled_at FROM promises WHERE settled_at IS NOT NULL": "gc --keep, on a connection of its own",
    r"SELECT id,state,.* FROM promises INDEXED BY promises_asked": "questions that were asked in the same millisecond",
    r"SELECT n FROM published WHERE execution=": "the keys that one execution has published",
    r"SELECT .* FROM (deployments|deployment_routes|engines) ": "deployments and their engines are few",
    r"\s*WITH cut AS ": "what a reader of one execution's output gets at a look",
}
"""Statements that may sort what they found, and why it is not much."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every statement that any connection of this process runs."""
    found: set[str] = set()
    connect = sqlite3.connect

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.set_trace_callback(found.add)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    return found


def walks(connection: sqlite3.Connection, sql: str) -> list[str]:
    """Tables that a statement goes through row by row, in order of an index or in none."""
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    scans = [found[1] for step in plan if (found := re.match(r"SCAN (\w+)", step)) is not None]
    return [table for table in scans if table not in SMALL]


def ranges(connection: sqlite3.Connection, sql: str) -> list[str]:
    """Tables of which a statement reads all keys after one, or between two: a walk, though SQLite says SEARCH."""
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    found = [re.match(r"SEARCH (\w+) [^(]*\((.*)\)$", step) for step in plan]
    return [each[1] for each in found if each is not None and not re.search(r"[^<>]=", each[2])]


def sorts(connection: sqlite3.Connection, sql: str) -> bool:
    """Whether a statement collects all that fits before its first row, to put it into an order."""
    return any("TEMP B-TREE" in row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))


async def _rest_of_the_day(path: Path) -> None:
    """Requests that the script does not reach: reads, other processes, duplicates, messages that nobody came for."""
    clock = Clock(now_ms())
    async with opened(path, clock=clock) as store, opened(path, clock=clock) as other:
        inbox = await engine(store, "e9", [])
        for name in ("one", "branch", "two"):
            await store.request("promise.create", root(name, resonate_branch=f"exec:{name}"))
        inner = root("branch.1", resonate_branch="exec:branch")
        action = {"kind": "promise.create", "data": inner}
        for _ in range(2):
            await status(store, "task.create", {"pid": "e9", "ttl": 9, "action": action})
        waiting = asyncio.create_task(store.settled("exec:one"))
        await store.request("promise.get", {"id": "exec:one"})
        await other.request("promise.settle", settle("exec:one"))
        await waiting
        fulfil = {"id": "exec:two", "version": 1, "epoch": 9}
        await acquire(store, "two", pid="e9")
        action = {"kind": "promise.settle", "data": settle("exec:two")}
        await store.request("task.fulfill", {**fulfil, "action": action})
        for name in ("p", "q"):
            await store.request("promise.create", promise(name, resonate_external="true"))
            await store.request("promise.register_listener", {"awaited": name, "address": "poll://uni@g/nobody"})
            await store.request("promise.settle", settle(name))
        for name in ("stopping", "returned"):
            await store.request("promise.create", root(name))
            await acquire(store, name, pid="e9")
            if name == "returned":
                await store.request("task.release", {"id": "exec:returned", "version": 1})
            await store.request("execution.cancel", {"id": f"exec:{name}", "reason": "", "grace_ms": 1_000})
            if name == "stopping":
                await store.request("promise.create", promise("exec:stopping.1", resonate_external="true"))
                awaited = {"awaited": "exec:stopping.1", "awaiter": "exec:stopping"}
                actions = [{"kind": "promise.register_callback", "data": awaited}]
                await store.request("promise.register_callback", awaited)
                await store.request("promise.settle", settle("exec:stopping.1"))
                unheard = {"id": "exec:stopping", "version": 1, "actions": actions, "cancelled": False}
                assert (await store.request("task.suspend", unheard)).status == 300
        assert await store.reads.cancelled("e9") == ["exec:stopping"]
        clock.now += 1_000
        await store.request("promise.create", root("lapses"))
        await acquire(store, "lapses", pid="elsewhere", ttl=1)
        clock.now += 1
        beat = {"pid": "elsewhere", "tasks": [{"id": "exec:lapses", "version": 1}]}
        await store.request("task.heartbeat", beat)
        clock.now += 1
        await store.request("task.get", {"id": "exec:lapses"})
        await acquire(store, "lapses", 1, pid="e9")
        action = {"kind": "promise.settle", "data": settle("exec:lapses")}
        await status(store, "task.fulfill", {"id": "exec:lapses", "version": 1, "action": action})
        await store.request("audit.append", {"entries": [("s", "x", "http", "", "allowed", "", 1, 1)]})
        await store.request("session.open", {"session": "once", "engine": "e9", "options": {"run": "r"}})
        await store.request("session.close", {"session": "once"})
        await store.request("session.open", {"session": "kept", "engine": "e9"})
        kept = {"session": "kept", "epoch": 1, "n": 1, "statement": 0, "final": True, "manifest": b"m", "chunks": []}
        await store.request("checkpoint.publish", {**kept, "uses": ["5" * 64]})
        await store.request("checkpoint.publish", {**kept, "uses": ["5" * 64], "carried": ["5" * 64]})
        await store.request("sweep.checkpoints", {"keep": {"last": 1}})
        store.glance.may_begin("exec:two", 1, "exec:two.1")
        clock.now += OUTBOX_KEEP_MS + 1
        for keep in (1, 0):
            async for _ in collect(store, before=clock.now, keep=keep):
                pass
        digest = "ab" * 32
        (store.directory / "blobs" / digest[:2]).mkdir(parents=True)
        (store.directory / "blobs" / digest[:2] / digest).touch()
        await asyncio.to_thread(sweep_blobs, path, now_s=clock.now / 1000 + 10**6)
        (store.directory / DIRECTORY / "gone").mkdir(parents=True)
        await asyncio.to_thread(sweep_directories, path)
        await _every_read(store)
        await inbox.connection.stop()


async def _every_read(store: Store) -> None:
    reads = store.reads
    await reads.list_executions(state="running", session="s", function="f", before="one")
    await reads.list_executions(function="job")
    await reads.count_executions(since=1, until=2)
    await reads.count_executions(function="f", session="s")
    await reads.count_executions(function="f")
    await reads.count_executions(tag=("customer", "c7"), function="f", session="s", since=1)
    await reads.signal_waits(executions=["one"])
    tag = ("customer", "c7")
    await reads.list_executions(tag=tag, since=1, until=2)
    await search(reads, ExecutionFilter(tags=(tag, ("kind", "order")), text="x"))
    await reads.list_executions(tag=tag, state="running", session="s", function="f", before="one")
    await reads.get_promise("exec:one")
    await reads.children("one")
    await reads.prompts()
    await reads.prompts_page(None, 2)
    await reads.open_prompts()
    await reads.settled_prompts_page(["resolved", "rejected_timedout"], (9, "p"), 2)
    await reads.sessions_page("", 10)
    await reads.session("kept")
    await reads.children_page("one", "", 10)
    await reads.retries_of(["exec:one.1"])
    await reads.outline("one", 10)
    await reads.promises(["exec:one.1"])
    await reads.short_promises(["exec:one.1"], 10)
    await reads.unfinished()
    await reads.made_since(0)
    await reads.retries()
    await reads.stream("one", "tokens", 3)
    await reads.streams("one")
    await reads.published("one")
    await reads.queues()
    await reads.queue_keys("mail")
    await reads.queue_keys("mail", after="a")
    await reads.printed("one")
    await reads.output_end("one")
    await reads.sessions()
    await reads.discards("lapses")
    await reads.engines()
    await reads.halts(awaited=["exec:one"])
    store.glance.halt("exec:two")
    await reads.stopped(executions=["one"], sessions={"s": 1})
    for kind, query in (("promise", {"state": "resolved", "tags": {"a": "b"}}), ("task", {"state": "halted"})):
        await store.request(f"{kind}.search", query)


async def _messages_to_urls(store: Store) -> None:
    [post] = (await store.request("listener.claim", {"limit": 1})).data["posts"]
    await store.request("listener.end", {"post": post["post"], "retry_ms": 0})
    assert [each["tries"] for each in (await store.request("listener.claim", {"limit": 1})).data["posts"]] == [1]
    with closing(sqlite3.connect(store.path)) as file, file:
        old = '{"body":"{}","since":0,"tries":9}'
        file.execute("INSERT INTO outbox (address, message, created_at) VALUES ('https://a.example/', ?, 0)", (old,))
    [over] = (await store.request("listener.claim", {"limit": 1})).data["posts"]
    assert over["over"]
    await store.request("listener.end", {"post": post["post"]})
    assert (await store.request("listener.claim", {"limit": 1})).data == {"posts": [], "wait_ms": None}


async def _a_clock_that_is_set_back(folder: Path) -> None:
    clock = Clock(now_ms())
    async with opened(folder / "clock.db", clock=clock) as store:
        await put_schedule(store)
        clock.now -= 1_000_000
        assert (await store.request("schedule.list", {"id": "s"})).data["schedules"][0][
            "nextRunAt"
        ] <= clock.now + 10_000


async def _mail_and_a_foreign_file(folder: Path) -> None:
    async with opened(folder / "mail.db") as store, opened(folder / "mail.db") as other:
        inbox = await engine(store, "e1", [])
        await other.request("promise.create", promise("p", resonate_external="true"))
        await other.request("promise.register_listener", {"awaited": "p", "address": "poll://uni@g/e1"})
        await other.request("promise.register_listener", {"awaited": "p", "address": "https://hooks.example/"})
        await other.request("promise.settle", settle("p"))
        assert await inbox.next() == "p"
        await _messages_to_urls(store)
    with closing(sqlite3.connect(folder / "foreign.db")) as file:
        file.execute("CREATE TABLE t (a)")
    with pytest.raises(StoreError, match="another program"):
        await Store.open(folder / "foreign.db")


@pytest.mark.timeout(300)  # a whole day of requests, each statement looked at
def test_no_statement_walks_through_a_table(tmp_path: Path, seen: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "SEARCH_ROWS", 2)
    monkeypatch.setattr(searches, "SEARCH_ROWS_READ", 3)
    path = tmp_path / "s.db"
    assert killed(lambda: asyncio.run(_leave_behind(path)))
    asyncio.run(run(path, the_day(), burst=5, fault=None, said=lambda: None))
    asyncio.run(_rest_of_the_day(path))
    asyncio.run(_mail_and_a_foreign_file(tmp_path))
    asyncio.run(_a_clock_that_is_set_back(tmp_path))
    ran = {sql for sql in seen if re.match(r"\s*(WITH|SELECT|UPDATE|DELETE|INSERT|REPLACE)\b", sql)}
    known = statements(but=WHOLE)
    assert len(known) > 150
    unseen = [where for where, pattern in known.items() if not any(map(pattern.search, ran))]
    assert unseen == [], "run it above, or say in WHOLE why its module looks at everything"
    with closing(sqlite3.connect(path)) as file:
        file.create_function("root_of", 1, str)
        ordered = [sql for sql in ran if sorts(file, sql)]
        walked = {sql: tables for sql in ran if (tables := walks(file, sql))}
    assert {
        sql: tables for sql, tables in walked.items() if not any(re.match(each, sql, re.DOTALL) for each in WALKS)
    } == {}
    unexplained = [sql for sql in ordered if not any(re.match(each, sql, re.DOTALL) for each in SORTS)]
    assert unexplained == []


async def test_lists_and_counts_of_executions_read_equal_values_of_an_index(tmp_path: Path, seen: set[str]) -> None:
    """A range of all ids is no walk to SQLite, and costs as much: 2 s at 400,000 executions."""
    async with opened(tmp_path / "s.db") as store:
        for number in range(3):
            await store.request("promise.create", root(f"e{number}", function="job::f@1"))
        seen.clear()
        listed: list[dict[str, Any]] = [
            {}, {"state": "running"}, {"function": "f"}, {"session": "s"}, {"session": "s", "function": "f"},
            {"tag": ("a", "b")}, {"tag": ("a", "b"), "function": "f", "session": "s", "state": "failed"},
        ]  # fmt: skip
        for wanted in listed:
            for page in ({}, {"before": "e1"}, {"since": 1, "until": 2}):
                await store.reads.list_executions(**wanted, **page)
            wanted.pop("state", None)
            await store.reads.count_executions(**wanted)
            await store.reads.count_executions(**wanted, since=1, until=2)
        await store.reads.signal_waits(executions=["e1", "e2"])
        for before in (None, (9, "p")):
            await store.reads.settled_prompts_page(["resolved", "rejected"], before, 2)
        ran = {sql for sql in seen if re.match(r"\s*(WITH|SELECT)\b", sql)}
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        found = {sql: [*walks(file, sql), *ranges(file, sql)] for sql in ran}
    functions = r"\s*WITH RECURSIVE each\(function\)"
    assert {sql: tables for sql, tables in found.items() if tables and not re.match(functions, sql)} == {}
    assert len(ran) > 20


def test_a_range_of_ids_is_found_out() -> None:
    with closing(sqlite3.connect(":memory:")) as file:
        file.execute("CREATE TABLE tasks (id TEXT PRIMARY KEY, state TEXT, at INTEGER) WITHOUT ROWID")
        file.execute("CREATE INDEX by_state ON tasks (state, at)")
        assert ranges(file, "SELECT * FROM tasks WHERE id > 'exec:' AND id < 'exec;' ORDER BY at DESC LIMIT 9") == [
            "tasks"
        ]
        assert ranges(file, "SELECT * FROM tasks WHERE state = 'x' AND at < 5 ORDER BY at DESC LIMIT 9") == []
        assert ranges(file, "SELECT * FROM tasks WHERE (state, at) > ('x', 1)") == ["tasks"]
