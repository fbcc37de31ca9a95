"""Listeners at URLs on every store: messages are signed, sent until they are taken, and only to where they may go."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

import durable
from durable.core.events import BackgroundFailed, Event
from durable.prompts.url_listeners import PRIVATE, SIGNED_BY
from durable.prompts.webhooks import Webhook
from durable.store.port import open_store
from tests.warm_python import PYTHON

SECRET_TEXT = "a secret of the tests"


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receivers of these tests are on this machine."""
    monkeypatch.setenv(PRIVATE, "127.0.0.1/32")
    monkeypatch.setenv(SIGNED_BY, SECRET_TEXT)


@dataclass
class Receiver:
    """Answers with each status in turn, then with 204; keeps what it took."""

    statuses: list[int] = field(default_factory=list)
    got: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        self.got.put_nowait((dict(request.headers), await request.read()))
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"location": "/elsewhere"} if status == 302 else None)


@asynccontextmanager
async def listening(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.post("/{path:.*}", receiver.take)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@durable.function(name="told_elsewhere")
async def asks(ctx: durable.Context) -> str:
    return str(await ctx.ask("Which?", schema=str))


async def test_a_message_is_signed_and_sent_until_it_is_taken(place: str) -> None:
    receiver = Receiver([500, 302])
    async with listening(receiver) as url, durable.open(place) as engine:
        execution = await engine.start(asks, id="a")
        await engine.store.request("promise.register_listener", {"awaited": "exec:a", "address": url})
        while (change := engine.changed()) and not (prompts := await engine.prompts()):
            await change
        await engine.answer(prompts[0].id, "this")
        assert await execution.result() == "this"
        async with asyncio.timeout(20):
            tries = [await receiver.got.get() for _ in range(3)]
        ids = set()
        for headers, body in tries:
            seen = {name.lower(): value for name, value in headers.items()}
            ids.add(seen["webhook-id"])
            signature = Webhook(url, SECRET_TEXT).signature(seen["webhook-id"], int(seen["webhook-timestamp"]), body)
            assert seen["webhook-signature"] == signature
            message = msgspec.json.decode(body)
            assert (message["kind"], message["data"]["promise"]["id"]) == ("unblock", "exec:a")
            assert message["data"]["promise"]["state"] == "resolved"
        assert len(ids) == 1
        assert receiver.got.empty()


async def test_an_engine_that_dies_leaves_its_messages_to_the_next(tmp_path: Path) -> None:
    """Killed between the settlement and the message: the receiver hears of it all the same."""
    file = tmp_path / "work.db"
    receiver = Receiver()
    async with listening(receiver) as url:
        program = (
            "import asyncio, sys\nfrom durable.store.port import open_store\n"
            "async def main():\n"
            f"    store = await open_store({str(file)!r})\n"
            "    make = {'id': 'p', 'timeoutAt': 2**52, 'tags': {'resonate:external': 'true'}}\n"
            "    await store.request('promise.create', make)\n"
            f"    await store.request('promise.register_listener', {{'awaited': 'p', 'address': {url!r}}})\n"
            "    await store.request('promise.settle', {'id': 'p', 'state': 'resolved'})\n"
            "    taken = await store.request('listener.claim', {'limit': 1})\n"
            "    print(len(taken.data['posts']), flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(PYTHON, "-c", program, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"1\n"
        process.kill()
        await process.wait()
        async with durable.open(file) as engine:
            found = await engine.store.request("listener.claim", {"limit": 10})
            assert found.data["posts"] == [], "it was put off when it was taken"
            assert found.data["wait_ms"] is not None
            pass_time(file)
            async with asyncio.timeout(10):
                assert (await receiver.got.get())[1].startswith(b'{"kind":"unblock"')


def pass_time(file: Path) -> None:
    """Let the time be over for which the dead process had taken the message."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE outbox SET created_at = 0 WHERE address LIKE 'http%'")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x", "http://[::1]:9/", "http://169.254.169.254/latest", "http://localhost:9/"]
)
async def test_a_private_address_is_refused_and_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PRIVATE)
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with durable.open(tmp_path / "work.db", observer=events.put_nowait) as engine:
        make = {"id": "p", "timeoutAt": 2**52, "tags": {"resonate:external": "true"}}
        await engine.store.request("promise.create", make)
        await engine.store.request("promise.register_listener", {"awaited": "p", "address": url})
        await engine.store.request("promise.settle", {"id": "p", "state": "resolved"})
        async with asyncio.timeout(10):
            while not isinstance(event := await events.get(), BackgroundFailed):
                pass
        assert "not public" in event.error
        assert PRIVATE in event.error
        found = {"wait_ms": 0}
        async with asyncio.timeout(10):
            while found["wait_ms"] is not None:
                found = (await engine.store.request("listener.claim", {"limit": 10})).data


@pytest.mark.parametrize("address", ["http://user@host/", "http://", "ftp://host/", "http://host/#part", "https:// x"])
async def test_what_is_no_url_is_refused(address: str, tmp_path: Path) -> None:
    store = await open_store(tmp_path / "work.db")
    try:
        make = {"id": "p", "timeoutAt": 2**52, "tags": {"resonate:external": "true"}}
        await store.request("promise.create", make)
        with pytest.raises(durable.StoreRefused, match="is not an address"):
            await store.request("promise.register_listener", {"awaited": "p", "address": address})
    finally:
        await store.close()
