"""No statement of the store walks through a table: each is answered by key or by a partial index (specs/store.md)."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from durable.core.clock import TIME_MAX_MS

from .opened import T0, Clock, acquire, engine, opened, promise, root, settle, status

SMALL = {"CONSTANT", "engines", "json_each", "tag", "sqlite_master", "outbox"}
"""Tables of a few rows. The outbox is read by address; its oldest rows are found by their number."""
WHOLE = re.compile(r"EXISTS \(SELECT 1 FROM json_each|ORDER BY id LIMIT 10[01]\b")
"""Searches go through the key in pages, by the protocol's own design."""


def walks(connection: sqlite3.Connection, sql: str) -> list[str]:
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    scans = [re.match(r"SCAN (\w+)\b(?! USING (?:COVERING )?INDEX)", step) for step in plan]
    return [found[1] for found in scans if found is not None and found[1] not in SMALL]


async def test_no_statement_walks_through_a_table(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        seen: set[str] = set()
        for connection in (store._connection, store.glance._connection):
            connection.set_trace_callback(seen.add)
        inbox = await engine(store, "e1", ["app.py::job@1", "cell"])
        await store.request("session.open", {"session": "desk", "engine": "e1", "options": {}})
        cells = {"resonate:target": "poll://any@g", "durable:function": "cell"}
        for _ in range(2):
            await store.request(
                "cell.submit", {"session": "desk", "promise": {"timeoutAt": TIME_MAX_MS, "tags": cells}}
            )
        for name in "abcd":
            await store.request("promise.create", root(name, timeout_at=T0 + 100_000, resonate_branch=f"exec:{name}"))
        await acquire(store, "a", ttl=5)
        fenced = promise("exec:a.1", resonate_scope="local", resonate_branch="exec:a")
        assert store.glance.pending("exec:a")
        assert store.glance.may_begin("exec:a", 1, "exec:a.1")
        data: dict[str, Any]
        for kind, data in (("promise.create", fenced), ("promise.settle", settle("exec:a.1"))):
            await store.request("task.fence", {"id": "exec:a", "version": 1, "action": {"kind": kind, "data": data}})
        await store.request("promise.create", promise("exec:a:input:1", resonate_external="true"))
        callback = {"kind": "promise.register_callback", "data": {"awaited": "exec:a:input:1", "awaiter": "exec:a"}}
        listener = {"awaited": "exec:a:input:1", "address": "poll://uni@g/far"}
        await store.request("promise.register_listener", listener)
        await store.request("task.suspend", {"id": "exec:a", "version": 1, "actions": [callback]})
        await store.request("promise.settle", settle("exec:a:input:1"))
        await acquire(store, "b", ttl=5)
        await acquire(store, "c", ttl=500_000)
        await store.request("task.heartbeat", {"pid": "e1", "tasks": [{"id": "exec:c", "version": 1}]})
        await store.request("task.fail", {"id": "exec:c", "version": 1, "error": "x"})
        await store.request("task.halt", {"id": "exec:d"})
        await store.request("task.continue", {"id": "exec:d"})
        clock.now += 50
        call = {"session": "desk", "epoch": 1, "awaiter": "exec:desk@1", "promise": promise("exec:desk@1:input:1")}
        await store.request("call.create", call)
        await store.request("call.list", {"execution": "exec:desk@1"})
        for n in range(4):
            published = {
                "session": "desk",
                "epoch": 1,
                "statement": n,
                "final": False,
                "manifest": b"",
                "uses": [f"{n}"],
            }
            await store.request("checkpoint.publish", published)
            await store.request("output.append", {"execution": "a", "chunks": [(n, "stdout", "x")]})
        await store.request("output.truncate", {"execution": "a", "offset": 2})
        for kind in ("checkpoint.latest", "checkpoint.list", "session.get"):
            await store.request(kind, {"session": "desk"})
        await store.request("promise.settle", settle("exec:desk@1"))
        target = {"resonate:target": "poll://any@g"}
        schedule = {
            "id": "s",
            "cron": "* * * * *",
            "promiseId": "s-{{.timestamp}}",
            "promiseTimeout": 1,
            "promiseTags": target,
        }
        await store.request("schedule.create", schedule)
        clock.now += 200_000
        assert await status(store, "promise.get", {"id": "exec:d"}) == 200
        for kind in ("promise.search", "task.search", "schedule.search"):
            await store.request(kind, {})
        await store.request("sweep.executions", {"before": clock.now})
        await store.request("sweep.messages", {})
        await store.request("sweep.checkpoints", {"keep": {"last": 1, "age_ms": 5}})
        await store.request("checkpoint.label", {"checkpoint": 4, "label": "l"})
        await inbox.connection.stop()
        await store.request("engine.leave", {"engine": "e1"})
        store._connection.set_trace_callback(None)
        statements = {sql for sql in seen if re.match(r"(SELECT|UPDATE|DELETE|INSERT)", sql) and not WHOLE.search(sql)}
        assert len(statements) > 100
        assert {sql: walked for sql in statements if (walked := walks(store._connection, sql))} == {}
