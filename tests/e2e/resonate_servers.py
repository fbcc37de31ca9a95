"""Servers of the Resonate protocol that are not ours, for tests: the TypeScript SDK's, and resonate-pg behind HTTP.

resonate-pg is one SQL file, which is not in this repository: RESONATE_PG_SQL names it (resonate.sql of
github.com/resonatehq/resonate-pg).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from aiohttp import web
from psycopg import sql

from tests.conftest import Node
from tests.postgres_server import PostgresServer

SDK_SERVER = Path(__file__).parent / "node" / "server.mjs"
TICK_S = 0.05
RESONATE_PG = "RESONATE_PG_SQL"


@contextmanager
def sdk_server(node: Node) -> Iterator[str]:
    """The URL of the TypeScript SDK's own server."""
    command = [node.program, str(SDK_SERVER), str(node.directory / "node_modules" / "@resonatehq" / "sdk")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


@contextmanager
def resonate_pg(server: PostgresServer, schema_file: Path) -> Iterator[str]:
    """The URL of a front over resonate-pg in a database of its own."""
    name = f"resonate_{os.urandom(4).hex()}"
    server.sql(f"CREATE DATABASE {name}")
    conninfo = server.url().partition("&schema=")[0].replace("/postgres?", f"/{name}?")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(schema_file.read_bytes())
    try:
        with _in_thread(_DatabaseFront(conninfo)) as url:
            yield url
    finally:
        server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _in_thread(front: _DatabaseFront) -> Iterator[str]:
    """A front on a loop of its own: commands of a test may wait for it."""
    told: Future[str] = Future()
    ended: Future[None] = Future()

    async def serve() -> None:
        async with front.serving() as url:
            told.set_result(url)
            await asyncio.wrap_future(ended)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield told.result(20)
    finally:
        ended.set_result(None)
        thread.join()


type _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _listening(answer: _Handler, poll: _Handler) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/", answer), web.get("/poll/{group}/{pid}", poll)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b": here\n\n")
    return response


class _DatabaseFront:
    """HTTP over the procedures of resonate-pg: one connection, used by one request at a time."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._streams: defaultdict[str, list[tuple[str, asyncio.Queue[dict[str, Any]]]]] = defaultdict(list)
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        pump = asyncio.create_task(self._pump())
        try:
            async with _listening(self._answer, self._poll) as url:
                yield url
        finally:
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump
            await self._connection.close()

    async def _rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        async with self._lock:
            return await (await self._connection.execute(sql.SQL(query), parameters)).fetchall()

    async def _answer(self, request: web.Request) -> web.Response:
        [(answer,)] = await self._rows("SELECT resonate.resonate_rpc(%s::text::jsonb)", await request.text())
        return web.json_response(without_nulls(answer), status=answer["head"]["status"])

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        group, pid = request.match_info["group"], request.match_info["pid"]
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        response = await _stream(request)
        self._streams[group].append((pid, queue))
        try:
            while True:
                await response.write(b"data: " + json.dumps(await queue.get()).encode() + b"\n\n")
        finally:
            self._streams[group].remove((pid, queue))
        return response

    async def _pump(self) -> None:
        """Timers, and the messages for whoever listens."""
        while True:
            await self._rows("SELECT resonate.process_timeouts()")
            for group, streams in [*self._streams.items()]:
                if streams:
                    await self._deliver(f"poll://any@{group}", [queue for _, queue in streams])
                for pid, queue in streams:
                    await self._deliver(f"poll://uni@{group}/{pid}", [queue])
                    await self._deliver(f"poll://any@{group}/{pid}", [queue])
            await asyncio.sleep(TICK_S)

    async def _deliver(self, address: str, queues: list[asyncio.Queue[dict[str, Any]]]) -> None:
        offers = await self._rows("SELECT task_id, version FROM resonate.dequeue_execute(%s, 100)", address)
        for number, (task_id, version) in enumerate(offers):
            message = {"kind": "execute", "head": {}, "data": {"task": {"id": task_id, "version": version}}}
            queues[number % len(queues)].put_nowait(message)
        for (promise,) in await self._rows("SELECT promise FROM resonate.dequeue_unblock(%s, 100)", address):
            queues[0].put_nowait({"kind": "unblock", "head": {}, "data": {"promise": without_nulls(promise)}})


def without_nulls(record: Any) -> Any:
    """A record as HTTP has it: what is not set is left out, where the tables say null. Values are text, never null."""
    if isinstance(record, dict):
        return {name: without_nulls(each) for name, each in record.items() if each is not None}
    return [without_nulls(each) for each in record] if isinstance(record, list) else record
