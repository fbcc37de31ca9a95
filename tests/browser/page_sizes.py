"""`python -m tests.browser.page_sizes [--executions N] [--megabytes N]`: time and size of each page of a large store.

A store with 100,000 executions, one of which has 5,000 steps, one 100 steps of a megabyte each, 200 MB of output and
2,000 open questions. Each page is asked for three times by HTTP, and the fastest counts: its time of a processor, the
client's included, since other work on the machine lengthens the other one, which is shown as well. Exits 1 where one
takes over 300 ms or has over 1 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import aiohttp

import durable
from durable.http.dashboard_mount import DashboardMount
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.direct_store import DirectStore
from tests.browser import jobs
from tests.contract.opened import root

TOKEN = "token-of-the-figures"
PAGE_MS_MAX = 300
PAGE_BYTES_MAX = 1_000_000
TRIES = 3
STEPS = 5_000
QUESTIONS = 2_000
HEAVY_STEPS = 100
"""Of a megabyte each."""

CHUNK_CHARS = 64 * 2**10
AT_ONCE = 5_000


async def fill(engine: durable.Engine, executions: int, megabytes: int) -> None:
    """Make what the pages show: steps, questions, cells by the engine; executions, output by the store's requests."""
    store = cast(DirectStore, engine.store)
    steps = await engine.start(jobs.steps, STEPS, id="steps")
    await engine.start(jobs.asks_much, QUESTIONS, id="asks")
    heavy = await engine.start(jobs.heavy_steps, HEAVY_STEPS, id="heavy")
    session = await engine.session("printer")
    for n in range(30):
        await session.execute(f"text{n} = 'x' * 1000\nprint(text{n})")
    await steps.result(300)
    await heavy.result(300)
    epoch = (await store.request("session.get", {"session": "printer"})).data["epoch"]
    end = await store.reads.output_end("printer@30")
    text = ("0123456789 " * 6_000)[: CHUNK_CHARS - 1] + "\n"
    for n in range(megabytes * 2**20 // CHUNK_CHARS):
        chunk = (end + n * CHUNK_CHARS, "stdout", text, CHUNK_CHARS)
        rows = {"execution": "printer@30", "session": "printer", "epoch": epoch, "chunks": [chunk]}
        await store.request("output.append", rows)
    for begin in range(0, executions, AT_ONCE):
        names = [f"many-{n}" for n in range(begin, min(begin + AT_ONCE, executions))]
        await asyncio.gather(*(store.request("promise.create", _execution(name, n)) for n, name in enumerate(names)))
        ends = [{"id": f"exec:{name}", "state": "resolved", "value": {}} for name in names[: AT_ONCE * 9 // 10]]
        await asyncio.gather(*(store.request("promise.settle", end) for end in ends))


def _execution(name: str, n: int) -> dict[str, Any]:
    made = root(name)
    made["tags"] |= {"durable:function": f"shop.py::job{n % 20}@1", "durable:tag:customer": f"c{n % 500}"}
    return made


PAGES = (
    "inbox",
    "inbox?q=Question%201",
    "inbox/settled",
    "inbox/settled?q=Nobody%20said%20this",
    "inbox/settled?state=declined",
    "executions",
    "executions?state=completed",
    "executions?state=pending",
    "executions?function=job7",
    "executions?tag=customer%3Dc7",
    "executions?function=job7&state=completed&since=1d",
    "executions?state=lost",
    "executions/many-7",
    "executions/steps",
    "executions/steps?page=1",
    "executions/steps/events",
    "executions/steps/record",
    "executions/steps/steps/steps.7",
    "executions/asks",
    "executions/heavy",
    "executions/printer@30",
    "executions/printer@30/output?offset=0&rewinds=0",
    "sessions",
    "sessions/printer",
    "schedules",
    "actors",
    "workers",
    "audit",
    "store",
    "store/figures",
)
"""Every page that lists or shows something, with the filters that could be slow."""


async def measure(executions: int, megabytes: int, directory: Path) -> bool:
    """Print a line for each page; whether all are within their bounds."""
    path, good = directory / "large.db", True
    async with durable.open(path, durability="process", observer=lambda _: None) as engine:
        began = time.perf_counter()
        await fill(engine, executions, megabytes)
        print(f"made in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        site = Site(cast(DirectStore, engine.store), TOKEN)
        with listen("127.0.0.1", 0) as sock:
            async with (
                serving(site, sock, DashboardMount(site, str(path))) as url,
                aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
            ):
                async with http.post(f"{url}/ui/login", data={"token": TOKEN}) as answer:
                    assert answer.status == 200, answer.status
                newest = await engine.store.reads.list_executions(limit=100)
                for page in (*PAGES, f"executions?before={newest[-1].id}"):
                    good &= await _measured(http, f"{url}/ui/{page}", page)
    return good


async def _measured(http: aiohttp.ClientSession, url: str, page: str) -> bool:
    times, processor, size, status = list[float](), list[float](), 0, 0
    for _ in range(TRIES):
        began, used = time.perf_counter(), time.process_time()
        async with http.get(url) as answer:
            size, status = len(await answer.read()), answer.status
        times.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - used) * 1000)
    good = status == 200 and min(processor) <= PAGE_MS_MAX and size <= PAGE_BYTES_MAX
    figures = f"{min(times):6.0f} ms, of a processor {min(processor):5.0f} ms, {size / 1000:5.0f} kB"
    print(f"{'ok  ' if good else 'OVER'} {figures} {status} {page}", flush=True)
    return good


def main() -> int:
    """Measure in a directory that is deleted afterwards."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--executions", type=int, default=100_000)
    arguments.add_argument("--megabytes", type=int, default=200)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return 0 if asyncio.run(measure(given.executions, given.megabytes, Path(directory))) else 1


if __name__ == "__main__":
    sys.exit(main())
