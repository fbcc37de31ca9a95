"""How long the server takes for a page of each list of the HTTP API, in a store with many executions.

`python -m benchmarks.api_lists [--executions 100000] [--steps 5000] [--prompts 2000]`: the median and the longest of
some requests each, in milliseconds, over a connection that is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from durable.core.clock import TIME_MAX_MS, now_ms
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.records.values import pack
from durable.store.sqlite.store import Store

TOKEN = "token-of-the-benchmark"
REQUESTS = 20
PROMPT = pack({"question": "Publish the text?", "json_schema": {"type": "boolean"}})

PAGES = (
    "/executions?limit=100",
    "/executions?limit=100&state=waiting",
    "/executions?limit=100&state=completed&function=job3",
    "/executions?limit=100&tag=customer%3Dc7",
    "/executions?limit=1000",
    "/executions/big/steps?limit=100",
    "/prompts?limit=100",
    "/sessions?limit=100",
    "/promises?limit=100",
    "/schedules",
    "/actors",
    "/audit",
    "/engines",
    "/functions",
)


def fill(path: Path, executions: int, steps: int, prompts: int) -> None:
    """Executions, a tenth of them cells and some waiting; steps of one of them; open questions of others."""
    now, promises, tasks, tags = now_ms(), list[Any](), list[Any](), list[Any]()
    param = pack({"func": "app.py::job", "args": ["some text"], "kwargs": {}, "version": 1})
    for n in range(executions):
        waits = n % (executions // max(prompts, 1) or 1) == 0
        id, function = f"exec:{(n * 2_654_435_761) % 2**32:08x}-{n}", f"app.py::job{n % 12}@1"
        state = "pending" if waits else "resolved"
        at = now - (executions - n) * 1_000
        promises.append((id, state, param, "{}", TIME_MAX_MS, at, None if waits else at + 500, 1, None))
        tasks.append((id, "suspended" if waits else "fulfilled", None if waits else "completed", 1, function, at))
        if waits:
            asked = f"{id}:input:1"
            promises.append(
                (asked, "pending", param, '{"durable:capability":"input"}', TIME_MAX_MS, at, None, 1, "input")
            )
        if n % 100 == 7:
            tags.append(("customer", "c7", at, id))
    big = ("exec:big", "pending", param, "{}", TIME_MAX_MS, now, None, 1, None)
    promises.append(big)
    tasks.append(("exec:big", "suspended", None, 1, "app.py::job0@1", now))
    for n in range(steps):
        promises.append((f"exec:big.{n}", "resolved", param, '{"durable:kind":"step"}', TIME_MAX_MS, now, now, 0, None))
    with closing(sqlite3.connect(path)) as file, file:
        file.executemany(
            "INSERT INTO promises (id, state, param_data, tags, timeout_at, created_at, settled_at, external,"
            " capability) VALUES (?,?,?,?,?,?,?,?,?)",
            promises,
        )
        file.executemany(
            "INSERT INTO tasks (id, state, ended, version, function, created_at, not_before, exclusive, timer)"
            " VALUES (?,?,?,?,?,?,0,0,0)",
            tasks,
        )
        file.executemany("INSERT INTO execution_tags (name, value, created_at, id) VALUES (?,?,?,?)", tags)


async def measure(path: Path) -> None:
    """Serve the store and ask for each page."""
    store = await Store.open(path)
    try:
        with listen("127.0.0.1", 0) as sock:
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with serving(Site(store, TOKEN), sock) as url, aiohttp.ClientSession(headers=headers) as http:
                print(f"{'page':<58}{'median':>9}{'longest':>9}{'KB':>8}   (ms)")
                for page in PAGES:
                    took, size = [], 0
                    for _ in range(REQUESTS):
                        began = time.perf_counter()
                        async with http.get(f"{url}/api/v1{page}") as response:
                            size = len(await response.read())
                            assert response.status == 200, page
                        took.append((time.perf_counter() - began) * 1000)
                    median, longest = statistics.median(took[1:]), max(took[1:])
                    print(f"{page:<58}{median:>9.1f}{longest:>9.1f}{size / 1000:>8.1f}")
    finally:
        await store.close()


def main() -> None:
    """Make the store and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--prompts", type=int, default=2_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.db"
        asyncio.run(_make(path))
        fill(path, given.executions, given.steps, given.prompts)
        print(f"{given.executions} executions, {given.steps} steps of one, {given.prompts} open questions")
        asyncio.run(measure(path))


async def _make(path: Path) -> None:
    await (await Store.open(path)).close()


if __name__ == "__main__":
    main()
